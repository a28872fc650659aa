"""MobileNetV2 in integers of eight bits: its numbers are integers times a scale, which calibration has shown.

Weights have a scale for each channel of the result. What goes from block to block has a sign, what activations give has
none; a number beyond the range is cut off, and so are those beyond the activation's limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.ops.mobilenet import ConvWeights, InvertedResidual

SIGNED, UNSIGNED = 127, 255  # the largest integers with and without a sign
MOST = 2.0**30  # sums stay below it in units of the result, so that they can be rounded to integers


class MobilenetRanges(NamedTuple):
    """The largest magnitudes of what a network computes.

    Attributes:
        frames: of what goes into each block, into the first the image; and, last, into the head.
        expanded: of what each depthwise convolution takes.
        convolved: and of what it gives, activated.
    """

    frames: Sequence[float]
    expanded: Sequence[float]
    convolved: Sequence[float]


class QuantizedConv(NamedTuple):
    """A convolution of integers: its sums times the scale, plus the bias, are numbers in units of its result.

    Attributes:
        weight: int8 [O, I, k, k].
        scale: [O], float32.
        bias: [O], float32.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class QuantizedMobilenet:
    """The convolutions of a network and the scales of what lies between them.

    Attributes:
        blocks: expansion (of the first the stem), depthwise convolution and projection.
        head: gives numbers.
        scales: of what goes into each block, and into the head.
    """

    blocks: tuple[tuple[QuantizedConv, QuantizedConv, QuantizedConv], ...]
    head: QuantizedConv
    scales: tuple[float, ...]


def quantize_mobilenet(
    stem: ConvWeights, blocks: Sequence[InvertedResidual], head: ConvWeights, limit: float, ranges: MobilenetRanges
) -> QuantizedMobilenet:
    """The network of :func:`zoo.ops.prepare_mobilenet` in integers.

    Raises:
        ValueError: the ranges are not those of so many blocks, or not finite.
    """
    wanted = [len(blocks) + 1, len(blocks), len(blocks)]
    if [len(values) for values in ranges] != wanted or not all(
        0 <= value < math.inf for values in ranges for value in values
    ):
        raise ValueError(
            f"prepare_mobilenet: int8 needs ranges=, finite and not negative, for {len(blocks)} blocks and the head"
        )
    integers = []
    scale, (image, *_) = 1.0, ranges.frames
    scale = image / SIGNED or 1.0
    scales = [scale]
    for block, after, expanded, convolved in zip(
        blocks, ranges.frames[1:], ranges.expanded, ranges.convolved, strict=True
    ):
        expand, middle = _convolution(block.expand or stem, scale, min(expanded, limit) / UNSIGNED)
        depthwise, inner = _convolution(block.depthwise, middle, min(convolved, limit) / UNSIGNED)
        project, scale = _convolution(block.project, inner, after / SIGNED)
        integers.append((expand, depthwise, project))
        scales.append(scale)
    last, _ = _convolution(head, scale, 1.0)
    return QuantizedMobilenet(tuple(integers), last, tuple(scales))


def _convolution(conv: ConvWeights, scale_in: float, scale_out: float) -> tuple[QuantizedConv, float]:
    """In integers, and the scale of its result: that which is wanted, or one at which sums are not too large."""
    weight, bias = conv.weight.detach().float().cpu(), conv.bias.detach().float().cpu()
    largest = weight.flatten(1).abs().amax(1)
    by_channel = torch.where(largest > 0, largest, 1.0) / SIGNED
    sums = scale_in * by_channel.max().item() * weight[0].numel() * SIGNED * UNSIGNED + bias.abs().max().item()
    scale_out = max(scale_out, sums / MOST)
    integers = (weight / by_channel[:, None, None, None]).round().to(torch.int8)
    return QuantizedConv(integers, by_channel * (scale_in / scale_out), bias / scale_out), scale_out
