"""Time the operators against their peers: tools/bench_ops.py --out model_cards/results.

Every operator and its peers run in turn; the figures are medians. ``kept`` is the kernel alone, into an output that is
kept from run to run; ``call`` is the whole call, which allocates. ``bandwidth`` is what the kernel moves at the least,
as a share of what a copy of a large array reaches. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo import ops
from zoo.bench.report import write_tables
from zoo.bench.timing import Call, copy_bandwidth, interleave, machine, medians
from zoo.ops import reference

NETWORKS = {
    "pvcnn_part_c1": (1, 6, 2048),
    "pvcnn_sem_c1": (1, 9, 4096),
    "pvcnn_sem_c0p25": (1, 9, 4096),
    "pvcnnpp_sem_c1": (1, 9, 8192),
    "pointnet2_part_ssg": (1, 6, 2048),
    "tsm_mobilenetv2": (1, 8, 3, 224, 224),
    "tsm_mobilenetv2_online": (1, 8, 3, 224, 224),
}
COLUMNS = ("operator", "size", "name", "ms", "ratio", "bandwidth")


@dataclass
class Case:
    """One operator at one size.

    Attributes:
        operator: its name.
        size: in words.
        calls: ours first, as "call" and, where there is one, "kept"; then the peers.
        moved: the least that has to be read and written, in bytes.
    """

    operator: str
    size: str
    calls: dict[str, Call]
    moved: int = 0


@dataclass
class Bench:
    """Collects the cases for one device and dtype.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of features.
        batch: clouds or clips.
        authors: a module with the authors' own kernels, if there is one.
    """

    device: str
    dtype: torch.dtype
    batch: int
    authors: ModuleType | None = None
    cases: list[Case] = field(default_factory=list)

    @property
    def native(self) -> bool:
        """The compiled operators are in use, and have variants that write into a given output."""
        return ops.backend(self.device) == "native"

    def add(self, operator: str, size: str, moved: int, calls: dict[str, Call]) -> None:
        """Add a case."""
        self.cases.append(Case(operator, size, calls, moved))

    def rand(self, *size: int) -> Tensor:
        """Features."""
        return torch.rand(size, device=self.device).to(self.dtype)


def add_shift(bench: Bench, layout: torch.memory_format) -> None:
    """The shift of 8 frames of 256 channels, 56 x 56."""
    x = bench.rand(8, 256, 56, 56).contiguous(memory_format=layout)
    size = f"8 x 256 x 56 x 56 {'channels-last' if layout is torch.channels_last else 'contiguous'}"
    out, moved = torch.empty_like(x), 2 * x.numel() * x.element_size()
    calls: dict[str, Call] = {"call": lambda: ops.temporal_shift(x, 8)}
    if bench.native:
        calls["kept"] = lambda: torch.ops.zoo.temporal_shift_out(x, 8, 8, 1, -1, out)
    calls |= {"copy_": lambda: out.copy_(x), "clone": x.clone, "slices": lambda: shift_by_slices(x, 8, 8)}
    bench.add("temporal_shift", size, moved, calls)
    shifted, part = x[:, :64], x[:, :64].contiguous(memory_format=layout)
    calls = {"call": lambda: ops.temporal_shift_(x, 8), "move_shifted": lambda: shifted.copy_(part)}
    bench.add("temporal_shift_", size, moved // 4, calls)
    add_backward(
        bench,
        "temporal_shift",
        size,
        x,
        lambda x: ops.temporal_shift(x, 8),
        lambda x: reference.temporal_shift(x, 8, 8, False),
    )


def add_voxels(bench: Bench, num_points: int = 2048, channels: int = 64, resolution: int = 32) -> None:
    """Voxelising points on a sphere, as scanned surfaces are."""
    size = f"{bench.batch} x {num_points} points, {channels} channels, {resolution}^3 voxels"
    points = F.normalize(torch.randn(bench.batch, 3, num_points, device=bench.device), dim=1)
    plan = ops.voxel_plan(points, resolution)
    calls: dict[str, Call] = {
        "call": lambda: ops.voxel_plan(points, resolution),
        "reference": lambda: reference.voxel_plan(points, resolution, True),
    }
    bench.add("voxel_plan", size, 8 * points.numel(), calls)

    features = bench.rand(bench.batch, channels, num_points)
    grid = plan.voxelize(features)
    flat = torch.empty_like(grid).flatten(2)
    index = plan.voxels.long().unsqueeze(1).expand(-1, channels, -1)
    coords = plan.coords.round().int()
    calls = {"call": lambda: plan.voxelize(features)}
    if bench.native:
        calls["kept"] = lambda: torch.ops.zoo.avg_voxelize_out(features, plan.voxels, plan.counts, flat)
    calls |= {
        "unplanned": lambda: ops.avg_voxelize(features, coords, resolution),
        "zero_": flat.zero_,
        "zeros": lambda: torch.zeros(flat.shape, dtype=flat.dtype, device=flat.device),
        "reference": lambda: reference.avg_voxelize(features, plan.voxels, plan.counts),
        "scatter_reduce": lambda: torch.zeros_like(flat).scatter_reduce(2, index, features, "mean", include_self=False),
    }
    scatter, authors = optional("torch_scatter"), bench.authors
    if scatter:
        calls["torch_scatter"] = lambda: scatter.scatter(features, index, dim=2, dim_size=resolution**3, reduce="mean")
    if authors:
        calls["authors"] = lambda: authors.avg_voxelize_forward(features, coords, resolution)
    bench.add("avg_voxelize", size, (features.numel() + grid.numel()) * grid.element_size(), calls)
    add_backward(
        bench,
        "avg_voxelize",
        size,
        features,
        lambda x: plan.voxelize(x).flatten(2),
        lambda x: reference.avg_voxelize(x, plan.voxels, plan.counts),
    )
    add_devoxelize(bench, f"{size}, contiguous", grid, plan)
    add_devoxelize(bench, f"{size}, channels-last", grid.contiguous(memory_format=torch.channels_last_3d), plan)
    add_backward(
        bench,
        "trilinear_devoxelize",
        size,
        grid,
        plan.devoxelize,
        lambda x: reference.trilinear_devoxelize(x, plan.coords),
    )


def add_devoxelize(bench: Bench, size: str, grid: Tensor, plan: ops.VoxelPlan) -> None:
    """Devoxelising at the points of ``plan``."""
    resolution = plan.resolution
    out = plan.devoxelize(grid)
    at = (plan.coords * 2 / (resolution - 1) - 1).flip(1).transpose(1, 2)[:, :, None, None].to(grid.dtype)
    calls: dict[str, Call] = {"call": lambda: plan.devoxelize(grid)}
    if bench.native:
        calls["kept"] = lambda: torch.ops.zoo.trilinear_devoxelize_out(grid, plan.coords, out)
    calls |= {
        "reference": lambda: reference.trilinear_devoxelize(grid, plan.coords),
        "grid_sample": lambda: F.grid_sample(grid, at, align_corners=True),
    }
    authors = bench.authors
    if authors and grid.is_contiguous():
        calls["authors"] = lambda: authors.trilinear_devoxelize_forward(resolution, True, plan.coords, grid.flatten(2))
    bench.add("trilinear_devoxelize", size, 9 * out.numel() * out.element_size(), calls)


def add_sampling(bench: Bench, batch: int, num_points: int, num_samples: int) -> None:
    """Furthest point sampling."""
    points = torch.rand(batch, 3, num_points, device=bench.device)
    calls: dict[str, Call] = {"call": lambda: ops.furthest_point_sample(points, num_samples)}
    if num_points <= 50_000:
        calls["reference"] = lambda: reference.furthest_point_sample(points, num_samples)
    fpsample, cluster, authors = optional("fpsample"), optional("torch_cluster"), bench.authors
    rows = points[0].T.contiguous()
    if fpsample and batch == 1 and bench.device == "cpu":
        array, height = rows.numpy(), 7 if num_points > 50_000 else 3  # heights that its documentation advises
        calls["fpsample"] = lambda: fpsample.bucket_fps_kdline_sampling(array, num_samples, h=height, start_idx=0)
    if cluster and batch == 1:
        calls["torch_cluster"] = lambda: cluster.fps(rows, ratio=num_samples / num_points, random_start=False)
    if authors:
        calls["authors"] = lambda: authors.furthest_point_sampling(points, num_samples)
    bench.add("furthest_point_sample", f"{batch} x {num_points} -> {num_samples}", 0, calls)


def add_neighbors(bench: Bench, num_points: int = 2048, num_centers: int = 512) -> None:
    """Ball query, grouping, and interpolation between the three nearest."""
    size = f"{bench.batch} x {num_points} points, {num_centers} centres"
    points = torch.rand(bench.batch, 3, num_points, device=bench.device)
    centers = points[:, :, :num_centers].contiguous()
    near = ops.ball_query(centers, points, 0.2, 32)
    calls: dict[str, Call] = {
        "call": lambda: ops.ball_query(centers, points, 0.2, 32),
        "reference": lambda: reference.ball_query(centers, points, 0.2, 32),
    }
    cluster, spatial, authors = optional("torch_cluster"), optional("scipy.spatial"), bench.authors
    if cluster:
        x, y = (of.transpose(1, 2).reshape(-1, 3).contiguous() for of in (points, centers))
        clouds = torch.arange(bench.batch, device=bench.device)
        of_x, of_y = (clouds.repeat_interleave(n) for n in (num_points, num_centers))
        calls["torch_cluster"] = lambda: cluster.radius(x, y, 0.2, of_x, of_y, max_num_neighbors=32)
    if spatial and bench.device == "cpu":
        pairs = [(p.T.numpy(), c.T.numpy()) for p, c in zip(points, centers, strict=True)]
        calls["cKDTree"] = lambda: [spatial.cKDTree(p).query_ball_point(c, 0.2) for p, c in pairs]
    if authors:
        calls["authors"] = lambda: authors.ball_query(centers, points, 0.2, 32)
    bench.add("ball_query", f"{size}, radius 0.2, 32 neighbours", 0, calls)

    features = bench.rand(bench.batch, 64, num_points)
    moved = (features.numel() + 64 * near.numel()) * features.element_size() + near.numel() * near.element_size()
    calls = {
        "call": lambda: ops.group_points(features, near),
        "reference": lambda: reference.group_points(features, near),
    }
    grouped = f"{size}, 64 channels, 32 neighbours"
    bench.add("group_points", grouped, moved, calls)
    add_backward(
        bench,
        "group_points",
        grouped,
        features,
        lambda x: ops.group_points(x, near),
        lambda x: reference.group_points(x, near),
    )
    few = bench.rand(bench.batch, 64, num_centers)
    calls = {
        "call": lambda: ops.three_nn_interpolate(points, centers, few),
        "reference": lambda: reference.three_nn_interpolate(points, centers, few),
    }
    if authors:
        calls["authors"] = lambda: authors.three_nearest_neighbors_interpolate_forward(points, centers, few)
    bench.add("three_nn_interpolate", f"{size}, 64 channels", 0, calls)
    add_backward(
        bench,
        "three_nn_interpolate",
        f"{size}, 64 channels",
        few,
        lambda x: ops.three_nn_interpolate(points, centers, x),
        lambda x: reference.three_nn_interpolate(points, centers, x),
    )


def add_backward(
    bench: Bench,
    operator: str,
    size: str,
    x: Tensor,
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor], Tensor],
) -> None:
    """The backward pass alone, ours against autograd of plain PyTorch."""
    leaf = x.detach().clone().requires_grad_()
    out, plain = ours(leaf), theirs(leaf)
    grad = torch.ones_like(out)
    calls: dict[str, Call] = {
        "call": lambda: torch.autograd.grad(out, leaf, grad, retain_graph=True),
        "reference": lambda: torch.autograd.grad(plain, leaf, grad, retain_graph=True),
    }
    bench.add(f"{operator}, backward", size, (x.numel() + grad.numel()) * x.element_size(), calls)


def add_network(bench: Bench, name: str, *size: int) -> None:
    """A whole network with the compiled operators, and with plain PyTorch ones."""
    model = zoo.create_model(name).eval().to(bench.device)
    inputs: tuple[Tensor, ...] = (torch.rand(size, device=bench.device) * 2 - 1,)
    if "_part" in name:
        inputs += (torch.zeros(size[0], dtype=torch.int64, device=bench.device),)

    @torch.inference_mode()
    def forward(backend: str) -> None:
        before = os.environ.get("ZOO_OPS", "auto")
        os.environ["ZOO_OPS"] = backend
        try:
            model(*inputs)
        finally:
            os.environ["ZOO_OPS"] = before

    calls: dict[str, Call] = {"call": lambda: forward("auto"), "reference": lambda: forward("reference")}
    bench.add(name, " x ".join(map(str, size)), 0, calls)


def shift_by_slices(x: Tensor, num_frames: int, shift_div: int) -> Tensor:
    """The shift as it is usually written: zeros, and three assignments."""
    clips = x.unflatten(0, (-1, num_frames))
    fold = x.shape[1] // shift_div
    out = torch.zeros_like(clips)
    out[:, :-1, :fold] = clips[:, 1:, :fold]
    out[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    out[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
    return out.flatten(0, 1)


def optional(name: str) -> Any:
    """The module ``name``, if it is installed."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None


