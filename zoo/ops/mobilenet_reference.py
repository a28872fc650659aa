"""MobileNetV2 on shifted frames in plain PyTorch: what the compiled operator is tested against, and the fallback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops import reference

if TYPE_CHECKING:
    from zoo.ops.mobilenet import ConvWeights, Mobilenet


def mobilenet_features(frames: Tensor, network: Mobilenet, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """The pooled features of frames [N*T, I, H, W]."""
    return _run(frames, network, lambda x: reference.temporal_shift(x, num_frames, shift_div, online))


def online_mobilenet_features(
    frames: Tensor, past: Sequence[Tensor], network: Mobilenet
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The pooled features of frames [N, I, H, W] of streams, and what was kept of them."""
    before, kept = iter(past), []

    def shift(x: Tensor) -> Tensor:
        state = next(before)
        shifted, now = reference.online_shift(x, state.to(x.dtype))
        kept.append(now.to(state.dtype))
        return shifted

    return _run(frames, network, shift), tuple(kept)


def _run(frames: Tensor, network: Mobilenet, shift: Callable[[Tensor], Tensor]) -> Tensor:
    def activate(x: Tensor) -> Tensor:
        return x.clamp(0, network.limit)

    def convolve(x: Tensor, conv: ConvWeights, stride: int = 1) -> Tensor:
        side = conv.weight.shape[2]
        groups = x.shape[1] // conv.weight.shape[1]
        weight, bias = conv.weight.to(network.dtype), conv.bias.to(network.dtype)
        if side > 1:
            x = F.pad(x, _padding(x.shape[2:], stride, network.same_padding))
        return F.conv2d(x, weight, bias, stride, groups=groups)

    with torch.autocast(frames.device.type, enabled=False):
        x = activate(convolve(frames.to(network.dtype), network.stem, network.stem_stride))
        for block in network.blocks:
            inner = shift(x) if block.shifted else x
            if block.expand is not None:
                inner = activate(convolve(inner, block.expand))
            inner = activate(convolve(inner, block.depthwise, block.stride))
            out = convolve(inner, block.project)
            x = x + out if block.residual else out
        return activate(convolve(x, network.head)).float().mean((2, 3))


def _padding(size: Sequence[int], stride: int, same: bool) -> list[int]:
    """Pixels before and after the last dimension, then before and after the one before it, for a window of 3."""
    if not same:
        return [1, 1, 1, 1]
    padding = []
    for length in reversed(size):
        total = max(0, (-(-length // stride) - 1) * stride + 3 - length)
        padding += [total // 2, total - total // 2]
    return padding
