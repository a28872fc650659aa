"""The operators in plain PyTorch: the specification that compiled kernels are tested against, and the fallback.

Semantics are those of the authors' code (Lin et al. 2019, TSM; Liu et al. 2019, Point-Voxel CNN). Shapes and
dtypes are checked in ``zoo.ops``; values are checked here, as the compiled kernels check theirs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops.checks import check_extent, check_finite, check_range

_CHUNK = 1 << 22  # pairs of points whose distances are held at a time


def temporal_shift(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """Shift a part of the channels of ``x`` [N*T, C, H, W] along time (TSM, section 3.2)."""
    clips = x.unflatten(0, (-1, num_frames))
    fold = x.shape[1] // shift_div
    if online:
        past, rest = clips[:, :, :fold], clips[:, :, fold:]
        return torch.cat([_delay(past), rest], dim=2).flatten(0, 1)
    future, past, rest = clips[:, :, :fold], clips[:, :, fold : 2 * fold], clips[:, :, 2 * fold :]
    return torch.cat([_advance(future), _delay(past), rest], dim=2).flatten(0, 1)


def _advance(clips: Tensor) -> Tensor:
    """Every frame of ``clips`` [N, T, ...] becomes the next one; the last is zero."""
    return torch.cat([clips[:, 1:], torch.zeros_like(clips[:, :1])], dim=1)


def _delay(clips: Tensor) -> Tensor:
    """Every frame of ``clips`` [N, T, ...] becomes the one before it; the first is zero."""
    return torch.cat([torch.zeros_like(clips[:, :1]), clips[:, :-1]], dim=1)


def temporal_shift_(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """:func:`temporal_shift` into ``x`` itself."""
    return x.copy_(temporal_shift(x, num_frames, shift_div, online))


def online_shift(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """One frame [N, C, H, W] with ``past`` [N, C/d, H, W] in its first channels, and what was there."""
    now, rest = x.tensor_split([past.shape[1]], dim=1)
    return torch.cat([past, rest], dim=1), now.clone()


def shifted_pointwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_frames: int,
    shift_div: int,
    online: bool,
    activation: str,
) -> Tensor:
    """The shift of frames [N*T, C, H, W], then a 1x1 convolution by ``weight`` [O, C], then the activation."""
    return pointwise(temporal_shift(x, num_frames, shift_div, online), weight, bias, activation)


def online_pointwise_conv(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor]:
    """:func:`online_shift`, then a 1x1 convolution by ``weight`` [O, C], then the activation; and what is kept."""
    shifted, kept = online_shift(x, past)
    return pointwise(shifted, weight, bias, activation), kept


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """A 1x1 convolution of ``x`` [N, C, H, W] by ``weight`` [O, C], then the activation."""
    out = F.conv2d(x, weight[:, :, None, None], bias)
    return out if activation == "none" else {"relu": F.relu, "relu6": F.relu6}[activation](out)


def voxel_plan(coords: Tensor, resolution: int, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Where ``coords`` [B, 3, N] lie in a grid about their mean (Point-Voxel CNN, section 3.2).

    Returns:
        coordinates in voxels [B, 3, N], linear voxel indices int32 [B, N], points in every voxel int32 [B, R^3].
    """
    coords = wide(coords.detach())
    check_finite("voxel_plan", coords)
    if coords.shape[2] == 0:
        return coords, *voxel_index(coords.int(), resolution)
    centered = coords - coords.mean(dim=2, keepdim=True)
    check_extent("voxel_plan", centered)
    # The mean of identical points is off by a rounding, which must not be scaled up.
    identical = (coords == coords[:, :, :1]).all(dim=2, keepdim=True).all(dim=1, keepdim=True)
    if normalize:
        furthest = _squared_norm(centered).amax(dim=1)
        check_extent("voxel_plan", furthest)
        # Of a root in float32 a library of vector functions may round the last bit otherwise than the processor.
        diameter = (furthest.double().sqrt().to(furthest.dtype) * 2)[:, None, None]
        unit = torch.where(diameter == 0, 0, centered / diameter) + 0.5
    else:
        unit = (centered + 1) / 2
    at = (torch.where(identical, 0.5, unit) * resolution).clamp(0, resolution - 1)
    return at, *voxel_index(at.round().int(), resolution)  # half to even


