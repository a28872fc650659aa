"""A 1x1 convolution of shifted frames that shifts nothing: its products read every channel from the frame it is in."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from zoo.ops.autocast import is_autocast
from zoo.ops.backends import implementation
from zoo.ops.checks import check_devices, check_dtypes, check_float
from zoo.ops.shift import Direction, check_frames, check_past

Activation = Literal["none", "relu", "relu6"]
ACTIVATIONS = get_args(Activation)


def shifted_pointwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_frames: int,
    shift_div: int = 8,
    direction: Direction = "bidirectional",
    activation: Activation = "none",
) -> Tensor:
    """``activation(conv2d(temporal_shift(x), weight, bias))`` for a 1x1 convolution (TSM, section 3.2 and figure 3b).

    The product of a frame takes the channels [0, C/d) from frame t+1, [C/d, 2C/d) from frame t-1 and the rest from the
    frame itself; no shifted tensor is made, and none is kept for the backward pass. A batch norm in evaluation mode can
    be folded into ``weight`` and ``bias``. Under autocast it computes in the type that convolutions do.

    Args:
        x: frames of N clips, [N*T, C, H, W], clip by clip.
        weight: [O, C] or [O, C, 1, 1].
        bias: [O], or none.
        num_frames: T.
        shift_div: d, the share of the channels that moves each way.
        direction: "bidirectional", or "online" for streams: [0, C/d) come from t-1, and nothing from the future.
        activation: "none", "relu" or "relu6".

    Returns:
        [N*T, O, H, W], channels-last where ``x`` is.

    Raises:
        ValueError: a shape, a dtype or a device does not fit, or an argument is none of the above.
    """
    name = "shifted_pointwise_conv"
    check_frames(name, x, num_frames, shift_div, direction)
    x, weight, bias = _checked(name, x, weight, bias, activation)
    out: Tensor = implementation(x.device).shifted_pointwise_conv(
        x, weight, bias, num_frames, shift_div, direction == "online", activation
    )
    return out


def online_pointwise_conv(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none"
) -> tuple[Tensor, Tensor]:
    """One step of the online :func:`shifted_pointwise_conv`: the first channels come from the frame before.

    Args:
        x: one frame of each stream, [N, C, H, W].
        past: what the step before kept, [N, C/d, H, W]; zeros at the first.
        weight: [O, C] or [O, C, 1, 1].
        bias: [O], or none.
        activation: "none", "relu" or "relu6".

    Returns:
        [N, O, H, W], and the first C/d channels of ``x``, to pass to the next step.

    Raises:
        ValueError: as there, or ``past`` does not fit ``x``.
    """
    name = "online_pointwise_conv"
    check_past(name, x, past)
    kind = past.dtype
    x, weight, bias = _checked(name, x, weight, bias, activation)
    out, kept = implementation(x.device).online_pointwise_conv(x, past.to(x.dtype), weight, bias, activation)
    return out, kept.to(kind)


def _checked(
    operator: str, x: Tensor, weight: Tensor, bias: Tensor | None, activation: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The frames, the weight as [O, C] and the bias, in one type."""
    if isinstance(weight, Tensor) and weight.dim() == 4 and weight.shape[2:] == (1, 1):
        weight = weight.flatten(1)
    check_float(operator, "weight", weight, "[O, C]")
    if weight.shape[1] != x.shape[1]:
        raise ValueError(f"{operator}: the weight is for {weight.shape[1]} channels, and x has {x.shape[1]}")
    given = {"x": x, "weight": weight}
    if bias is not None:
        check_float(operator, "bias", bias, "[O]")
        if bias.shape[0] != weight.shape[0]:
            raise ValueError(f"{operator}: the bias has {bias.shape[0]} values for {weight.shape[0]} channels")
        given["bias"] = bias
    check_devices(operator, **given)
    if activation not in ACTIVATIONS:
        raise ValueError(f"{operator}: activation is 'none', 'relu' or 'relu6', not {activation!r}")
    if is_autocast(x) and x.dtype != torch.float64:
        given = {name: tensor.to(torch.get_autocast_dtype(x.device.type)) for name, tensor in given.items()}
    check_dtypes(operator, **given)
    return given["x"], given["weight"], given.get("bias")
