"""Time the operators against their peers: tools/bench_ops.py --out model_cards/results.

Every operator and its peers run in turn; the figures are medians. ``ms`` is the whole call, which allocates, and
``kept ms`` our kernel alone, into an output that is kept from run to run. ``ratio`` says how many times as long as our
call a thing takes, ``ratio to kept`` the same of the kernel alone. ``bandwidth`` is what has to be moved at the least
by the kernel or, where that is not timed alone, the call, as a share of what a copy of a large array reaches; searches
have none. On a GPU ``ms`` is the device's own time; beside it stand the host's, the kernels launched and the most
memory that was allocated on top of the inputs. Peers that are not installed are left out.
The sparse voxel branch has tools/bench_sparse.py, the operator for a MobileNetV2 tools/bench_online.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo import ops
from zoo.bench.cases import Bench, add_backward, rows_of
from zoo.bench.machine import machine
from zoo.bench.network_cases import NETWORKS, network_cases
from zoo.bench.peers import load_module, mean_by_index_add, optional, search_by_open3d
from zoo.bench.shift_cases import add_shifted_convs, add_shifts
from zoo.bench.tables import write_tables
from zoo.bench.timing import Call, copy_bandwidth
from zoo.cli import exit_code
from zoo.errors import InputError
from zoo.ops import reference

SAMPLING = ((1, 4096, 1024), (1, 100_000, 4096), (8, 4096, 1024))  # batch, points, samples
MANY_POINTS = 50_000  # with more, what looks at all of them for every sample is left out
WIDTHS = {"operator": 30, "size": 62, "name": 18, "bandwidth": 10}


def add_voxels(bench: Bench, num_points: int = 2048, channels: int = 64, resolution: int = 32) -> None:
    """Voxelising points on a sphere, as scanned surfaces are."""
    size = f"{bench.batch} x {num_points} points, {channels} channels, {resolution}^3 voxels"
    points = F.normalize(torch.randn(bench.batch, 3, num_points, device=bench.device), dim=1)
    plan = ops.voxel_plan(points, resolution)
    calls: dict[str, Call] = {
        "call": lambda: ops.voxel_plan(points, resolution),
        "reference": lambda: reference.voxel_plan(points, resolution, True),
    }
    written = sum(x.numel() * x.element_size() for x in (plan.coords, plan.voxels, plan.counts))
    bench.add("voxel_plan", size, 4 * points.numel() + written, calls)

    features = bench.rand(bench.batch, channels, num_points)
    grid = plan.voxelize(features)
    flat = torch.empty_like(grid).flatten(2)
    index = plan.voxels.long().unsqueeze(1).expand(-1, channels, -1)
    rows = (plan.voxels + torch.arange(bench.batch, device=bench.device).view(-1, 1) * resolution**3).flatten()
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
        "index_add_": lambda: mean_by_index_add(features, rows, resolution**3),
    }
    scatter, authors = optional("torch_scatter"), bench.authors
    if scatter:
        calls["torch_scatter"] = lambda: scatter.scatter(features, index, dim=2, dim_size=resolution**3, reduce="mean")
    if authors:
        calls["authors"] = lambda: authors.avg_voxelize_forward(features, coords, resolution)
    bench.add("avg_voxelize", size, (features.numel() + grid.numel()) * grid.element_size(), calls)
    into = torch.empty_like(features)
    add_backward(
        bench,
        "avg_voxelize",
        size,
        features,
        lambda x: plan.voxelize(x).flatten(2),
        lambda x: reference.avg_voxelize(x, plan.voxels, plan.counts),
        lambda grad: torch.ops.zoo.avg_voxelize_backward_out(grad, plan.voxels, plan.counts, into),
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
        lambda grad: torch.ops.zoo.trilinear_devoxelize_backward_out(grad, plan.coords, flat.view_as(grid)),
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
    read = min(8 * out.numel(), grid.numel())  # at the most: eight voxels a point, or all
    bench.add("trilinear_devoxelize", size, (read + out.numel()) * out.element_size(), calls)


def add_samplings(bench: Bench) -> None:
    """Furthest point sampling at all sizes."""
    for size in SAMPLING:
        add_sampling(bench, *size)


def add_sampling(bench: Bench, batch: int, num_points: int, num_samples: int) -> None:
    """Furthest point sampling."""
    points = torch.rand(batch, 3, num_points, device=bench.device)
    calls: dict[str, Call] = {"call": lambda: ops.furthest_point_sample(points, num_samples)}
    if num_points <= MANY_POINTS:
        calls["reference"] = lambda: reference.furthest_point_sample(points, num_samples)
    fpsample, cluster, authors = optional("fpsample"), optional("torch_cluster"), bench.authors
    rows = points[0].T.contiguous()
    if fpsample and batch == 1 and bench.device == "cpu":
        array, height = rows.numpy(), 7 if num_points > MANY_POINTS else 3  # heights that its documentation advises
        calls["fpsample"] = lambda: fpsample.bucket_fps_kdline_sampling(array, num_samples, h=height, start_idx=0)
    if cluster and batch == 1:
        calls["torch_cluster"] = lambda: cluster.fps(rows, ratio=num_samples / num_points, random_start=False)
    open3d = optional("open3d")
    if open3d and batch == 1 and bench.device == "cpu" and num_points <= MANY_POINTS:
        cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor(rows.numpy()))
        calls["Open3D"] = lambda: cloud.farthest_point_down_sample(num_samples)
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
    if optional("open3d") and bench.device == "cpu":
        calls["Open3D"] = lambda: search_by_open3d(centers, points, 0.2, 32)
    if authors:
        calls["authors"] = lambda: authors.ball_query(centers, points, 0.2, 32)
    bench.add("ball_query", f"{size}, radius 0.2, 32 neighbours", 0, calls)

    features = bench.rand(bench.batch, 64, num_points)
    first = near[:, :, 0].contiguous()
    calls = {
        "call": lambda: ops.gather_points(features, first),
        "reference": lambda: reference.gather_points(features, first),
    }
    bytes_read = (64 * first.numel() * 2) * features.element_size() + first.numel() * first.element_size()
    bench.add("gather_points", f"{size}, 64 channels", bytes_read, calls)
    add_backward(
        bench,
        "gather_points",
        f"{size}, 64 channels",
        features,
        lambda x: ops.gather_points(x, first),
        lambda x: reference.gather_points(x, first),
    )
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


def add_networks(bench: Bench) -> None:
    """All networks."""
    bench.cases += [case for name in NETWORKS for case in network_cases(name, bench.device)]


BATCHED = ("voxels", "neighbors")
PARTS: dict[str, Callable[[Bench], None]] = {
    "shift": add_shifts,
    "shifted_convs": add_shifted_convs,
    "voxels": add_voxels,
    "sampling": add_samplings,
    "neighbors": add_neighbors,
    "networks": add_networks,
}


def main() -> int:
    """Run the benchmark; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16", "float64"], default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[8], help="clouds at a time (default: 8)")
    parser.add_argument("--runs", type=int, default=20, help="times that each thing runs (default: 20)")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="what is timed")
    parser.add_argument("--authors", type=Path, help="a compiled module with the authors' CUDA kernels")
    parser.add_argument("--out", type=Path, help="a folder for ops_DEVICE.csv and .md")
    options = parser.parse_args()
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Time what was asked for, print it and write it down."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU: leave out --device cuda")
    authors = load_module(options.authors) if options.authors else None
    bandwidth = copy_bandwidth(options.device)
    about = machine(options.device) | {"dtype": options.dtype, "runs": str(options.runs)}
    about |= {"copy bandwidth": f"{bandwidth / 1e9:.1f} GB/s", "operators": ops.backend(options.device)}
    rows = []
    # Only clouds come in batches of the size that was asked for.
    parts = [(part, batch) for part in options.only for batch in options.batch[: None if part in BATCHED else 1]]
    for part, batch in parts:
        bench = Bench(options.device, getattr(torch, options.dtype), batch, authors)
        PARTS[part](bench)
        for case in bench.cases:
            new = rows_of(case, options.runs, options.device, bandwidth)
            rows += new
            for row in new:
                print("  ".join(f"{row[column]!s:<{WIDTHS.get(column, 9)}}" for column in row), flush=True)
    if options.out:
        write_tables("Operators", rows, about, options.out / f"ops_{options.device}")


if __name__ == "__main__":
    sys.exit(main())
