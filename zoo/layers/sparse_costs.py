"""What a voxel branch costs with and without its empty voxels: measured once on this machine, lines in between."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo import ops

SIDE = 16  # of the grid that is measured on: a voxel of a larger one takes as long where as many are occupied
POINTS = (32, 1024)  # on a sphere, after a single one, and before one in every voxel
RUNS = 5


@dataclass(frozen=True)
class Costs:
    """Seconds that a voxel branch takes on this machine, for one cloud.

    Attributes:
        dense: with all voxels.
        sparse: without empty voxels: multiplications, and the seconds that they took; of ever more occupied grids.
    """

    dense: float
    sparse: tuple[tuple[float, float], ...]

    def seconds(self, products: float) -> float:
        """Without empty voxels, for a number of multiplications: on the lines between those that were measured."""
        counts, seconds = zip(*self.sparse, strict=True)
        return float(np.interp(products, counts, seconds))


def products(work: tuple[int, int], channels: tuple[int, int, int]) -> int:
    """Multiplications in a branch of ``channels`` (C, C1, C2), see :func:`zoo.ops.sparse_work`."""
    first, second, third = channels
    return work[0] * first * second + work[1] * second * third


def dense_branch(features: Tensor, plan: ops.VoxelPlan, layers: Callable[[Tensor], Tensor]) -> Tensor:
    """The branch with all its voxels: features [B, C, N] to [B, C', N], through ``layers`` on a channels-last grid."""
    grid = plan.voxelize(features).contiguous(memory_format=torch.channels_last_3d)
    return plan.devoxelize(layers(grid))


@functools.cache
def measure(
    channels: tuple[int, int, int], resolution: int, with_mean: bool, dtype: torch.dtype, num_threads: int
) -> Costs:
    """Time both ways on a CPU, from few points to a full grid, with random weights.

    Args:
        channels: C, C1, C2.
        resolution: R of the grid.
        with_mean: the mean over the grid is wanted too.
        dtype: of features and weights.
        num_threads: that PyTorch runs on; other ones are measured anew.
    """
    side = min(resolution, SIDE)
    generator = torch.Generator().manual_seed(0)

    def rand(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype)

    first, second, third = channels
    weight1, bias1, weight2, bias2 = (
        rand(*size) for size in ((second, first, 3, 3, 3), (second,), (third, second, 3, 3, 3), (third,))
    )
    branch = ops.voxel_branch(weight1, bias1, weight2, bias2, side)

    def layers(grid: Tensor) -> Tensor:
        for weight, bias in ((weight1, bias1), (weight2, bias2)):
            kernel = weight.contiguous(memory_format=torch.channels_last_3d)
            grid = F.leaky_relu_(F.conv3d(grid, kernel, bias, padding=1), 0.1)
        return grid

    def time_sparse(points: Tensor, scale: float = 1.0) -> tuple[float, float]:
        """Multiplications and seconds, in a grid that is so many times larger."""
        plan, features = ops.voxel_plan(points, side, normalize=False), rand(1, first, points.shape[2])
        seconds = _seconds(lambda: ops.sparse_voxel_branch(features, plan, branch, with_mean))
        return scale * products(ops.sparse_work(plan, with_mean), channels), scale * seconds

    spheres = [F.normalize(torch.randn(1, 3, count, generator=generator), dim=1) for count in POINTS]
    axis = torch.linspace(-1, 1, side + 1)  # both of its ends are in voxels of others
    full = torch.cartesian_prod(axis, axis, axis).T.unsqueeze(0)
    plan, features = ops.voxel_plan(full, side, normalize=False), rand(1, first, full.shape[2])
    dense = _seconds(lambda: dense_branch(features, plan, layers)) * (resolution / side) ** 3
    scale = ((3 * resolution - 2) / (3 * side - 2)) ** 3  # of the neighbours inside of a full grid
    timed = [time_sparse(torch.zeros(1, 3, 1)), *(time_sparse(points, scale) for points in (*spheres, full))]
    counts, seconds = zip(*sorted(timed), strict=True)
    return Costs(dense, tuple(zip(counts, itertools.accumulate(seconds, max), strict=True)))  # more is never faster


@torch.inference_mode()
def _seconds(call: Callable[[], object]) -> float:
    """The shortest of a few runs, after one that does not count."""
    times = []
    for _ in range(1 + RUNS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times[1:])
