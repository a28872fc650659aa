"""The compiled operators: the functions of ``zoo.ops.reference``, with what compilers and autograd must know of them.

Importing this module needs the library to be loaded, see ``zoo.ops.backends``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.library import register_autograd, register_fake
from torch.utils.flop_counter import register_flop_formula

from zoo.ops import reference

_zoo = torch.ops.zoo


def temporal_shift(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.temporal_shift(x, num_frames, shift_div, *_offsets(online))
    return out


def temporal_shift_(x: Tensor, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """See the reference."""
    if torch.is_grad_enabled() and x.requires_grad:
        shifted: Tensor = _ShiftInPlace.apply(x, num_frames, shift_div, *_offsets(online))
        return shifted
    _zoo.temporal_shift_(x, num_frames, shift_div, *_offsets(online))
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
    plan: tuple[Tensor, Tensor, Tensor] = _zoo.voxel_plan(coords, coords.mean(dim=2), resolution, normalize)
    return plan


def voxel_index(coords: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """See the reference."""
    index: tuple[Tensor, Tensor] = _zoo.voxel_index(coords, resolution)
    return index


def avg_voxelize(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """See the reference."""
    out: Tensor
    if _in_order(features):
        order = voxels.argsort(dim=1, stable=True) if order is None else order
        out = _zoo.avg_voxelize_sorted(features, voxels, counts, order)
    else:
        out = _zoo.avg_voxelize(features, voxels, counts)
    return out


def trilinear_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.trilinear_devoxelize(grid, coords.detach().to(reference.sum_type(grid.dtype)))
    return out


def furthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.furthest_point_sample(reference.wide(points.detach()), num_samples)
    return out


def ball_query(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.ball_query(
        reference.wide(centers.detach()), reference.wide(points.detach()), radius, num_neighbors
    )
    return out


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """See the reference."""
    out: Tensor = _zoo.gather_points(features, indices)
    return out


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """See the reference."""
    return gather_points(features, indices.flatten(1)).unflatten(2, indices.shape[1:])


def three_nn_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """See the reference."""
    indices, weights = _zoo.three_nn(reference.wide(points.detach()), reference.wide(centers.detach()))
    out: Tensor = _zoo.three_interpolate(features, indices, weights.to(reference.sum_type(features.dtype)))
    return out


def _offsets(online: bool) -> tuple[int, int]:
    """From how many frames away the first and the second share of the channels come."""
    return (-1, 0) if online else (1, -1)


def _in_order(x: Tensor) -> bool:
    """Sums over ``x`` have to be made in a fixed order, and would not be of themselves."""
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def _scatter_in_order(values: Tensor, targets: Tensor, weights: Tensor, size: int) -> Tensor:
    """Add ``values`` [B, C, N], times ``weights`` [B, K, N], to places ``targets`` [B, K, N] of [B, C, size]."""
    targets = targets.int().flatten(1)
    order = targets.argsort(dim=1, stable=True)
    out: Tensor = _zoo.scatter_sorted(values, targets, order, weights.flatten(1), size)
    return out


class _ShiftInPlace(torch.autograd.Function):
    """The shift into its own input; its gradient is the shift the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_frames: int, shift_div: int, first: int, second: int) -> Tensor:
        ctx.arguments = num_frames, shift_div, -first, -second
        ctx.mark_dirty(x)
        _zoo.temporal_shift_(x, num_frames, shift_div, first, second)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return (_zoo.temporal_shift(grads[0], *ctx.arguments), None, None, None, None)


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
    dense = _is_dense(x)
    channels_last = dense and not x.is_contiguous()
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return (
        torch.empty_like(x) if dense else x.new_empty(x.shape),
        torch.empty_like(past.contiguous(memory_format=memory_format)),
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


# What autograd must know. No gradient goes to coordinates.


def _shift_setup(ctx: Any, inputs: Any, output: Any) -> None:
    _, num_frames, shift_div, first, second = inputs
    ctx.arguments = num_frames, shift_div, -first, -second


register_autograd(
    "zoo::temporal_shift",
    lambda ctx, grad: (_zoo.temporal_shift(grad, *ctx.arguments), None, None, None, None),
    setup_context=_shift_setup,
)
# What comes out first and what is kept trade places on the way back: the operator is its own transpose.
register_autograd("zoo::online_shift", lambda ctx, grad, kept: _zoo.online_shift(grad, kept))


# Every backward is differentiable in turn: each operator is linear, and its backward is its transpose.


def _voxelize_setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _voxelize_backward(ctx: Any, grad: Tensor) -> Any:
    return _zoo.avg_voxelize_backward(grad, *ctx.saved_tensors), None, None


register_autograd("zoo::avg_voxelize", _voxelize_backward, setup_context=_voxelize_setup)
register_autograd(
    "zoo::avg_voxelize_backward",
    lambda ctx, grad: (avg_voxelize(grad, *ctx.saved_tensors), None, None),
    setup_context=_voxelize_setup,
)
register_autograd(
    "zoo::avg_voxelize_sorted",
    lambda ctx, grad: (*_voxelize_backward(ctx, grad), None),
    setup_context=_voxelize_setup,
)


def _devoxelize_setup(ctx: Any, inputs: Any, output: Any) -> None:
    grid, coords = inputs
    ctx.save_for_backward(coords)
    ctx.resolution = grid.shape[2]


def _devoxelize_backward(ctx: Any, grad: Tensor) -> Any:
    (coords,), resolution = ctx.saved_tensors, ctx.resolution
    if not _in_order(grad):
        return _zoo.trilinear_devoxelize_backward(grad, coords, resolution), None
    out = _scatter_in_order(grad, *reference.corners(coords.clamp(0, resolution - 1), resolution), resolution**3)
    return out.unflatten(2, (resolution, resolution, resolution)), None


register_autograd("zoo::trilinear_devoxelize", _devoxelize_backward, setup_context=_devoxelize_setup)
register_autograd(
    "zoo::trilinear_devoxelize_backward",
    lambda ctx, grad: (_zoo.trilinear_devoxelize(grad, *ctx.saved_tensors), None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1]),
)


