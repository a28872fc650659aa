"""The compiled operators: the functions of ``zoo.ops.reference``, with what compilers must know of them.

Importing this module needs the library to be loaded, see ``zoo.ops.backends``. On a GPU values out of range are clamped
without a word, since to look at them would be to wait for the GPU; ``ZOO_DEBUG=1`` looks, and raises as a CPU does.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import Tensor
from torch.library import register_fake
from torch.utils.flop_counter import register_flop_formula

from zoo.ops import reference
from zoo.ops.checks import check_finite, check_range
from zoo.ops.frames import memory_format, offsets
from zoo.ops.gradients import ShiftInPlace, voxelize
from zoo.ops.pointwise_native import online_pointwise_conv as online_pointwise_conv
from zoo.ops.pointwise_native import shifted_pointwise_conv as shifted_pointwise_conv

_zoo = torch.ops.zoo


def temporal_shift(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.temporal_shift(x, num_frames, shift_div, *offsets(online))
    return out


def temporal_shift_(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """See the reference."""
    if torch.is_grad_enabled() and x.requires_grad:
        shifted: Tensor = ShiftInPlace.apply(x, num_frames, shift_div, *offsets(online))
        return shifted
    _zoo.temporal_shift_(x, num_frames, shift_div, *offsets(online))
    if not torch.compiler.is_compiling():  # autograd finds out if it still wanted what was there
        torch.autograd.graph.increment_version(x)
    return x


def online_shift(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """See the reference."""
    out: tuple[Tensor, Tensor] = _zoo.online_shift(x, past)
    return out


def voxel_plan(coords: Tensor, resolution: int, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See the reference."""
    coords = reference.wide(coords.detach())
    _debug("voxel_plan", coords)
    plan: tuple[Tensor, Tensor, Tensor] = _zoo.voxel_plan(coords, coords.mean(dim=2), resolution, normalize)
    return plan


