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

SIDES = (16, 32)  # of the grids that are measured on: a voxel of a larger one takes about as long
POINTS = (32, 1024)  # on a sphere, after a single one, and before one in every voxel
MORE = 4  # points in every voxel, which show what a point takes by itself
RUNS, LONG = 6, 0.3  # of each; and the seconds after which there are no more


@dataclass(frozen=True)
class Costs:
    """Seconds that a voxel branch takes on this machine, for one cloud.

    Attributes:
        dense: with all voxels, and what each point adds.
        sparse: without empty voxels: multiplications, and seconds; of ever more occupied grids.
        point: and what each point adds.
    """

    dense: tuple[float, float]
    sparse: tuple[tuple[float, float], ...]
    point: float

    def seconds(self, products: float, points: int) -> float:
        """Without empty voxels, for a number of multiplications: on the lines between those that were measured."""
        counts, seconds = zip(*self.sparse, strict=True)
        return float(np.interp(products, counts, seconds)) + points * self.point

    def dense_seconds(self, points: int) -> float:
        """With all voxels."""
        grid, point = self.dense
        return grid + points * point


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
    channels: tuple[int, int, int], resolution: int, with_mean: bool, dtype: torch.dtype, num_threads: int, most: int
) -> Costs:
    """Time both ways on a CPU, from few points to a full grid, with random weights.

    Args:
        channels: C, C1, C2.
        resolution: R of the grid.
        with_mean: the mean over the grid is wanted too.
        dtype: of features and weights.
        num_threads: that PyTorch runs on; other ones are measured anew.
        most: voxels a side of the grid that is timed, one of ``SIDES``; a larger one is taken for many of them.
    """
    side = min(resolution, most)
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
        return grid * grid.mean((2, 3, 4), keepdim=True) if with_mean else grid  # as an excitation does

    def time_sparse(points: Tensor) -> tuple[int, float]:
        """Multiplications and seconds."""
        plan, features = ops.voxel_plan(points, side, normalize=False), rand(1, first, points.shape[2])
        seconds = _seconds(lambda: ops.sparse_voxel_branch(features, plan, branch, with_mean))
        return products(ops.sparse_work(plan, with_mean), channels), seconds

    def time_dense(points: Tensor) -> float:
        plan, features = ops.voxel_plan(points, side, normalize=False), rand(1, first, points.shape[2])
        return _seconds(lambda: dense_branch(features, plan, layers))

    axis = torch.linspace(-1, 1, side + 1)  # both of its ends are in voxels of others
    full = torch.cartesian_prod(axis, axis, axis).T.unsqueeze(0)
    crowded, added = full.repeat(1, 1, MORE), (MORE - 1) * full.shape[2]
    dense, (all_products, sparse) = time_dense(full), time_sparse(full)
    dense_point = max(0.0, time_dense(crowded) - dense) / added
    sparse_point = max(0.0, time_sparse(crowded)[1] - sparse) / added

    # A single point takes as long in a larger grid; of more points there are as many more.
    scale = ((3 * resolution - 2) / (3 * side - 2)) ** 3  # of the neighbours inside of a full grid
    timed = [(*time_sparse(torch.zeros(1, 3, 1)), 1, 1.0)]
    for count in POINTS:
        sphere = F.normalize(torch.randn(1, 3, count, generator=generator), dim=1)
        timed.append((*time_sparse(sphere), count, scale))
    timed.append((all_products, sparse, full.shape[2], scale))
    lines = sorted(
        (times * count, times * max(0.0, spent - many * sparse_point)) for count, spent, many, times in timed
    )
    counts, seconds = zip(*lines, strict=True)
    return Costs(
        dense=(max(0.0, dense - full.shape[2] * dense_point) * (resolution / side) ** 3, dense_point),
        sparse=tuple(zip(counts, itertools.accumulate(seconds, max), strict=True)),  # more is never faster
        point=sparse_point,
    )


@torch.inference_mode()
def _seconds(call: Callable[[], object]) -> float:
    """The shortest of a few runs, after one that does not count unless it is the only one."""
    times: list[float] = []
    while len(times) <= RUNS and sum(times) < LONG:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times[1:] or times)
