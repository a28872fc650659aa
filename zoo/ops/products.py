"""The shifted 1x1 convolution by the matrix products of PyTorch, for GPUs: one for each share of the channels.

A product of views needs no shifted copy, but adds to what the others made, which it reads and writes once more. In half
precision that rounds up to three times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops.frames import empty_frames, memory_format

_zoo = torch.ops.zoo


def shifted_pointwise_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    num_frames: int,
    shift_div: int,
    first: int,
    second: int,
    low: float,
    high: float,
) -> Tensor:
    """The operator of that name."""
    shift = num_frames, shift_div, first, second
    channels = x.shape[1]
    if 4 * weight.shape[0] > 2 * channels:  # to read and write the result twice more would move more than a copy of x
        out = F.conv2d(_zoo.temporal_shift(x, *shift), weight[:, :, None, None], bias)
    else:
        x, last = _dense(x)
        out = empty_frames(x, len(weight))
        out.zero_() if bias is None else out.copy_(bias.view(-1, 1, 1))
        for begin, end, offset in _shares(channels, shift_div, first, second):
            part = weight[:, begin:end]
            for to, of in _pairs(out, x[:, begin:end], num_frames, offset, last):
                left, right = (of, part.t()) if last else (part, of)
                to.baddbmm_(left.expand(len(to), -1, -1), right.expand(len(to), -1, -1))
    return out if low == -math.inf else out.clamp_(low, high)


def shifted_pointwise_conv_input(
    grad: Tensor, weight: Tensor, num_frames: int, shift_div: int, first: int, second: int
) -> Tensor:
    """The operator of that name."""
    grad, last = _dense(grad)
    out = empty_frames(grad, weight.shape[1]).zero_()  # where nothing comes from, that stays so
    for begin, end, offset in _shares(weight.shape[1], shift_div, first, second):
        part = weight[:, begin:end]
        for of, to in _pairs(grad, out[:, begin:end], num_frames, offset, last):
            left, right = (of, part) if last else (part.t(), of)
            to.baddbmm_(left.expand(len(to), -1, -1), right.expand(len(to), -1, -1), beta=0)
    return out


def shifted_pointwise_conv_weight(
    grad: Tensor, x: Tensor, num_frames: int, shift_div: int, first: int, second: int
) -> Tensor:
    """The operator of that name: a convolution's, whose sums over all pixels are made in float32, of a copy."""
    shifted = _zoo.temporal_shift(x, num_frames, shift_div, first, second)
    like = x.new_empty(grad.shape[1], x.shape[1], 1, 1)
    settings = None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    out: Tensor = torch.ops.aten.convolution_backward(grad, shifted, like, *settings)[1]
    return out.flatten(1)


def online_pointwise_conv(
    x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """The operator of that name; a frame is small, and is copied."""
    shifted, kept = _zoo.online_shift(x, past)
    out = F.conv2d(shifted, weight[:, :, None, None], bias)
    return out if low == -math.inf else out.clamp_(low, high), kept


def implement_on(device: str) -> None:
    """Let these be what the operators of their names are on ``device``."""
    for product in (
        shifted_pointwise_conv,
        shifted_pointwise_conv_input,
        shifted_pointwise_conv_weight,
        online_pointwise_conv,
    ):
        torch.library.impl(f"zoo::{product.__name__}", device, product)


def _dense(x: Tensor) -> tuple[Tensor, bool]:
    """Frames whose values lie together, and whether those of a pixel do."""
    layout = memory_format(x)
    return x.contiguous(memory_format=layout), layout == torch.channels_last


def _shares(channels: int, shift_div: int, first: int, second: int) -> list[tuple[int, int, int]]:
    """Begin, end and the offset in frames of what is shifted and of what is not."""
    fold = channels // shift_div
    moved = 2 * fold if second else fold
    return [(0, fold, first), (fold, moved, second), (moved, channels, 0)]


def _pairs(out: Tensor, x: Tensor, num_frames: int, offset: int, last: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of matrices of ``out`` and of what lies ``offset`` frames further in ``x``; of pixels or of channels."""
    if x.shape[1] == 0:
        return
    begin, end = max(0, -offset), min(num_frames, num_frames - offset)
    a, b = (tensor.unflatten(0, (-1, num_frames)).flatten(3) for tensor in (out, x))
    a, b = a[:, begin:end], b[:, begin + offset : end + offset]
    if last:  # the frames of a clip follow one another, pixel by pixel
        yield tuple(tensor.transpose(2, 3).flatten(1, 2) for tensor in (a, b))
    elif len(a) < end - begin:
        yield from zip(a, b, strict=True)
    else:
        yield from zip(a.unbind(1), b.unbind(1), strict=True)
