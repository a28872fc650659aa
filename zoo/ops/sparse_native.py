"""The compiled voxel branch, see ``zoo.ops.sparse_reference``, with what compilers must know of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import register_fake
from torch.utils.flop_counter import register_flop_formula

from zoo.ops import sparse_reference
from zoo.ops.branch import TILE, VoxelBranch

_zoo = torch.ops.zoo
_TYPES = (torch.float32, torch.bfloat16)


def sparse_voxel_branch(
    features: Tensor, coords: Tensor, voxels: Tensor, branch: VoxelBranch, with_mean: bool
) -> tuple[Tensor, Tensor]:
    """See the reference; float16 is computed in float32, and float64 by the reference."""
    if features.dtype == torch.float64:
        return sparse_reference.sparse_voxel_branch(features, coords, voxels, branch, with_mean)
    computed = features if features.dtype in _TYPES else features.float()
    weights = (branch.packed[0], branch.bias, branch.packed[1], branch.empty)
    points, mean = _zoo.sparse_voxel_branch(
        computed, coords.detach().float(), voxels, branch.resolution, *weights, *branch.slopes, with_mean
    )
    return points.to(features.dtype), mean


def sparse_work(coords: Tensor, voxels: Tensor, resolution: int, with_mean: bool) -> Tensor:
    """See the reference."""
    work: Tensor = _zoo.sparse_work(coords.detach().float(), voxels, resolution, with_mean)
    return work


@register_fake("zoo::sparse_voxel_branch")
def _(
    features: Tensor,
    coords: Tensor,
    voxels: Tensor,
    resolution: int,
    weight1: Tensor,
    bias: Tensor,
    weight2: Tensor,
    empty: Tensor,
    slope1: float,
    slope2: float,
    with_mean: bool,
) -> tuple[Tensor, Tensor]:
    batch, _, num_points = features.shape
    channels = empty.shape[3]
    return features.new_empty(batch, channels, num_points), empty.new_empty(batch, channels if with_mean else 0)


@register_fake("zoo::sparse_work")
def _(coords: Tensor, voxels: Tensor, resolution: int, with_mean: bool) -> Tensor:
    return voxels.new_empty(2, dtype=torch.int64)


@register_flop_formula(_zoo.sparse_voxel_branch)
def _(
    features: Any, coords: Any, voxels: Any, resolution: int, weight1: Any, bias: Any, weight2: Any, *_: Any, **__: Any
) -> int:
    """At the most: every point in a voxel of its own, whose 27 neighbours are read."""
    batch, channels, num_points = features
    middle, last = bias[0], weight2[1] * TILE
    most = 27 * batch * min(num_points, resolution**3)
    return 2 * most * channels * middle + 2 * min(27 * most, 27 * batch * resolution**3) * middle * last