def _columns_setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[1:])
    ctx.size = inputs[0].shape[2]


def _gather_backward(ctx: Any, grad: Tensor) -> Any:
    (indices,) = ctx.saved_tensors
    if not _in_order(grad):
        return _zoo.gather_points_backward(grad, indices, ctx.size), None
    ones = indices.new_ones(indices.shape, dtype=reference.sum_type(grad.dtype))
    return _scatter_in_order(grad, indices.clamp(0, ctx.size - 1).unsqueeze(1), ones, ctx.size), None


def _interpolate_backward(ctx: Any, grad: Tensor) -> Any:
    indices, weights = ctx.saved_tensors
    if not _in_order(grad):
        return _zoo.three_interpolate_backward(grad, indices, weights, ctx.size), None, None
    return _scatter_in_order(grad, indices, weights, ctx.size), None, None


register_autograd("zoo::gather_points", _gather_backward, setup_context=_columns_setup)
register_autograd("zoo::three_interpolate", _interpolate_backward, setup_context=_columns_setup)
register_autograd(
    "zoo::gather_points_backward",
    lambda ctx, grad: (_zoo.gather_points(grad, *ctx.saved_tensors), None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[1]),
)
register_autograd(
    "zoo::three_interpolate_backward",
    lambda ctx, grad: (_zoo.three_interpolate(grad, *ctx.saved_tensors), None, None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[1:3]),
)


def _scatter_setup(ctx: Any, inputs: Any, output: Any) -> None:
    values, targets, _, weights, _ = inputs
    ctx.save_for_backward(targets, weights)
    ctx.num_points = values.shape[2]


def _scatter_backward(ctx: Any, grad: Tensor) -> Any:
    targets, weights = (x.unflatten(1, (-1, ctx.num_points)).transpose(1, 2) for x in ctx.saved_tensors)
    return reference.weighted_sum(grad, targets, weights), None, None, None, None


register_autograd("zoo::scatter_sorted", _scatter_backward, setup_context=_scatter_setup)


# What a count of floating-point operations must know; shapes come in the places of tensors. A squared distance takes
# eight operations; shifts and gathering take none.


@register_flop_formula([_zoo.avg_voxelize, _zoo.avg_voxelize_sorted])
def _(features: Any, voxels: Any, counts: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(features)


@register_flop_formula(_zoo.trilinear_devoxelize)
def _(grid: Any, coords: Any, *_: Any, **__: Any) -> int:
    return 2 * 8 * grid[0] * grid[1] * coords[2]


@register_flop_formula(_zoo.furthest_point_sample)
def _(points: Any, num_samples: int, *_: Any, **__: Any) -> int:
    return 8 * points[0] * points[2] * num_samples


@register_flop_formula([_zoo.ball_query, _zoo.three_nn])
def _(first: Any, second: Any, *_: Any, **__: Any) -> int:
    return 8 * first[0] * first[2] * second[2]


@register_flop_formula(_zoo.three_interpolate)
def _(features: Any, indices: Any, *_: Any, **__: Any) -> int:
    return 2 * 3 * features[0] * features[1] * indices[2]
