"""The compiled MobileNetV2, see ``zoo.ops.mobilenet_reference``, with what compilers must know of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import register_fake
from torch.utils.flop_counter import register_flop_formula

from zoo.ops.frames import offsets
from zoo.ops.mobilenet import Mobilenet

_zoo = torch.ops.zoo
_TENSORS, _NUMBERS = 6, 4  # of a block


def mobilenet_features(frames: Tensor, network: Mobilenet, num_frames: int, shift_div: int, online: bool) -> Tensor:
    """See the reference."""
    shift = num_frames, shift_div, *offsets(online)
    out: Tensor = _zoo.mobilenet_features(frames.detach().contiguous(), *_arguments(network), *shift)
    return out


def online_mobilenet_features(
    frames: Tensor, past: Sequence[Tensor], network: Mobilenet
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """See the reference."""
    out, *kept = _zoo.online_mobilenet_features(frames.detach().contiguous(), list(past), *_arguments(network))
    return out, tuple(kept)


def _arguments(network: Mobilenet) -> tuple[Any, ...]:
    return network.packed, network.layout, network.stem_stride, network.limit, network.same_padding


@register_fake("zoo::mobilenet_features")
def _(frames: Tensor, weights: Sequence[Tensor], layout: Sequence[int], *_: Any) -> Tensor:
    return frames.new_empty(frames.shape[0], layout[-1])


@register_fake("zoo::online_mobilenet_features")
def _(
    frames: Tensor,
    past: Sequence[Tensor],
    weights: Sequence[Tensor],
    layout: Sequence[int],
    *_: Any,
) -> list[Tensor]:
    kept = [torch.empty_like(state, memory_format=torch.channels_last) for state in past]
    return [frames.new_empty(frames.shape[0], layout[-1]), *kept]


# What a count of floating-point operations must know; shapes come in the places of tensors.


@register_flop_formula(_zoo.mobilenet_features)
def _(frames: Any, weights: Any, layout: Any, stem_stride: int, *_: Any, **__: Any) -> int:
    return _operations(frames, weights, layout, stem_stride)


@register_flop_formula(_zoo.online_mobilenet_features)
def _(frames: Any, past: Any, weights: Any, layout: Any, stem_stride: int, *_: Any, **__: Any) -> int:
    return _operations(frames, weights, layout, stem_stride)


def _operations(frames: Any, weights: Any, layout: Any, stem_stride: int) -> int:
    """With the zeros to whole steps, which are multiplied as well."""
    height, width = frames[2:]
    sizes = _image_sizes(height, width, (stem_stride, *layout[1:-1:_NUMBERS]))
    total = 0
    for b, (before, after) in enumerate(itertools.pairwise(sizes)):
        expand, bias, _, _, project, _ = weights[_TENSORS * b : _TENSORS * (b + 1)]
        depthwise = 3 * 3 * bias[-1]
        total += math.prod(before) * math.prod(expand) + math.prod(after) * (depthwise + math.prod(project))
    head = weights[_TENSORS * (len(sizes) - 1)]
    return 2 * frames[0] * int(total + math.prod(sizes[-1]) * math.prod(head))


def _image_sizes(height: int, width: int, strides: Iterable[int]) -> list[tuple[int, int]]:
    """Of images of this size after each of some convolutions, which are padded."""
    sizes = []
    for stride in strides:
        height, width = -(-height // stride), -(-width // stride)
        sizes.append((height, width))
    return sizes
