"""The operators in what every runtime has, to trace networks with; they compute what ``zoo.ops.reference`` does.

Sums go over rows of channels, so that one index serves all channels of a point.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops import reference
from zoo.ops.reference import (
    online_pointwise_conv,
    online_shift,
    pointwise,
    temporal_shift_,
    voxel_plan,
    wide,
)

__all__ = [
    "avg_voxelize",
    "ball_query",
    "furthest_point_sample",
    "gather_points",
    "group_points",
    "online_pointwise_conv",
    "online_shift",
    "shifted_pointwise_conv",
    "temporal_shift",
    "temporal_shift_",
    "three_nn_interpolate",
    "trilinear_devoxelize",
    "voxel_plan",
]

WIDE = 64  # channels that move, from which on two convolutions are faster than one of shifted channels
MANY = 2**30  # more points than there are; OpenVINO fills with numbers of 32 bits, by way of floating ones


def temporal_shift(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """A pad of each part that moves, which cuts it out as well, and a concatenation."""
    fold = x.shape[1] // shift_div
    moving = fold if online else 2 * fold
    if moving == 0:
        return x
    clips = x.unflatten(0, (-1, num_frames))
    moved = _moved(clips, fold, moving)
    return torch.cat([*moved, clips[:, :, moving:]], dim=2).flatten(0, 1)


def _moved(clips: Tensor, fold: int, moving: int) -> list[Tensor]:
    """The channels [N, T, C/d, H, W] that move, of ``clips`` [N, T, C, H, W]: first those from the frame after.

    One pad cuts channels and a frame off, and puts a frame of zeros in its place.
    """
    channels = clips.shape[2]
    after = F.pad(clips, (0, 0, 0, 0, 0, fold - channels, -1, 1))
    before = F.pad(clips, (0, 0, 0, 0, fold - moving, moving - channels, 1, -1))
    return [before] if moving == fold else [after, before]


def shifted_pointwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_frames: int,
    shift_div: int,
    online: bool,
    activation: str,
) -> Tensor:
    """The sum of a convolution of the channels that rest and one of those that move, where these are many.

    For graphs that :func:`zoo.export.cut_producers.cut_producers` works on afterwards, so that the layers before give
    both apart and what rests is not copied. Convolutions of few channels cost more than the copy.
    """
    fold = x.shape[1] // shift_div
    moving = fold if online else 2 * fold
    if moving < WIDE or moving == x.shape[1]:
        return pointwise(temporal_shift(x, num_frames, shift_div, online), weight, bias, activation)
    moved, rest = x.split([moving, x.shape[1] - moving], dim=1)
    frames = torch.cat(_moved(moved.unflatten(0, (-1, num_frames)), fold, moving), dim=2).flatten(0, 1)
    out = pointwise(rest, weight[:, moving:], bias, "none") + pointwise(frames, weight[:, :moving], None, "none")
    return out if activation == "none" else {"relu": F.relu, "relu6": F.relu6}[activation](out)


def avg_voxelize(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """A scatter with addition, then a division."""
    values = wide(features)
    total = values.new_zeros(values.shape[0], values.shape[1], counts.shape[1])
    index = voxels.long().unsqueeze(1).expand(-1, values.shape[1], -1)
    return (total.scatter_add(2, index, values) / counts.clamp(min=1).unsqueeze(1)).to(features.dtype)


def trilinear_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    """A gather of eight corners for every point, summed with weights: all corners in one go."""
    resolution = grid.shape[-1]
    low = coords.floor()
    fraction = coords - low
    index = low.long().unsqueeze(2)
    step = (fraction > 0).long().unsqueeze(2)  # no upper corner where a point lies on a plane of the grid
    x, y, z = torch.cat([index, index + step], dim=2).unbind(1)  # each [B, 2, N]
    wx, wy, wz = torch.stack([1 - fraction, fraction], dim=2).unbind(1)
    indices = (x.unsqueeze(2) * resolution + y.unsqueeze(1)).flatten(1, 2).unsqueeze(2) * resolution + z.unsqueeze(1)
    weights = (wx.unsqueeze(2) * wy.unsqueeze(1)).flatten(1, 2).unsqueeze(2) * wz.unsqueeze(1)
    return weighted_sum(grid.flatten(2), indices.flatten(1, 2), weights.flatten(1, 2))


def weighted_sum(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Columns ``indices`` [B, K, N] of ``features`` [B, C, S], summed over K with ``weights``, [B, C, N]."""
    found = _rows(wide(features), indices)
    sums = (found * weights.to(found.dtype).unsqueeze(3)).sum(dim=1)
    return sums.transpose(1, 2).to(features.dtype)


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """A gather of rows."""
    return _rows(features, indices).transpose(1, 2)


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """A gather of rows."""
    return _rows(features, indices).permute(0, 3, 1, 2)


def _rows(features: Tensor, indices: Tensor) -> Tensor:
    """Columns ``indices`` [B, ...] of ``features`` [B, C, S], as rows [B, ..., C]."""
    batch, channels, size = features.shape
    rows = features.transpose(1, 2).reshape(batch * size, channels)
    first = torch.arange(batch, device=features.device) * size
    return F.embedding(indices.long() + first.view(-1, *[1] * (indices.dim() - 1)), rows)


def furthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """One operator, which every format writes as a loop of its own."""
    return sample_op(wide(points), num_samples)


@torch.library.custom_op("zoo_plain::furthest_point_sample", mutates_args=())
def _sample(points: Tensor, num_samples: int) -> Tensor:
    return reference.furthest_point_sample(points, num_samples)


@_sample.register_fake
def _(points: Tensor, num_samples: int) -> Tensor:
    return points.new_empty(points.shape[0], num_samples, dtype=torch.int64)


sample_op = torch.ops.zoo_plain.furthest_point_sample.default


def ball_query(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    """The smallest indices of the points within reach."""
    centers, points = wide(centers), wide(points)
    reach = torch.tensor(radius, dtype=points.dtype).square()
    num_points = points.shape[2]
    number = torch.arange(num_points, device=points.device)
    offset = centers.unsqueeze(3) - points.unsqueeze(2)
    dx, dy, dz = offset.unbind(1)
    order = torch.where(dx * dx + dy * dy + dz * dz < reach, number, num_points)
    order = F.pad(order, (0, num_neighbors), value=MANY)  # so that there are enough
    neighbors = order.topk(num_neighbors, dim=2, largest=False, sorted=True).values
    neighbors = torch.where(neighbors < num_points, neighbors, neighbors[:, :, :1])
    return torch.where(neighbors < num_points, neighbors, 0)


def three_nn_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """The three smallest of the squared distances, and a gather."""
    points, centers = wide(points), wide(centers)
    dx, dy, dz = (points.unsqueeze(3) - centers.unsqueeze(2)).unbind(1)
    nearest, indices = (dx * dx + dy * dy + dz * dz).topk(min(3, centers.shape[2]), dim=2, largest=False, sorted=True)
    missing = 3 - nearest.shape[2]
    if missing:
        nearest, indices = F.pad(nearest, (0, missing), value=1e10), F.pad(indices, (0, missing))
    d0, d1, d2 = nearest.clamp(1e-10, 1e10).unbind(2)
    weights = torch.stack([d1 * d2, d0 * d2, d0 * d1], dim=1) / (d0 * d1 + d0 * d2 + d1 * d2).unsqueeze(1)
    return weighted_sum(features, indices.transpose(1, 2), weights)
