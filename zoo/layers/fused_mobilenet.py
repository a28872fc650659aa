"""A MobileNetV2 of timm, with or without shifts, that is one operator at inference; docs/fused_mobilenet.md."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from types import NoneType
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo import ops
from zoo.layers.shifted_conv import ACTIVATIONS, ShiftedPointwiseConv
from zoo.layers.temporal_shift import ClipContext, TemporalShift
from zoo.ops.mobilenet import STATES

_LIMITS = {"relu": math.inf, "relu6": 6.0}  # what activations clamp to


class FusedMobilenet(nn.Module):
    """A MobileNetV2 in the place of timm's, from the image to the pooled features, where its weights are: on a CPU.

    Args:
        network: the weights.
        shifts: of the shifted blocks, in order.
        context: of the model.
    """

    def __init__(self, network: ops.Mobilenet, shifts: Sequence[TemporalShift], context: ClipContext):
        super().__init__()
        self.network = network
        self.context = context
        self.shift_div = shifts[0].shift_div if shifts else 8
        self.direction = shifts[0].direction if shifts else "online"
        self.indices = [shift.index for shift in shifts]

    def forward_features(self, x: Tensor) -> Tensor:
        """Frames [N*T, C, H, W] to pooled features [N*T, num_features], float32."""
        x, past = x.float(), self.context.past
        if past is None or not self.indices:
            num_frames = self.context.num_frames if self.indices else 1
            return ops.mobilenet_features(x, self.network, num_frames, self.shift_div, self.direction)
        states = [past[index] for index in self.indices]
        if any(state is None for state in states):
            shapes = self.network.shifted_shapes(*x.shape[2:])
            zeros = [x.new_zeros(len(x), channels // self.shift_div, *size) for channels, *size in shapes]
            states = [zero if state is None else state for state, zero in zip(states, zeros, strict=True)]
        before = cast(list[Tensor], states)
        given = [state if state.dtype in STATES else state.float() for state in before]
        features, kept = ops.online_mobilenet_features(x, given, self.network, self.shift_div)
        for index, state, now in zip(self.indices, before, kept, strict=True):
            past[index] = now if now.dtype == state.dtype else now.to(state.dtype)
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """The features as they are: they are pooled already."""
        return features

    def extra_repr(self) -> str:
        """The arguments."""
        blocks, shifted = len(self.network.blocks), len(self.indices)
        return f"{blocks} blocks, {shifted} shifted, direction={self.direction!r}, {self.network.dtype}"


def with_fused_mobilenet(
    model: nn.Module, dtype: torch.dtype = torch.float32, calibrate: Callable[[], object] | None = None
) -> nn.Module | None:
    """A copy of ``model`` whose backbone is a :class:`FusedMobilenet`; none where it is no MobileNetV2 of that kind.

    Args:
        model: in evaluation mode, with batch norms folded, see :func:`zoo.export.eager.fast_copy`. It stays as it is.
        dtype: float32, bfloat16 or int8; activations go from block to block in it.
        calibrate: of int8, calls ``model`` with what shows which ranges its numbers take: the largest magnitudes.

    Raises:
        ValueError: int8 comes without ``calibrate``, or shows nothing, or numbers that are not finite.
    """
    if (dtype == torch.int8) != (calibrate is not None):
        raise ValueError("int8 needs calibrate=, which calls the model, and nothing else takes it")
    backbone: Any = getattr(model, "backbone", None)
    try:
        network, shifts = _read(backbone)
    except _UnfitError:
        return None
    if dtype != torch.float32:
        of = network.stem, network.blocks, network.head, network.stem_stride, network.limit, network.same_padding
        ranges = None if calibrate is None else _ranges(backbone, calibrate)
        network = ops.prepare_mobilenet(*of, dtype, ranges)
    copied: Any = copy.deepcopy(model, {id(backbone): nn.Identity()})
    copied.backbone = FusedMobilenet(network, shifts, copied.context)
    return copied


class _UnfitError(Exception):
    """A backbone is no MobileNetV2 that the operator computes."""


def _read(backbone: Any) -> tuple[ops.Mobilenet, list[TemporalShift]]:
    """The weights, in float32, and the shifts of a backbone.

    Raises:
        _UnfitError: it is built otherwise.
    """
    from timm.models.efficientnet import EfficientNet

    _require(type(backbone) is EfficientNet and not backbone.training)
    _require(backbone.global_pool.pool_type == "avg")
    for module in backbone.modules():
        _require(not module._forward_hooks and not module._forward_pre_hooks)
    reader = _Reader()
    stem, stem_stride = reader.conv(backbone.conv_stem, 3), backbone.conv_stem.stride[0]
    reader.activation(backbone.conv_stem, backbone.bn1)
    blocks = [reader.block(block) for stage in backbone.blocks for block in stage]
    head = reader.conv(backbone.conv_head, 1)
    reader.activation(backbone.conv_head, backbone.bn2)
    _require(len(reader.limits) == 1 and len(reader.padded) < 2)
    _require(len({(id(shift.context), shift.shift_div, shift.direction) for shift in reader.shifts}) < 2)
    (limit,) = reader.limits
    try:
        network = ops.prepare_mobilenet(stem, blocks, head, stem_stride, limit, True in reader.padded)
    except ValueError as error:  # of shapes that the operator does not take
        raise _UnfitError from error
    return network, reader.shifts


@torch.no_grad()
def _ranges(backbone: Any, calibrate: Callable[[], object]) -> ops.MobilenetRanges:
    """The largest magnitudes of what goes into the layers of a backbone while it is called."""
    blocks = [block for stage in backbone.blocks for block in stage]
    watched = {
        "frames": [backbone.conv_stem, *blocks[1:], backbone.conv_head],
        "expanded": [block.conv_dw for block in blocks],
        "convolved": [_projection(block) for block in blocks],
    }
    found = {name: torch.zeros(len(modules)) for name, modules in watched.items()}
    hooks = []
    for name, modules in watched.items():
        for number, module in enumerate(modules):
            hooks.append(module.register_forward_pre_hook(partial(_note, found[name], number)))
    try:
        calibrate()
    finally:
        for hook in hooks:
            hook.remove()
    return ops.MobilenetRanges(**{name: values.tolist() for name, values in found.items()})


def _note(largest: Tensor, number: int, _: nn.Module, given: tuple[Tensor, ...]) -> None:
    largest[number] = torch.maximum(largest[number], given[0].abs().max())  # what is no number stays none


def _projection(block: Any) -> Any:
    """The last convolution of a block of timm."""
    return getattr(block, "conv_pwl", block.conv_pw)


def _require(condition: bool) -> None:
    if not condition:
        raise _UnfitError


class _Reader:
    """Reads modules one after another, and notes what must be the same in all of them."""

    def __init__(self) -> None:
        self.limits: set[float] = set()
        self.padded: set[bool] = set()  # as TensorFlow does, of convolutions with a stride
        self.shifts: list[TemporalShift] = []

    def block(self, block: Any) -> ops.InvertedResidual:
        """A block of timm."""
        from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual

        _require(type(block) in (DepthwiseSeparableConv, InvertedResidual))
        expands = type(block) is InvertedResidual
        first, last = block.conv_pw if expands else block.conv_dw, _projection(block)
        for name in ("conv_s2d", "aa", "se", "drop_path", "bn3" if expands else "bn2"):
            _require(isinstance(getattr(block, name, None), nn.Identity | NoneType))
        shifted = expands and type(first) in (TemporalShift, ShiftedPointwiseConv)  # others may shift otherwise
        if shifted:
            self.shifts.append(first)
        self.activation(first, block.bn1)
        if expands:
            self.activation(block.conv_dw, block.bn2)
        return ops.InvertedResidual(
            expand=self.conv(first.net if shifted else first, 1) if expands else None,
            depthwise=self.conv(block.conv_dw, 3, depthwise=True),
            project=self.conv(last, 1),
            stride=block.conv_dw.stride[0],
            shifted=shifted,
            residual=bool(block.has_skip),
        )

    def conv(self, conv: Any, side: int, depthwise: bool = False) -> ops.ConvWeights:
        """A convolution with a bias."""
        from timm.layers import Conv2dSame

        _require(type(conv) in (nn.Conv2d, Conv2dSame) and conv.bias is not None)
        _require(conv.weight.dtype == torch.float32 and conv.padding_mode == "zeros")
        _require(conv.groups == (conv.in_channels if depthwise else 1) and conv.dilation == (1, 1))
        _require(conv.kernel_size == (side, side) and conv.stride in ({(1, 1)} if side == 1 else {(1, 1), (2, 2)}))
        if type(conv) is Conv2dSame:
            self.padded.add(True)
        else:
            _require(conv.padding == (side // 2, side // 2))
            if conv.stride != (1, 1):
                self.padded.add(False)
        return ops.ConvWeights(conv.weight.detach(), conv.bias.detach())

    def activation(self, conv: nn.Module, activation: nn.Module) -> None:
        """What follows a convolution, or is fused into it."""
        name = ACTIVATIONS.get(type(activation))
        if isinstance(conv, ShiftedPointwiseConv) and conv.activation != "none":
            _require(type(activation) is nn.Identity)
            name = conv.activation
        _require(name is not None)
        self.limits.add(_LIMITS[str(name)])
