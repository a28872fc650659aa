"""What a voxel branch costs with and without its empty voxels: measured once on this machine, then a straight line."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo import ops

SIDE = 16  # of the grid that is measured on: a dense convolution takes as long for every voxel of a larger one
FEW, MANY = 32, 1024  # points on a sphere, between which the line is drawn
RUNS = 3


@dataclass(frozen=True)
class Costs:
    """Seconds that a voxel branch takes on this machine.

    Attributes:
        dense: for one cloud.
        start: without empty voxels, whatever there is to compute.
        product: for every multiplication then.
    """

    dense: float
    start: float
    product: float

    def sparse(self, products: float) -> float:
        """Seconds for a number of multiplications."""
        return self.start + self.product * products


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
    """Time both ways on a CPU, on points of a sphere with random weights.

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

    def sparse(num_points: int) -> tuple[float, int]:
        """Seconds and multiplications."""
        plan, features = sphere(num_points)
        seconds = _seconds(lambda: ops.sparse_voxel_branch(features, plan, branch, with_mean))
        return seconds, products(ops.sparse_work(plan, with_mean), channels)

    def sphere(num_points: int) -> tuple[ops.VoxelPlan, Tensor]:
        points = F.normalize(torch.randn(1, 3, num_points, generator=generator), dim=1)
        return ops.voxel_plan(points, side), rand(1, first, num_points)

    plan, features = sphere(MANY)
    dense = _seconds(lambda: dense_branch(features, plan, layers)) * (resolution / side) ** 3
    (few_seconds, few), (many_seconds, many) = sparse(FEW), sparse(MANY)
    slope = max(0.0, (many_seconds - few_seconds) / max(1, many - few))
    return Costs(dense, max(0.0, few_seconds - slope * few), slope)


@torch.inference_mode()
def _seconds(call: Callable[[], object]) -> float:
    """The shortest of a few runs, after one that does not count."""
    times = []
    for _ in range(1 + RUNS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times[1:])
