"""MobileNetV2 on shifted frames at inference, as one operator (Sandler et al. 2018, table 2; TSM, section 3.4).

Sums of products are shared out by the number of threads and of frames, so that last bits depend on both; not in int8.
Layer by layer a small network waits for its operators to be called and for its large inner tensors to come from
memory. Here the rows of a block go through its three convolutions while they are in the caches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops import mobilenet_reference
from zoo.ops.backends import implementation
from zoo.ops.branch import TILE, pack
from zoo.ops.checks import check_float, check_together, check_whole
from zoo.ops.mobilenet_int8 import MobilenetRanges, QuantizedConv, QuantizedMobilenet, quantize_mobilenet
from zoo.ops.shift import Direction, check_frames

DTYPES = (torch.float32, torch.bfloat16, torch.int8)
STATES = (torch.float32, torch.bfloat16)  # the types that states may have
STEPS = {torch.float32: 16, torch.bfloat16: 32, torch.int8: 64}  # values that the kernels multiply at least


class ConvWeights(NamedTuple):
    """A convolution with its batch norm folded in: weight and bias."""

    weight: Tensor
    bias: Tensor


class InvertedResidual(NamedTuple):
    """A block: 1x1 to M channels, depthwise 3x3, both activated, and 1x1 to O channels.

    Attributes:
        expand: [M, C, 1, 1]; none in the first block, where M = C.
        depthwise: [M, 1, 3, 3].
        project: [O, M, 1, 1].
        stride: of the depthwise convolution, 1 or 2.
        shifted: the frames that are expanded are shifted.
        residual: the frames are added to the result, as they were.
    """

    expand: ConvWeights | None
    depthwise: ConvWeights
    project: ConvWeights
    stride: int = 1
    shifted: bool = False
    residual: bool = False


@dataclass(frozen=True, eq=False)
class Mobilenet:
    """A MobileNetV2 from the image to its pooled features, made by :func:`prepare_mobilenet`.

    Attributes:
        stem: the first convolution, [C, I, 3, 3], activated.
        stem_stride: its stride.
        blocks: one after another.
        head: the last convolution, [F, O, 1, 1], activated.
        limit: activations clamp to [0, limit]: 6 for ReLU6.
        same_padding: convolutions are padded as TensorFlow's "SAME", not by one pixel on each side.
        dtype: what it multiplies in, and keeps between layers; sums are float32, of int8 whole numbers.
        integers: the weights of int8, and the scales of what lies between them.
        shifted_inputs: channels of the frames that each shifted block takes, and how many pixels one of theirs covers
            along a side.
        packed: the weights as the compiled operator takes them.
        layout: and what it must know of the blocks.
    """

    stem: ConvWeights
    stem_stride: int
    blocks: tuple[InvertedResidual, ...]
    head: ConvWeights
    limit: float
    same_padding: bool
    dtype: torch.dtype
    integers: QuantizedMobilenet | None
    shifted_inputs: tuple[tuple[int, int], ...]
    packed: list[Tensor]
    layout: list[int]

    def shifted_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Channels, height and width of the frames that are shifted, block by block, for images of this size."""
        return [(channels, -(-height // side), -(-width // side)) for channels, side in self.shifted_inputs]


@torch.no_grad()
def prepare_mobilenet(
    stem: ConvWeights,
    blocks: Sequence[InvertedResidual],
    head: ConvWeights,
    stem_stride: int = 2,
    limit: float = 6.0,
    same_padding: bool = False,
    dtype: torch.dtype = torch.float32,
    ranges: MobilenetRanges | None = None,
) -> Mobilenet:
    """Prepare a network for :func:`mobilenet_features`.

    Args:
        stem: the first convolution, [C, I, 3, 3].
        blocks: at least one; the first expands nothing.
        head: the last convolution, [F, O, 1, 1].
        stem_stride: 1 or 2.
        limit: activations clamp to [0, limit]; infinity for a plain ReLU.
        same_padding: pad as TensorFlow's "SAME".
        dtype: float32, bfloat16 or int8.
        ranges: of int8, the largest magnitudes that its numbers have in use, see :class:`MobilenetRanges`.

    Raises:
        ValueError: the shapes do not fit one another, or an argument is none of the above.
    """
    name = "prepare_mobilenet"
    if dtype not in DTYPES:
        raise ValueError(f"{name}: computes in float32, bfloat16 or int8, not {dtype}")
    if (dtype == torch.int8) != (ranges is not None):
        raise ValueError(f"{name}: int8 needs ranges=, and nothing else takes them")
    if not blocks or blocks[0].expand is not None or blocks[0].shifted or blocks[0].residual:
        raise ValueError(f"{name}: the first block has no expansion, no shift and no residual")
    if not limit > 0:
        raise ValueError(f"{name}: activations are limited to a number above 0, not {limit}")
    for stride in (stem_stride, *(block.stride for block in blocks)):
        if stride not in (1, 2):
            raise ValueError(f"{name}: strides are 1 or 2, not {stride}")
    channels, side = _check(name, stem, None, 3), stem_stride
    shifted_inputs = []
    for block in blocks:
        if block.shifted:
            shifted_inputs.append((channels, side))
        middle = channels if block.expand is None else _check(name, block.expand, channels, 1)
        _check(name, block.depthwise, 1, 3, middle)
        out = _check(name, block.project, middle, 1)
        if block is not blocks[0] and block.expand is None:
            raise ValueError(f"{name}: only the first block has no expansion")
        if block.residual and (out != channels or block.stride != 1):
            raise ValueError(f"{name}: a block with a residual gives what it takes: {channels} channels, stride 1")
        channels, side = out, side * block.stride
    _check(name, head, channels, 1)
    integers = None if ranges is None else quantize_mobilenet(stem, blocks, head, limit, ranges)
    packed: list[Tensor] = []
    layout: list[int] = []
    for block in blocks:
        layout += [block.project.weight.shape[0], block.stride, block.shifted, block.residual]
    if integers is None:
        for block in blocks:
            packed += _packed_block(block.expand or stem, block, dtype)
        packed += [_packed(head.weight, TILE, dtype), _up_to(head.bias.detach().float(), 0, TILE)]
    else:
        for convs in integers.blocks:
            packed += _packed_integers(*convs)
        packed += [_packed(integers.head.weight, TILE, dtype), _affine(integers.head, TILE)]
        packed += [torch.tensor(integers.scales)]
    return Mobilenet(
        stem=stem,
        stem_stride=stem_stride,
        blocks=tuple(blocks),
        head=head,
        limit=float(limit),
        same_padding=same_padding,
        dtype=dtype,
        integers=integers,
        shifted_inputs=tuple(shifted_inputs),
        packed=packed,
        layout=[*map(int, layout), head.weight.shape[0]],
    )


def mobilenet_features(
    frames: Tensor, network: Mobilenet, num_frames: int, shift_div: int = 8, direction: Direction = "bidirectional"
) -> Tensor:
    """The features of the frames of clips, averaged over the pixels.

    Args:
        frames: of N clips, [N*T, I, H, W], clip by clip, float32.
        network: whose weights to take.
        num_frames: T.
        shift_div: d, the share of the channels that moves each way in shifted blocks.
        direction: "bidirectional", or "online": [0, C/d) come from t-1, and nothing from the future.

    Returns:
        [N*T, F], float32.

    Raises:
        ValueError: a shape or dtype does not fit, or an argument is none of the above.
        RuntimeError: a gradient is wanted.
    """
    name = "mobilenet_features"
    check_frames(name, frames, num_frames, shift_div, direction)
    _check_images(name, frames, network)
    features: Tensor = _module(frames.device).mobilenet_features(
        frames, network, num_frames, shift_div, direction == "online"
    )
    return features


def online_mobilenet_features(
    frames: Tensor, past: Sequence[Tensor], network: Mobilenet, shift_div: int = 8
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The pooled features of the next frame of streams, whose shifts look at the frame before.

    Args:
        frames: one of each of N streams, [N, I, H, W], float32.
        past: what the step before kept, for every shifted block [N, C/d, H', W']; zeros at the first.
        network: whose weights to take.
        shift_div: d.

    Returns:
        [N, F], float32, and what to pass to the next step, in the type of ``past``.

    Raises:
        ValueError: a shape, dtype or device does not fit.
        RuntimeError: a gradient is wanted.
    """
    name = "online_mobilenet_features"
    _check_images(name, frames, network)
    check_whole(name, "shift_div", shift_div, 1)
    shapes = network.shifted_shapes(*frames.shape[2:])
    wanted = [(frames.shape[0], channels // shift_div, *size) for channels, *size in shapes]
    if not _are_states(past, wanted, frames.device):
        _refuse_states(name, frames, past, wanted)
    out: tuple[Tensor, tuple[Tensor, ...]] = _module(frames.device).online_mobilenet_features(frames, past, network)
    return out


def _are_states(past: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], device: torch.device) -> bool:
    """Whether these are states, which is asked at every step and so at once."""
    return len(past) == len(shapes) and all(
        isinstance(x, Tensor) and x.shape == shape and x.dtype in STATES and x.device == device
        for x, shape in zip(past, shapes, strict=True)
    )


def _refuse_states(name: str, frames: Tensor, past: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    """Say what is wrong with them."""
    if len(past) != len(shapes):
        raise ValueError(f"{name}: {len(shapes)} blocks are shifted, and past has {len(past)} tensors")
    for x, shape in zip(past, shapes, strict=True):
        check_float(name, "past", x, "[N, C, H, W]")
        check_together(name, frames=frames, past=x)
        if x.dtype not in STATES or x.shape != shape:
            raise ValueError(
                f"{name}: past holds {x.dtype} of shape {list(x.shape)}, and these frames need float32 or bfloat16 of "
                f"shape {list(shape)}: begin with zeros"
            )


def _check_images(name: str, frames: Tensor, network: Mobilenet) -> None:
    check_float(name, "frames", frames, "[N, I, H, W]")
    if frames.dtype != torch.float32 or frames.device != network.stem.weight.device:
        raise ValueError(f"{name}: frames must be float32 where the weights are, not {frames.dtype} on {frames.device}")
    if frames.shape[1] != network.stem.weight.shape[1] or 0 in frames.shape[2:]:
        raise ValueError(
            f"{name}: frames must be [N, {network.stem.weight.shape[1]}, H, W] of at least one pixel, not "
            f"{list(frames.shape)}"
        )
    if torch.is_grad_enabled() and frames.requires_grad:
        raise RuntimeError(f"{name}: is for inference: take the network's layers where gradients are wanted")


def _check(name: str, conv: ConvWeights, channels: int | None, side: int, out: int | None = None) -> int:
    """The channels that a convolution gives, if it is as it must be."""
    shape = conv.weight.shape
    fits = conv.weight.dim() == 4 and shape[2:] == (side, side) and conv.bias.shape == shape[:1] and 0 not in shape
    if not fits or channels not in (None, shape[1]) or out not in (None, shape[0]):
        wanted = [out or "O", channels or "I", side, side]
        raise ValueError(
            f"{name}: a weight must be [{', '.join(map(str, wanted))}] with a bias for each of the first, not "
            f"{list(shape)} with {list(conv.bias.shape)}"
        )
    return shape[0]


def _packed_block(expand: ConvWeights, block: InvertedResidual, dtype: torch.dtype) -> list[Tensor]:
    """See mobilenet.cpp."""
    step = _middle(dtype)
    bias = _up_to(block.project.bias.detach().float(), 0, TILE)
    return [
        _packed(expand.weight, step, dtype),
        _up_to(expand.bias.detach().float(), 0, step),
        _up_to(block.depthwise.weight.detach().float().flatten(1).t(), 1, step).contiguous(),
        _up_to(block.depthwise.bias.detach().float(), 0, step),
        _packed(block.project.weight, TILE, dtype),
        torch.stack([bias, torch.zeros_like(bias)]),
    ]


def _packed_integers(expand: QuantizedConv, depthwise: QuantizedConv, project: QuantizedConv) -> list[Tensor]:
    """Likewise; what belongs to the depthwise convolution lies as the kernel has channels in its registers."""
    step = _middle(torch.int8)
    taps = _up_to(_up_to(depthwise.weight[:, 0], 1, 4), 0, step)  # [M, 3 rows and a zero, 3 columns]
    places = taps.reshape(-1, 2, 4, 4, 4, 3).permute(0, 5, 2, 1, 3, 4)
    order = torch.arange(len(taps)).reshape(-1, 2, 4, 4).transpose(1, 2).flatten()
    return [
        _packed(expand.weight, step, torch.int8),
        _affine(expand, step),
        places.contiguous(),
        _affine(depthwise, step)[:, order].contiguous(),
        _packed(project.weight, TILE, torch.int8),
        _affine(project, TILE),
    ]


def _affine(conv: QuantizedConv, step: int) -> Tensor:
    return torch.stack([_up_to(conv.scale, 0, step), _up_to(conv.bias, 0, step)])


def _packed(weight: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """The weight [C', C, k, k] of a convolution as a matrix in blocks of columns, with zeros to whole steps."""
    matrix = _up_to(_up_to(weight.detach().float().flatten(1), 1, STEPS[dtype]), 0, columns)
    return pack(matrix[:, :, None].to(dtype))


def _middle(dtype: torch.dtype) -> int:
    """The channels in the middle of a block come in whole groups of so many."""
    return min(STEPS[dtype], 32)


def _up_to(x: Tensor, dim: int, step: int) -> Tensor:
    """``x`` with zeros up to a multiple of ``step`` along a dimension."""
    size = math.ceil(x.shape[dim] / step) * step
    return F.pad(x, [0, 0] * (x.dim() - 1 - dim) + [0, size - x.shape[dim]])


def _module(device: torch.device) -> ModuleType:
    """The module that computes on ``device``; there are kernels for CPUs."""
    if implementation(device).__name__ != "zoo.ops.native" or device.type == "cuda":
        return mobilenet_reference
    from zoo.ops import mobilenet_native

    return mobilenet_native
