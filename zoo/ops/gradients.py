"""The gradients of the compiled operators. None goes to coordinates.

Every operator is linear in its features, and its backward is its transpose; so every backward, an operator of its own,
is differentiable in turn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import register_autograd

from zoo.ops import reference

_zoo = torch.ops.zoo


def in_order(x: Tensor) -> bool:
    """Sums over ``x`` have to be made in a fixed order, and would not be of themselves."""
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def voxelize(features: Tensor, voxels: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """Means of ``features`` [B, C, N] over the points of every voxel, [B, C, R^3], in fixed order where one is due."""
    out: Tensor
    if in_order(features):
        order = voxels.argsort(dim=1, stable=True) if order is None else order
        out = _zoo.avg_voxelize_sorted(features, voxels, counts, order)
    else:
        out = _zoo.avg_voxelize(features, voxels, counts)
    return out


def _scatter_in_order(values: Tensor, targets: Tensor, weights: Tensor, size: int) -> Tensor:
    """Add ``values`` [B, C, N], times ``weights`` [B, K, N], to places ``targets`` [B, K, N] of [B, C, size].

    Raises:
        ValueError: the places cannot be numbered in 32 bits.
    """
    if size >= 2**31:
        raise ValueError(f"scatter_sorted: at most 2^31 - 1 points or voxels a cloud are supported, not {size}")
    targets = targets.int().flatten(1)
    order = targets.argsort(dim=1, stable=True)
    out: Tensor = _zoo.scatter_sorted(values, targets, order, weights.flatten(1), size)
    return out


class ShiftInPlace(torch.autograd.Function):
    """The shift into its own input; its gradient is the shift the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, num_frames: int, shift_div: int, first: int, second: int) -> Tensor:
        """Frames [N*T, C, H, W], which are overwritten."""
        ctx.arguments = num_frames, shift_div, -first, -second
        ctx.mark_dirty(x)
        _zoo.temporal_shift_(x, num_frames, shift_div, first, second)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The gradient of the frames before."""
        return (_zoo.temporal_shift(grads[0], *ctx.arguments), None, None, None, None)


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


def _voxelize_setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _voxelize_backward(ctx: Any, grad: Tensor) -> Any:
    return _zoo.avg_voxelize_backward(grad, *ctx.saved_tensors), None, None


register_autograd("zoo::avg_voxelize", _voxelize_backward, setup_context=_voxelize_setup)
register_autograd(
    "zoo::avg_voxelize_backward",
    lambda ctx, grad: (voxelize(grad, *ctx.saved_tensors), None, None),
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
    if not in_order(grad):
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
    if not in_order(grad):
        return _zoo.gather_points_backward(grad, indices, ctx.size), None
    ones = indices.new_ones(indices.shape, dtype=reference.sum_type(grad.dtype))
    return _scatter_in_order(grad, indices.clamp(0, ctx.size - 1).unsqueeze(1), ones, ctx.size), None


def _interpolate_backward(ctx: Any, grad: Tensor) -> Any:
    indices, weights = ctx.saved_tensors
    if not in_order(grad):
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
