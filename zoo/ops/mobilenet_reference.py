"""MobileNetV2 on shifted frames in plain PyTorch: what the compiled operator is tested against, and the fallback."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops import reference
from zoo.ops.mobilenet_int8 import SIGNED, UNSIGNED, QuantizedConv, QuantizedMobilenet

if TYPE_CHECKING:
    from zoo.ops.mobilenet import ConvWeights, Mobilenet


def mobilenet_features(frames: Tensor, network: Mobilenet, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """The pooled features of frames [N*T, I, H, W]."""
    return _run(frames, network, lambda x, _: reference.temporal_shift(x, num_frames, shift_div, online))


def online_mobilenet_features(
    frames: Tensor, past: Sequence[Tensor], network: Mobilenet
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The pooled features of frames [N, I, H, W] of streams, and what was kept of them."""
    before, kept = iter(past), []

    def shift(x: Tensor, scale: float) -> Tensor:
        state = next(before)
        is_integer = network.integers is not None
        shifted, now = reference.online_shift(x, _signed(state, 1 / scale) if is_integer else state.to(x.dtype))
        kept.append((now * scale).to(state.dtype))
        return shifted

    return _run(frames, network, shift), tuple(kept)


def _run(frames: Tensor, network: Mobilenet, shift: Callable[[Tensor, float], Tensor]) -> Tensor:
    def convolve(x: Tensor, conv: ConvWeights, stride: int = 1) -> Tensor:
        weight, bias = conv.weight.to(network.dtype), conv.bias.to(network.dtype)
        return _convolve(x, weight, bias, stride, network.same_padding)

    def activate(x: Tensor) -> Tensor:
        return x.clamp(0, network.limit)

    with torch.autocast(frames.device.type, enabled=False):
        if network.integers is not None:
            return _run_integers(frames, network, network.integers, shift)
        x = activate(convolve(frames.to(network.dtype), network.stem, network.stem_stride))
        for block in network.blocks:
            inner = shift(x, 1) if block.shifted else x
            if block.expand is not None:
                inner = activate(convolve(inner, block.expand))
            inner = activate(convolve(inner, block.depthwise, block.stride))
            out = convolve(inner, block.project)
            x = x + out if block.residual else out
        return activate(convolve(x, network.head)).float().mean((2, 3))


def _run_integers(
    frames: Tensor, network: Mobilenet, integers: QuantizedMobilenet, shift: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Likewise; tensors hold whole numbers, and sums of their products are exact in float64."""

    def convolve(x: Tensor, conv: QuantizedConv, stride: int = 1) -> Tensor:
        weight, scale, bias = (tensor.to(x.device) for tensor in conv)
        sums = _convolve(x.double(), weight.double(), None, stride, network.same_padding).float()
        return sums * scale[:, None, None] + bias[:, None, None]

    def activated(x: Tensor) -> Tensor:
        return x.round().clamp(0, UNSIGNED)

    x = _signed(frames, 1 / integers.scales[0])
    strides = network.stem_stride, *[1] * (len(network.blocks) - 1)  # of expansions, the first of which is the stem
    for block, convs, stride, (scale, after) in zip(
        network.blocks, integers.blocks, strides, itertools.pairwise(integers.scales), strict=True
    ):
        expand, depthwise, project = convs
        inner = activated(convolve(shift(x, scale) if block.shifted else x, expand, stride))
        out = convolve(activated(convolve(inner, depthwise, block.stride)), project)
        x = _signed(out + x * (scale / after) if block.residual else out)
    return convolve(x, integers.head).clamp(0, network.limit).mean((2, 3))


def _signed(x: Tensor, per_scale: float = 1.0) -> Tensor:
    """Integers with a sign; what is no number becomes the least."""
    low, high = -SIGNED - 1, SIGNED
    return (x.float() * per_scale).round().nan_to_num(low, high, low).clamp(low, high)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, same: bool) -> Tensor:
    if weight.shape[2] > 1:
        x = F.pad(x, _padding(x.shape[2:], stride, same))
    return F.conv2d(x, weight, bias, stride, groups=x.shape[1] // weight.shape[1])


def _padding(size: Sequence[int], stride: int, same: bool) -> list[int]:
    """Pixels before and after the last dimension, then before and after the one before it, for a window of 3."""
    if not same:
        return [1, 1, 1, 1]
    padding = []
    for length in reversed(size):
        total = max(0, (-(-length // stride) - 1) * stride + 3 - length)
        padding += [total // 2, total - total // 2]
    return padding