def voxel_index(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """See the reference."""
    _debug("avg_voxelize", coords, "coordinate", resolution - 1)
    index: tuple[Tensor, Tensor] = _zoo.voxel_index(coords, resolution)
    return index


def avg_voxelize(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """See the reference."""
    _debug("avg_voxelize", voxels, "voxel", counts.shape[1] - 1)
    return voxelize(features, voxels, counts, order)


def trilinear_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    """See the reference."""
    coords = coords.detach().to(reference.sum_type(grid.dtype))
    _debug("trilinear_devoxelize", coords, "coordinate", grid.shape[-1] - 1)
    out: Tensor = _zoo.trilinear_devoxelize(grid, coords)
    return out


def furthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """See the reference."""
    _debug("furthest_point_sample", points)
    out: Tensor = _zoo.furthest_point_sample(reference.wide(points.detach()), num_samples)
    return out


def ball_query(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    """See the reference."""
    _debug("ball_query", centers)
    _debug("ball_query", points)
    out: Tensor = _zoo.ball_query(
        reference.wide(centers.detach()), reference.wide(points.detach()), radius, num_neighbors
    )
    return out


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """See the reference."""
    _debug("gather_points or group_points", indices, "index", features.shape[2] - 1)
    out: Tensor = _zoo.gather_points(features, indices)
    return out


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """See the reference."""
    return gather_points(features, indices.flatten(1)).unflatten(2, indices.shape[1:])


def three_nn_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """See the reference."""
    _debug("three_nn_interpolate", points)
    _debug("three_nn_interpolate", centers)
    indices, weights = _zoo.three_nn(reference.wide(points.detach()), reference.wide(centers.detach()))
    out: Tensor = _zoo.three_interpolate(features, indices, weights.to(reference.sum_type(features.dtype)))
    return out


def _debug(operator: str, x: Tensor, name: str = "", highest: int | None = None) -> None:
    """With ``ZOO_DEBUG=1``, refuse values of ``x`` that are not finite, or not in [0, highest]."""
    if os.environ.get("ZOO_DEBUG") != "1":
        return
    if highest is None:
        check_finite(operator, x)
    else:
        check_range(operator, name, x, highest)


# What compilers must know: the shapes and dtypes of the results.


@register_fake("zoo::temporal_shift")
def _(x: Tensor, num_frames: int, shift_div: int, first: int, second: int) -> Tensor:
    return torch.empty_like(x) if _is_dense(x) else x.new_empty(x.shape)


@register_fake("zoo::temporal_shift_")
def _(x: Tensor, num_frames: int, shift_div: int, first: int, second: int) -> None:
    return None


@register_fake("zoo::temporal_shift_out")
def _(x: Tensor, num_frames: int, shift_div: int, first: int, second: int, out: Tensor) -> None:
    return None


@register_fake("zoo::online_shift")
def _(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x) if _is_dense(x) else x.new_empty(x.shape),
        torch.empty_like(past.contiguous(memory_format=memory_format(x))),
    )


@register_fake("zoo::voxel_plan")
def _(coords: Tensor, mean: Tensor, resolution: int, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    return coords.new_empty(coords.shape), *_fake_voxels(coords, resolution)


@register_fake("zoo::voxel_index")
def _(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    return _fake_voxels(coords, resolution)


@register_fake("zoo::avg_voxelize")
def _(features: Tensor, voxels: Tensor, counts: Tensor) -> Tensor:
    return features.new_empty(*features.shape[:2], counts.shape[1])


@register_fake("zoo::avg_voxelize_out")
def _(features: Tensor, voxels: Tensor, counts: Tensor, out: Tensor) -> None:
    return None


@register_fake("zoo::avg_voxelize_backward")
def _(grad: Tensor, voxels: Tensor, counts: Tensor) -> Tensor:
    return grad.new_empty(*grad.shape[:2], voxels.shape[1])


@register_fake("zoo::trilinear_devoxelize")
def _(grid: Tensor, coords: Tensor) -> Tensor:
    return grid.new_empty(*grid.shape[:2], coords.shape[2])


@register_fake("zoo::trilinear_devoxelize_out")
def _(grid: Tensor, coords: Tensor, out: Tensor) -> None:
    return None


@register_fake("zoo::avg_voxelize_backward_out")
def _(grad: Tensor, voxels: Tensor, counts: Tensor, out: Tensor) -> None:
    return None


@register_fake("zoo::trilinear_devoxelize_backward_out")
def _(grad: Tensor, coords: Tensor, out: Tensor) -> None:
    return None


@register_fake("zoo::trilinear_devoxelize_backward")
def _(grad: Tensor, coords: Tensor, resolution: int) -> Tensor:
    return grad.new_empty(*grad.shape[:2], resolution, resolution, resolution)


@register_fake("zoo::furthest_point_sample")
def _(points: Tensor, num_samples: int) -> Tensor:
    return points.new_empty(points.shape[0], num_samples, dtype=torch.int64)


@register_fake("zoo::ball_query")
def _(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    return points.new_empty(centers.shape[0], centers.shape[2], num_neighbors, dtype=torch.int64)


@register_fake("zoo::gather_points")
def _(features: Tensor, indices: Tensor) -> Tensor:
    return features.new_empty(*features.shape[:2], indices.shape[1])


@register_fake("zoo::gather_points_backward")
def _(grad: Tensor, indices: Tensor, num_points: int) -> Tensor:
    return grad.new_empty(*grad.shape[:2], num_points)


@register_fake("zoo::three_nn")
def _(points: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    return points.new_empty(points.shape, dtype=torch.int32), points.new_empty(points.shape)


@register_fake("zoo::three_interpolate")
def _(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    return features.new_empty(*features.shape[:2], indices.shape[2])


@register_fake("zoo::three_interpolate_backward")
def _(grad: Tensor, indices: Tensor, weights: Tensor, num_centers: int) -> Tensor:
    return grad.new_empty(*grad.shape[:2], num_centers)


@register_fake("zoo::avg_voxelize_sorted")
def _(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor) -> Tensor:
    return features.new_empty(*features.shape[:2], counts.shape[1])


@register_fake("zoo::scatter_sorted")
def _(values: Tensor, targets: Tensor, order: Tensor, weights: Tensor, size: int) -> Tensor:
    return values.new_empty(*values.shape[:2], size)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _fake_voxels(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    batch, _, num_points = coords.shape
    return (
        coords.new_empty(batch, num_points, dtype=torch.int32),
        coords.new_empty(batch, resolution**3, dtype=torch.int32),
    )


# What a count of floating-point operations must know; shapes come in the places of tensors. A squared distance takes
# eight operations; shifts and gathering take none.


@register_flop_formula([_zoo.avg_voxelize, _zoo.avg_voxelize_sorted])
def _(features: Any, voxels: Any, counts: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(features)


@register_flop_formula(_zoo.avg_voxelize_backward)
def _(grad: Any, voxels: Any, counts: Any, *_: Any, **__: Any) -> int:
    return grad[0] * grad[1] * voxels[1]


@register_flop_formula([_zoo.trilinear_devoxelize, _zoo.trilinear_devoxelize_backward])
def _(features: Any, coords: Any, *_: Any, **__: Any) -> int:
    return 2 * 8 * features[0] * features[1] * coords[2]


@register_flop_formula(_zoo.furthest_point_sample)
def _(points: Any, num_samples: int, *_: Any, **__: Any) -> int:
    return 8 * points[0] * points[2] * num_samples


@register_flop_formula([_zoo.ball_query, _zoo.three_nn])
def _(first: Any, second: Any, *_: Any, **__: Any) -> int:
    return 8 * first[0] * first[2] * second[2]


@register_flop_formula([_zoo.three_interpolate, _zoo.three_interpolate_backward])
def _(features: Any, indices: Any, *_: Any, **__: Any) -> int:
    return 2 * 3 * features[0] * features[1] * indices[2]


@register_flop_formula(_zoo.gather_points_backward)
def _(grad: Any, *_: Any, **__: Any) -> int:
    return math.prod(grad)


@register_flop_formula(_zoo.scatter_sorted)
def _(values: Any, targets: Any, *_: Any, **__: Any) -> int:
    return 2 * values[0] * values[1] * targets[1]