def voxel_index(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Linear indices int32 [B, N] of voxels ``coords`` [B, 3, N], x major, and points in every voxel int32 [B, R^3]."""
    check_range("avg_voxelize", "coordinate", coords, resolution - 1)
    x, y, z = coords.int().unbind(1)
    voxels = (x * resolution + y) * resolution + z
    counts = voxels.new_zeros(voxels.shape[0], resolution**3)
    return voxels, counts.scatter_add_(1, voxels.long(), torch.ones_like(voxels))


def avg_voxelize(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """Mean of ``features`` [B, C, N] over the points of every voxel, [B, C, R^3] (Point-Voxel CNN, equation 2).

    ``order`` sorts the points by voxel; the compiled operator sums in it, here there is no need.
    """
    values = wide(features)
    total = values.new_zeros(*values.shape[:2], counts.shape[1])
    total = total.scatter_add(2, voxels.long().unsqueeze(1).expand_as(values), values)
    return (total / counts.clamp(min=1).unsqueeze(1)).to(features.dtype)


def trilinear_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    """Values of ``grid`` [B, C, R, R, R] at ``coords`` [B, 3, N] between eight voxels, [B, C, N] (section 3.2)."""
    resolution = grid.shape[-1]
    coords = coords.detach().to(sum_type(grid.dtype))
    check_range("trilinear_devoxelize", "coordinate", coords, resolution - 1)
    indices, weights = corners(coords, resolution)
    return weighted_sum(grid.flatten(2), indices.transpose(1, 2), weights.transpose(1, 2))


def corners(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The eight voxels around ``coords`` [B, 3, N], int64 [B, 8, N], and their weights [B, 8, N]."""
    low = coords.floor()
    fraction = coords - low
    corner = low.long()
    step = (fraction > 0).long()  # no upper corner where a point lies on a plane of the grid
    indices, weights = [], []
    for upper in [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]:
        x, y, z = (corner[:, axis] + step[:, axis] * up for axis, up in enumerate(upper))
        wx, wy, wz = (fraction[:, axis] if up else 1 - fraction[:, axis] for axis, up in enumerate(upper))
        indices.append((x * resolution + y) * resolution + z)
        weights.append(wx * wy * wz)
    return torch.stack(indices, dim=1), torch.stack(weights, dim=1)


def furthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """Indices [B, M] of points, each the furthest from those before it (PointNet++, section 3.2)."""
    points = wide(points.detach())
    check_finite("furthest_point_sample", points)
    batch, _, num_points = points.shape
    chosen = torch.zeros(batch, num_samples, dtype=torch.int64, device=points.device)
    if points.is_meta:  # there is nothing to compare, and the loop is slow there
        return chosen
    distance = points.new_full((batch, num_points), torch.inf)
    for j in range(1, num_samples):
        last = points.gather(2, chosen[:, j - 1].view(batch, 1, 1).expand(batch, 3, 1))
        distance = torch.minimum(distance, _squared_distance(points, last))
        chosen[:, j] = distance.argmax(dim=1)  # the first of several
    return chosen


def ball_query(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    """Indices [B, M, U] of the first U points within ``radius`` of every centre (PointNet++, section 3.2)."""
    centers, points = wide(centers.detach()), wide(points.detach())
    check_finite("ball_query", centers, points)
    reach = torch.tensor(radius, dtype=points.dtype, device=points.device).square()
    batch, _, num_points = points.shape
    number = torch.arange(num_points, device=points.device, dtype=torch.int32)
    found = []
    for some in centers.split(max(1, _CHUNK // max(1, batch * num_points)), dim=2):
        inside = _squared_distance(some.unsqueeze(3), points.unsqueeze(2)) < reach
        order = torch.where(inside, number, num_points)
        found.append(order.topk(min(num_neighbors, num_points), dim=2, largest=False, sorted=True).values)
    neighbors = F.pad(torch.cat(found, dim=1), (0, max(0, num_neighbors - num_points)), value=num_points)
    neighbors = torch.where(neighbors < num_points, neighbors, neighbors[:, :, :1])
    return torch.where(neighbors < num_points, neighbors, 0).long()


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Columns ``indices`` [B, M] of ``features`` [B, C, N], [B, C, M]."""
    check_range("gather_points or group_points", "index", indices, features.shape[2] - 1)
    return features.gather(2, indices.long().unsqueeze(1).expand(-1, features.shape[1], -1))


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """Columns ``indices`` [B, M, U] of ``features`` [B, C, N], [B, C, M, U]."""
    return gather_points(features, indices.flatten(1)).unflatten(2, indices.shape[1:])


def three_nn_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """``features`` [B, C, M] of the three nearest centres, weighted by 1/d^2, [B, C, N] (PointNet++, equation 2)."""
    points, centers = wide(points.detach()), wide(centers.detach())
    check_finite("three_nn_interpolate", points, centers)
    batch, _, num_centers = centers.shape
    indices, weights = [], []
    for some in points.split(max(1, _CHUNK // max(1, batch * num_centers)), dim=2):
        distance = _squared_distance(some.unsqueeze(3), centers.unsqueeze(2))
        nearest, index = _three_smallest(distance)
        d0, d1, d2 = nearest.clamp(1e-10, 1e10).unbind(2)
        weight = torch.stack([d1 * d2, d0 * d2, d0 * d1], dim=2)
        indices.append(index)
        weights.append(weight / (d0 * d1 + d0 * d2 + d1 * d2).unsqueeze(2))
    return weighted_sum(features, torch.cat(indices, dim=1), torch.cat(weights, dim=1))


def _three_smallest(distance: Tensor) -> tuple[Tensor, Tensor]:
    """Values and indices [B, N, 3] along the last axis, ties in index order; what is missing is infinity at index 0."""
    values, indices = [], []
    for _ in range(3):
        value, index = distance.min(dim=2, keepdim=True)
        values.append(value)
        indices.append(torch.where(value < torch.inf, index, 0))
        distance = distance.scatter(2, index, torch.inf)
    return torch.cat(values, dim=2), torch.cat(indices, dim=2)


def weighted_sum(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Columns ``indices`` [B, N, K] of ``features`` [B, C, S], summed over K with ``weights`` [B, N, K], [B, C, N].

    What has no weight does not count, even if it is infinite: a row of zeros takes its place.
    """
    batch, channels, size = features.shape
    values = wide(features)
    rows = torch.cat([*values.transpose(1, 2).unbind(), values.new_zeros(1, channels)])
    first = torch.arange(batch, device=features.device).view(batch, 1, 1) * size
    bags = torch.where(weights == 0, batch * size, indices + first).flatten(0, 1)
    sums = F.embedding_bag(bags, rows, per_sample_weights=weights.flatten(0, 1).to(rows.dtype), mode="sum")
    return sums.to(features.dtype).unflatten(0, indices.shape[:2]).transpose(1, 2).contiguous()


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance between points whose coordinates lie along dimension 1."""
    return _squared_norm(a - b)


def _squared_norm(x: Tensor) -> Tensor:
    """Squared length of vectors whose coordinates lie along dimension 1."""
    dx, dy, dz = x.unbind(1)
    return dx * dx + dy * dy + dz * dz


def sum_type(dtype: torch.dtype) -> torch.dtype:
    """The type that sums of features are made in; coordinates and weights come in it."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def wide(x: Tensor) -> Tensor:
    """``x`` in the type that sums are made in: float32 for the half types."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
