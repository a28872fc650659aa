"""The voxel branch where there is something to compute, in plain PyTorch: the specification of the compiled operator.

A dense convolution sees mostly empty voxels. Of what differs from the response of an empty grid, the *empty response*,
the first convolution has something within one step of an occupied voxel (``near``), the second within two steps. So the
rows of ``near`` are computed, less the constant that the first gives elsewhere, and the second adds what they change to
its empty response: nowhere does a voxel that holds no information take part in a product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops.branch import VoxelBranch
from zoo.ops.checks import check_range
from zoo.ops.reference import corners, wide


def sparse_voxel_branch(
    features: Tensor, coords: Tensor, voxels: Tensor, branch: VoxelBranch, with_mean: bool
) -> tuple[Tensor, Tensor]:
    """Both convolutions at the points, [B, C2, N], and their mean over the grid, [B, C2] (or [B, 0] if not wanted)."""
    resolution = branch.resolution
    check_range("sparse_voxel_branch", "voxel", voxels, resolution**3 - 1)
    check_range("sparse_voxel_branch", "coordinate", coords, resolution - 1)
    occupied, near, read = reach(coords, voxels, resolution, with_mean)
    weight1, weight2 = (wide(weight) for weight in branch.weights)
    rows = _voxel_means(wide(features), voxels, occupied)
    hidden = F.leaky_relu(_convolve(rows, occupied, near, weight1, branch.bias), branch.slopes[0])
    change = hidden - F.leaky_relu(branch.bias, branch.slopes[0])
    empty, place = branch.empty.flatten(0, 2), _place(resolution, coords.device)
    cloud, *at = read.nonzero().unbind(1)
    out = F.leaky_relu(_convolve(change, near, read, weight2, empty[place[*at]]), branch.slopes[1])
    points = _devoxelize(out, read, coords).to(features.dtype)
    if not with_mean:
        return points, out.new_empty(len(read), 0)
    rest = out.new_zeros(len(read), len(empty))  # how many other voxels there are of every case
    rest.scatter_add_(1, place.flatten().expand(len(read), -1), (~read).flatten(1).to(out.dtype))
    total = (rest @ F.leaky_relu(empty, branch.slopes[1])).index_add(0, cloud, out)
    return points, total / resolution**3


def sparse_work(coords: Tensor, voxels: Tensor, resolution: int, with_mean: bool) -> Tensor:
    """How many rows both convolutions multiply by a place of their kernels, over all clouds: int64 [2]."""
    occupied, near, read = reach(coords, voxels, resolution, with_mean)
    pairs = [_neighbors(inputs, outputs)[1].sum() for inputs, outputs in ((occupied, near), (near, read))]
    return torch.stack(pairs)


def reach(coords: Tensor, voxels: Tensor, resolution: int, with_mean: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Which voxels hold points, which the first convolution is computed for, and which the second, bool [B, R, R, R].

    The second is needed where the points ``coords`` [B, 3, N] read; for the mean over the grid, wherever it differs
    from the empty response.
    """
    cube = (resolution, resolution, resolution)
    none = torch.zeros(voxels.shape[0], resolution**3, dtype=torch.bool, device=voxels.device)
    occupied = none.scatter(1, voxels.long(), True).unflatten(1, cube)
    near = _dilate(occupied)
    indices, weights = corners(coords, resolution)
    first = torch.where(weights == 0, indices[:, :1], indices).flatten(1)  # the lowest corner of a point always counts
    read = none.scatter(1, first, True).unflatten(1, cube)
    return occupied, near, read | _dilate(near) if with_mean else read


def _dilate(voxels: Tensor) -> Tensor:
    """All voxels within one step, diagonals too."""
    return F.max_pool3d(voxels.unsqueeze(1).float(), 3, stride=1, padding=1).squeeze(1) > 0


def _place(resolution: int, device: torch.device) -> Tensor:
    """Where in a cube of side S = min(R, 3) every voxel's case lies, int64 [R, R, R] in [0, S^3)."""
    axis = torch.arange(resolution, device=device)
    side = min(resolution, 3)
    case = axis.clamp(max=1) + ((axis == resolution - 1) & (axis > 1))  # at the lower border, inside, at the upper
    return (case[:, None, None] * side + case[:, None]) * side + case


def _numbers(voxels: Tensor) -> Tensor:
    """The row of every voxel of a set, int64 [B, R, R, R]; -1 outside."""
    numbers = torch.full(voxels.shape, -1, device=voxels.device)
    numbers[voxels] = torch.arange(int(voxels.sum()), device=voxels.device)
    return numbers


def _voxel_means(features: Tensor, voxels: Tensor, occupied: Tensor) -> Tensor:
    """Mean of ``features`` [B, C, N] over the points of every occupied voxel, [M, C]."""
    row = _numbers(occupied).flatten(1).gather(1, voxels.long()).flatten()
    total = features.new_zeros(int(occupied.sum()), features.shape[1])
    total = total.index_add(0, row, features.transpose(1, 2).flatten(0, 1))
    return total / row.bincount(minlength=len(total)).unsqueeze(1)


def _neighbors(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of ``inputs`` around every voxel of ``outputs``, int64 [M, 27], and which of them there are."""
    padded = F.pad(_numbers(inputs), (1,) * 6, value=-1)
    b, *at = outputs.nonzero().unbind(1)
    taps = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]
    around = [padded[b, *(axis + step for axis, step in zip(at, tap, strict=True))] for tap in taps]
    rows = torch.stack(around, dim=1)
    return rows, rows >= 0


def _convolve(rows: Tensor, inputs: Tensor, outputs: Tensor, weight: Tensor, start: Tensor) -> Tensor:
    """``start``, [C'] or [M', C'], and the convolution of ``rows`` [M, C] of a set at the voxels of another."""
    neighbors, present = _neighbors(inputs, outputs)
    out = start.expand(len(neighbors), -1).clone()
    for tap, kernel in enumerate(weight.flatten(2).unbind(2)):
        some = present[:, tap]
        out[some] += rows[neighbors[some, tap]] @ kernel.T
    return out


def _devoxelize(rows: Tensor, voxels: Tensor, coords: Tensor) -> Tensor:
    """Values at ``coords`` [B, 3, N] between the voxels of a set, whose ``rows`` are [M, C]: [B, C, N]."""
    indices, weights = corners(wide(coords).to(rows.dtype), voxels.shape[1])
    numbers = _numbers(voxels).flatten(1).gather(1, indices.flatten(1)).view_as(indices)
    values = rows[numbers.clamp(min=0)] * torch.where(weights == 0, 0, weights).unsqueeze(3)  # [B, 8, N, C]
    return values.sum(dim=1).transpose(1, 2).contiguous()
