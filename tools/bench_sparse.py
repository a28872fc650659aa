"""Time point-voxel networks without their empty voxels against dense ones: tools/bench_sparse.py --out FOLDER.

All ways to compute one thing run in turn. ``ms`` is the median and ``least`` the shortest run. ``cpu`` is the least
time that the processors computed for a run, all threads together: what else a shared machine does disturbs it least.
The ratios say how many times as long as "sparse" a way takes. Rounds count during which ``others`` had the fewest
processors. ``MB`` is the most memory that one forward pass takes above what was held before, in a process of its own.
"dense" is the best dense way: batch norm folded and channels-last. With ``torch-pointcloud`` installed its PVCNN is
timed as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.bench import clouds
from zoo.bench.machine import machine
from zoo.bench.memory import apart, available_mb, most_above
from zoo.bench.peers import optional, with_plain_operators
from zoo.bench.sparse_plots import PANELS, write_sparse_plot
from zoo.bench.tables import write_tables
from zoo.bench.timing import WARM_UP, Call, interleave_quietly, medians
from zoo.cli import exit_code
from zoo.export import fast_copy
from zoo.layers.cloud import Cloud
from zoo.layers.pvconv import PVConv
from zoo.layers.sparse_costs import dense_branch
from zoo.layers.sparse_pvconv import SparsePVConv

CHANNELS, RESOLUTION, POINTS = 64, 32, 2048  # of the voxel branch alone
RESOLUTIONS = (16, 32, 64, 128, 256)
OCCUPANCIES = (1, 16, 128, 512, 2048, 8192, 32768, 262144)  # points everywhere in the grid
NETWORKS = {  # what they are called with, channels and points, and where those lie
    "pvcnn_part_c1": (6, 2048, clouds.chair),
    "pvcnn_sem_c1": (9, 4096, clouds.room),
    "pvcnnpp_sem_c1": (9, 8192, clouds.room),
}
DENSE_GRIDS = 5  # of the widest layer, that a dense network holds at a time, with what its convolutions work in
FEWEST, SECONDS = 2, 40.0  # runs of a thing, and for how long they may go on
Make = Callable[[int], Tensor]
Row = dict[str, Any]


class Branch:
    """The voxel branch alone, with and without empty voxels.

    Args:
        resolution: R.
        with_se: with squeeze-and-excitation.
        cloud: [1, 3, N].
        dtype: of features and weights.
        normalize: the cloud, so that it fits into the grid; otherwise the grid spans [-1, 1].
    """

    def __init__(
        self,
        resolution: int,
        with_se: bool,
        cloud: Tensor,
        dtype: torch.dtype = torch.float32,
        normalize: bool = True,
    ):
        torch.manual_seed(0)
        layer = SparsePVConv(PVConv(CHANNELS, CHANNELS, resolution, with_se).eval()).to(dtype)
        self.layer, self.resolution = layer, resolution
        self.features = torch.randn(1, CHANNELS, cloud.shape[2]).to(dtype)
        self.plan = Cloud(cloud).plan(resolution, normalize)

    def sparse(self) -> Tensor:
        """Whatever its cost."""
        out: Tensor = self.layer.sparse_branch(self.features, self.plan)
        return out

    def dense(self) -> Tensor:
        """Channels-last."""
        return dense_branch(self.features, self.plan, self.layer.dense_layers)

    def switched(self) -> Tensor:
        """The way that the layer takes."""
        out: Tensor = self.layer.voxel_branch(self.features, self.plan)
        return out

    @property
    def occupied(self) -> float:
        """The share of voxels that hold points."""
        return len(self.plan.voxels.unique()) / self.resolution**3


def branches(runs: int) -> Iterator[Row]:
    """The voxel branch, with and without squeeze-and-excitation, on several surfaces, in two types."""
    for make in (clouds.chair, clouds.room, clouds.sphere):
        for with_se in (False, True):
            branch, half = (Branch(RESOLUTION, with_se, make(POINTS), d) for d in (torch.float32, torch.bfloat16))
            what, size = f"voxel branch{' with SE' if with_se else ''}, {make.__name__}", f"R = {RESOLUTION}"
            dense = {"sparse": branch.sparse, "dense": branch.dense, "dense bf16": half.dense}
            yield from timed(what, size, dense, runs)
            # By themselves: what a dense run leaves of caches and memory slows down what follows it.
            yield from timed(f"{what}, by itself", size, {"sparse": branch.sparse, "sparse bf16": half.sparse}, runs)


def networks(runs: int) -> Iterator[Row]:
    """Whole networks."""
    for name, (channels, num_points, make) in NETWORKS.items():
        model, inputs = network(name, channels, make(num_points))
        calls = network_calls(model, inputs)
        calls["plain operators"] = partial(with_plain_operators, model, inputs)
        peer = optional("torch_pointcloud")
        if peer and name == "pvcnn_sem_c1":
            calls["torch-pointcloud"] = peer_call(peer, inputs[0])
        yield from timed(f"{name}, {make.__name__}", f"1 x {channels} x {num_points}", calls, runs)


def resolutions(runs: int) -> Iterator[Row]:
    """Time and memory against R, of the branch alone and of a network."""
    for resolution in RESOLUTIONS:
        yield from sized("voxel branch", resolution, branch_calls, runs)
        if fits(resolution):  # what makes its fast form runs it once as it is
            yield from sized("pvcnn_part_c1", resolution, part_calls, runs)


def sized(what: str, resolution: int, make: Callable[[int], dict[str, Call]], runs: int) -> Iterator[Row]:
    """Rows of one resolution: dense beside it where it fits."""
    calls = make(resolution)
    if not fits(resolution):
        calls.pop("dense")
    for row in timed(f"{what}, chair", f"R = {resolution}", calls, runs):
        yield row | {"R": resolution, "MB": f"{apart(memory_of, make, resolution, row['way']):.0f}"}


def occupancies(runs: int) -> Iterator[Row]:
    """Time and memory from one point to a full grid, and the way that the layer takes then."""
    for num_points in OCCUPANCIES:
        branch = everywhere(num_points)
        for row in timed("voxel branch, everywhere", f"{num_points} points", ways(branch), runs):
            memory = apart(memory_of, everywhere_calls, num_points, row["way"])
            yield row | {"occupied %": f"{100 * branch.occupied:.3g}", "MB": f"{memory:.0f}"}


def everywhere(num_points: int) -> Branch:
    """Points all over the grid."""
    return Branch(RESOLUTION, False, clouds.everywhere(num_points), normalize=False)


def everywhere_calls(num_points: int) -> dict[str, Call]:
    """Of the branch alone, on points all over the grid."""
    return ways(everywhere(num_points))


def ways(branch: Branch) -> dict[str, Call]:
    """How the branch can be computed."""
    return {"sparse": branch.sparse, "dense": branch.dense, "switched": branch.switched}


def branch_calls(resolution: int) -> dict[str, Call]:
    """Of the branch alone, on a chair."""
    branch = Branch(resolution, False, clouds.chair(POINTS))
    return {"sparse": branch.sparse, "dense": branch.dense}


def part_calls(resolution: int) -> dict[str, Call]:
    """Of a network whose finest grid has this resolution."""
    channels, num_points, make = NETWORKS["pvcnn_part_c1"]
    scale = resolution / RESOLUTION
    model, inputs = network("pvcnn_part_c1", channels, make(num_points), voxel_resolution_multiplier=scale)
    calls = network_calls(model, inputs)
    return {way: calls[way] for way in ("sparse", "dense")}


def network(name: str, channels: int, cloud: Tensor, **arguments: Any) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network with random weights, and what it is called with."""
    torch.manual_seed(0)
    model = zoo.create_model(name, **arguments).eval()
    points = torch.cat([cloud, torch.rand(1, channels - 3, cloud.shape[2])], dim=1)
    return model, ((points, torch.zeros(1, dtype=torch.int64)) if "_part" in name else (points,))


