"""MobileNetV2 in integers of eight bits: its numbers are integers times a scale, which calibration has shown.

Weights have a scale for each channel of the result. What goes from block to block has a sign, what activations give has
none; a number beyond the range is cut off, and so are those beyond the activation's limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.ops.mobilenet import ConvWeights, InvertedResidual

SIGNED, UNSIGNED = 127, 255  # the largest integers with and without a sign
MOST = 2.0**30  # sums stay below it in units of the result, so that they can be rounded to integers
MOST_CHANNELS = 1 << 16  # of which sums of products stay below 2**31
TINY = 1e-30  # the least scale: float32 has numbers for it and for its inverse


class MobilenetRanges(NamedTuple):
    """The largest magnitudes of what a network of B blocks computes; what is larger in use is cut off.

    Attributes:
        frames: B + 1, of what goes into each block, into the first the image; and, last, into the head.
        expanded: B, of what each depthwise convolution takes.
        convolved: B, of what it gives, activated.
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
        ValueError: the ranges are not those of so many blocks; or they, or weights, are not finite; or an image's is 0.
    """
    name = "prepare_mobilenet"
    wanted, given = [len(blocks) + 1, len(blocks), len(blocks)], [len(values) for values in ranges]
    if given != wanted:
        raise ValueError(f"{name}: ranges of {given} numbers for {wanted}: of {len(blocks)} blocks and the head")
    if not all(0 <= value <= torch.finfo(torch.float32).max for values in ranges for value in values):
        raise ValueError(f"{name}: ranges must be finite and not negative: calibrate with finite inputs")
    if not ranges.frames[0] > 0:
        raise ValueError(f"{name}: the range of the image must be above 0: calibrate with inputs as in use")
    scale = max(ranges.frames[0] / SIGNED, TINY)
    integers, scales = [], [scale]
    for block, after, expanded, convolved in zip(
        blocks, ranges.frames[1:], ranges.expanded, ranges.convolved, strict=True
    ):
        expand, middle = _rounded(block.expand or stem, scale, min(expanded, limit) / UNSIGNED)
        depthwise, inner = _rounded(block.depthwise, middle, min(convolved, limit) / UNSIGNED)
        least = SIGNED * scale / MOST if block.residual else 0.0
        project, scale = _rounded(block.project, inner, max(after / SIGNED, least))
        integers.append((expand, depthwise, project))
        scales.append(scale)
    return QuantizedMobilenet(tuple(integers), _quantized(head, scale, 1.0), tuple(scales))


def _rounded(conv: ConvWeights, scale_in: float, scale_out: float) -> tuple[QuantizedConv, float]:
    """In integers, and the scale of its result, which is rounded: at which sums are not too large for that."""
    largest = conv.weight.abs().max().item() * conv.weight[0].numel() * UNSIGNED * scale_in
    scale_out = max(scale_out, TINY, (largest + conv.bias.abs().max().item()) / MOST)
    return _quantized(conv, scale_in, scale_out), scale_out


def _quantized(conv: ConvWeights, scale_in: float, scale_out: float) -> QuantizedConv:
    weight, bias = conv.weight.detach().float().cpu(), conv.bias.detach().float().cpu()
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise ValueError("prepare_mobilenet: weights must be finite to be integers")
    if weight[0].numel() > MOST_CHANNELS:
        raise ValueError(f"prepare_mobilenet: int8 takes up to {MOST_CHANNELS} channels, not {weight[0].numel()}")
    largest = weight.flatten(1).abs().amax(1) / SIGNED
    scales = torch.where(largest > TINY, largest, 1.0)
    integers = (weight / scales[:, None, None, None]).round().to(torch.int8)
    return QuantizedConv(integers, scales * (scale_in / scale_out), bias / scale_out)