def load_module(path: Path) -> ModuleType:
    """The module, compiled or not, in the file ``path``."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"error: {path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(case: Case, runs: int, device: str, bandwidth: float) -> list[dict[str, Any]]:
    """One row for each thing that was timed; ``ratio`` says how many times as long as our call it takes."""
    times = medians(interleave(case.calls, runs, device))
    rows = []
    for name, ms in times.items():
        share = case.moved / (ms / 1e3) / bandwidth if name in ("call", "kept") and case.moved else None
        rows.append(
            {
                "operator": case.operator,
                "size": case.size,
                "name": f"zoo, {name}" if name in ("call", "kept", "unplanned") else name,
                "ms": f"{ms:.4g}",
                "ratio": f"{ms / times['call']:.3g}",
                "bandwidth": "" if share is None else f"{share:.0%}",
            }
        )
    return rows


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16", "float64"], default="float32")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=20, help="times that each thing runs (default: 20)")
    parser.add_argument("--only", default="", help="operators whose name holds this")
    parser.add_argument("--authors", type=Path, help="a compiled module with the authors' CUDA kernels")
    parser.add_argument("--out", type=Path, help="a folder for ops_DEVICE.csv and .md")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: there is no GPU: leave out --device cuda", file=sys.stderr)
        return 2
    authors = load_module(options.authors) if options.authors else None
    bench = Bench(options.device, getattr(torch, options.dtype), options.batch, authors)
    for layout in (torch.contiguous_format, torch.channels_last):
        add_shift(bench, layout)
    add_voxels(bench)
    for sampling in ((1, 4096, 1024), (1, 100_000, 4096), (8, 4096, 1024)):
        add_sampling(bench, *sampling)
    add_neighbors(bench)
    for name, size in NETWORKS.items():
        add_network(bench, name, *size)
    bandwidth = copy_bandwidth(options.device)
    about = machine(options.device) | {"dtype": options.dtype, "runs": str(options.runs)}
    about |= {"copy bandwidth": f"{bandwidth / 1e9:.1f} GB/s", "operators": ops.backend(options.device)}
    rows = []
    widths = (30, 62, 18, 10, 8, 5)
    for case in bench.cases:
        if options.only in case.operator:
            new = rows_of(case, options.runs, options.device, bandwidth)
            rows += new
            for row in new:
                cells = zip(COLUMNS, widths, strict=True)
                print("  ".join(f"{row[column]!s:<{width}}" for column, width in cells), flush=True)
    if options.out:
        write_tables("Operators", rows, about, options.out / f"ops_{options.device}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