def network_calls(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, Call]:
    """The eager runtime with and without empty voxels, in two types, and the network as it was made."""
    dense = fast_copy(model, inputs)
    for module in dense.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
    return {
        "sparse": partial(zoo.optimize(model, inputs, runtime="eager"), *inputs),
        "dense": partial(dense, *inputs),
        "as created": partial(model, *inputs),
        "sparse bf16": partial(zoo.optimize(model, inputs, runtime="eager", precision="bf16"), *inputs),
    }


def peer_call(peer: Any, points: Tensor) -> Call:
    """The same network of torch-pointcloud, on the same points."""
    name = "pvcnn.s3dis-area5.mit-han-lab"
    model = peer.create_model(name, task="semantic-segmentation", pretrained=False).eval()
    rows = points[0].T.contiguous()
    return partial(model, rows, rows[:, :3].contiguous(), torch.zeros(len(rows), dtype=torch.int64))


def fits(resolution: int) -> bool:
    """Whether a dense branch would leave half of the memory that is free."""
    free = available_mb()
    return free is None or DENSE_GRIDS * 4 * CHANNELS * resolution**3 / 1e6 < free / 2


@torch.inference_mode()
def memory_of(make: Callable[[int], dict[str, Call]], size: int, way: str) -> float:
    """Megabytes of one forward pass, after one that measures costs and prepares weights."""
    call = make(size)[way]
    call()
    return most_above(call)


