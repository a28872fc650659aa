"""The compiled 1x1 convolution of shifted frames, its gradients, and what PyTorch must know of both."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.library import register_autograd, register_fake
from torch.utils.flop_counter import register_flop_formula

from zoo.ops import products, reference
from zoo.ops.frames import empty_frames, offsets
from zoo.processors import has_feature

_zoo = torch.ops.zoo
_LIMITS = {"none": (-math.inf, math.inf), "relu": (0.0, math.inf), "relu6": (0.0, 6.0)}  # what activations clamp to
_BFLOAT16_UNITS = has_feature("avx512_bf16")


def shifted_pointwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_frames: int,
    shift_div: int,
    online: bool,
    activation: str,
) -> Tensor:
    """See the reference."""
    shift = num_frames, shift_div, *offsets(online)
    if _convolves_faster(x):
        return reference.pointwise(_zoo.temporal_shift(x, *shift), weight, bias, activation)
    out: Tensor = _zoo.shifted_pointwise_conv(x, weight, bias, *shift, *_LIMITS[activation])
    return out


def online_pointwise_conv(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor]:
    """See the reference."""
    if _convolves_faster(x):
        shifted, kept = _zoo.online_shift(x, past)
        return reference.pointwise(shifted, weight, bias, activation), kept
    out: tuple[Tensor, Tensor] = _zoo.online_pointwise_conv(x, past, weight, bias, *_LIMITS[activation])
    return out


def _convolves_faster(x: Tensor) -> bool:
    """PyTorch's convolution makes up for a shifted copy: it alone uses a processor's units for bfloat16."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and _BFLOAT16_UNITS


# On a GPU these are made of PyTorch's own operators, so that they need no kernel of ours.
products.implement_on("cuda")


# What compilers must know: the shapes and dtypes of the results.


@register_fake("zoo::shifted_pointwise_conv")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any) -> Tensor:
    return empty_frames(x, weight.shape[0])


@register_fake("zoo::shifted_pointwise_conv_input")
def _(grad: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return empty_frames(grad, weight.shape[1])


@register_fake("zoo::shifted_pointwise_conv_weight")
def _(grad: Tensor, x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(grad.shape[1], x.shape[1])


@register_fake("zoo::online_pointwise_conv")
def _(x: Tensor, past: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return empty_frames(x, weight.shape[0]), empty_frames(x, past.shape[1])


# The shifted convolution is a product of frames and weight, and so is each of its gradients: of three operators, every
# two give the gradients of the third. Only the frames, the weight, and what an activation has clamped are kept.


def _conv_setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, bias, *ctx.shift, low, high = inputs
    ctx.has_bias, ctx.limits = bias is not None, (low, high)
    ctx.save_for_backward(x, weight, output if low > -math.inf else None)


def _conv_backward(ctx: Any, grad: Tensor) -> Any:
    x, weight, output = ctx.saved_tensors
    wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
    grad = _unclamp(grad, output, *ctx.limits)
    return (
        _zoo.shifted_pointwise_conv_input(grad, weight, *ctx.shift) if wants_x else None,
        _zoo.shifted_pointwise_conv_weight(grad, x, *ctx.shift) if wants_weight else None,
        grad.sum((0, 2, 3)) if wants_bias and ctx.has_bias else None,
        *(None,) * 6,
    )


def _unclamp(grad: Tensor, output: Tensor | None, low: float, high: float) -> Tensor:
    """No gradient passes where ``output`` is at a limit."""
    return grad if output is None else grad * ((output > low) & (output < high))


def _conv_input_setup(ctx: Any, inputs: Any, output: Any) -> None:
    grad, weight, *ctx.shift = inputs
    ctx.save_for_backward(grad, weight)


def _conv_input_backward(ctx: Any, twice: Tensor) -> Any:
    grad, weight = ctx.saved_tensors
    of_grad = _zoo.shifted_pointwise_conv(twice, weight, None, *ctx.shift, -math.inf, math.inf)
    return of_grad, _zoo.shifted_pointwise_conv_weight(grad, twice, *ctx.shift), None, None, None, None


def _conv_weight_setup(ctx: Any, inputs: Any, output: Any) -> None:
    grad, x, *ctx.shift = inputs
    ctx.save_for_backward(grad, x)


def _conv_weight_backward(ctx: Any, twice: Tensor) -> Any:
    grad, x = ctx.saved_tensors
    of_grad = _zoo.shifted_pointwise_conv(x, twice, None, *ctx.shift, -math.inf, math.inf)
    return of_grad, _zoo.shifted_pointwise_conv_input(grad, twice, *ctx.shift), None, None, None, None


def _step_setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, past, weight, bias, low, high = inputs
    ctx.has_bias, ctx.limits = bias is not None, (low, high)
    ctx.save_for_backward(x, past, weight, output[0] if low > -math.inf else None)


def _step_backward(ctx: Any, grad: Tensor, kept: Tensor) -> Any:
    x, past, weight, output = ctx.saved_tensors
    grad = _unclamp(grad, output, *ctx.limits)
    still = 1, 1, 0, 0  # every frame a clip, of which nothing moves
    of_shifted = _zoo.shifted_pointwise_conv_input(grad, weight, *still)
    of_weight = _zoo.shifted_pointwise_conv_weight(grad, _zoo.online_shift(x, past)[0], *still)
    return *_zoo.online_shift(of_shifted, kept), of_weight, grad.sum((0, 2, 3)) if ctx.has_bias else None, None, None


register_autograd("zoo::shifted_pointwise_conv", _conv_backward, setup_context=_conv_setup)
register_autograd("zoo::shifted_pointwise_conv_input", _conv_input_backward, setup_context=_conv_input_setup)
register_autograd("zoo::shifted_pointwise_conv_weight", _conv_weight_backward, setup_context=_conv_weight_setup)
register_autograd("zoo::online_pointwise_conv", _step_backward, setup_context=_step_setup)


# What a count of floating-point operations must know; shapes come in the places of tensors.


@register_flop_formula([_zoo.shifted_pointwise_conv, _zoo.shifted_pointwise_conv_input])
def _(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * x[0] * x[2] * x[3] * math.prod(weight)


@register_flop_formula(_zoo.shifted_pointwise_conv_weight)
def _(grad: Any, x: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * grad[1]


@register_flop_formula(_zoo.online_pointwise_conv)
def _(x: Any, past: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * x[0] * x[2] * x[3] * math.prod(weight)