class Computed:
    """A call that notes for how many milliseconds the processors computed, each time."""

    def __init__(self, call: Call):
        self.call = call
        self.times: list[float] = []

    def __call__(self) -> None:
        """Call it once."""
        began = time.process_time()
        self.call()
        self.times.append((time.process_time() - began) * 1e3)


@torch.inference_mode()
def timed(what: str, size: str, calls: Mapping[str, Call], runs: int) -> list[Row]:
    """A row for every way; fewer runs where they would take all the time there is."""
    started = time.perf_counter()
    for call in calls.values():
        call()
    fit = int(SECONDS / (time.perf_counter() - started))
    warm_up = min(WARM_UP, fit // FEWEST)
    computed = {way: Computed(call) for way, call in calls.items()}
    times, others = interleave_quietly(computed, max(FEWEST, min(runs, fit - warm_up)), SECONDS, warm_up)
    median, least = medians(times), {way: min(values) for way, values in times.items()}
    cpu = {way: min(call.times) for way, call in computed.items()}
    return [
        {
            "what": what,
            "size": size,
            "way": way,
            "ms": f"{median[way]:.4g}",
            "least": f"{least[way]:.4g}",
            "cpu": f"{cpu[way]:.4g}",
            "ratio": f"{median[way] / median['sparse']:.3g}",
            "ratio of least": f"{least[way] / least['sparse']:.3g}",
            "ratio of cpu": f"{cpu[way] / cpu['sparse']:.3g}",
            "runs": len(times[way]),
            "others": "" if others is None else f"{others:.2f}",
        }
        for way in calls
    ]


PARTS: dict[str, Callable[[int], Iterator[Row]]] = {
    "branch": branches,
    "networks": networks,
    "resolution": resolutions,
    "occupancy": occupancies,
}


def main() -> int:
    """Run the benchmark; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=21, help="times that each thing runs (default: 21)")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="what is timed")
    parser.add_argument("--out", type=Path, help="a folder for a table sparse_PART_cpu of each, and plots")
    options = parser.parse_args()
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, print it, write it down and draw it."""
    about = machine()
    for part in options.only:
        rows = []
        for row in PARTS[part](options.runs):
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if options.out:
            name = f"sparse_{part}_cpu"
            write_tables(f"Point-voxel networks without empty voxels: {part}", rows, about, options.out / name)
            if part in PANELS:
                write_sparse_plot(rows, PANELS[part], options.out / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
