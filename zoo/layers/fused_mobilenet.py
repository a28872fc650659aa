"""A MobileNetV2 of timm, with or without shifts, whose blocks are one operator at inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn

from zoo import ops
from zoo.layers.shifted_conv import ShiftedPointwiseConv
from zoo.layers.temporal_shift import ClipContext, TemporalShift
from zoo.ops.mobilenet import Conv, InvertedResidual, Mobilenet, mobilenet

LIMITS: dict[type[nn.Module], float] = {nn.ReLU: math.inf, nn.ReLU6: 6.0}  # what activations clamp to
_FUSED = {"relu": math.inf, "relu6": 6.0}


class Unfit(Exception):
    """A backbone is no MobileNetV2 that the operator computes."""


class FusedMobilenet(nn.Module):
    """A MobileNetV2 in the place of timm's, from the image to the pooled features.

    Args:
        network: the weights.
        shifts: of the shifted blocks, in order; their context and their numbers are taken over.
    """

    def __init__(self, network: Mobilenet, shifts: Sequence[TemporalShift]):
        super().__init__()
        self.network = network
        self.context = shifts[0].context if shifts else ClipContext()
        self.shift_div = shifts[0].shift_div if shifts else 8
        self.direction = shifts[0].direction if shifts else "online"
        self.indices = [shift.index for shift in shifts]

    def forward_head(self, features: Tensor, pre_logits: bool = True) -> Tensor:
        """The features as they are: they are pooled already."""
        return features

    def forward_features(self, x: Tensor) -> Tensor:
        """Frames [N*T, C, H, W] to pooled features [N*T, num_features]."""
        past = self.context.past
        if past is None or not self.indices:
            num_frames = self.context.num_frames if self.indices else 1
            return ops.mobilenet_features(x, self.network, num_frames, self.shift_div, self.direction)
        states = [past[index] for index in self.indices]
        given = [state for state in states if state is not None]
        if len(given) < len(states):
            raise ValueError("a stream begins with a state: take it from initial_state of the model")
        features, kept = ops.online_mobilenet_features(x, given, self.network)
        for index, now in zip(self.indices, kept, strict=True):
            past[index] = now
        return features

    def extra_repr(self) -> str:
        """The arguments."""
        blocks, shifted = len(self.network.blocks), len(self.indices)
        return f"{blocks} blocks, {shifted} shifted, direction={self.direction!r}, {self.network.dtype}"


def fuse_mobilenet(model: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    """Let one operator compute the MobileNetV2 in ``model``, which is changed; see :class:`FusedMobilenet`.

    Args:
        model: in evaluation mode, with batch norms folded, see :func:`zoo.export.eager.fast_copy`.
        dtype: float32 or bfloat16; activations go from block to block in it.

    Returns:
        whether there is one; if not, the model is as it was.
    """
    backbone: Any = getattr(model, "backbone", None)
    if model.training or not hasattr(backbone, "conv_stem") or not hasattr(backbone, "conv_head"):
        return False
    try:
        network, shifts = _read(backbone, dtype)
    except Unfit:
        return False
    model.backbone = FusedMobilenet(network, shifts)
    return True


def _read(backbone: Any, dtype: torch.dtype) -> tuple[Mobilenet, list[TemporalShift]]:
    """The weights and the shifts of a backbone.

    Raises:
        Unfit: it is built otherwise.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in backbone.modules()):
        raise Unfit
    if getattr(backbone.global_pool, "pool_type", None) != "avg":
        raise Unfit
    reader = _Reader()
    stem, stem_stride = reader.conv(backbone.conv_stem, 3), backbone.conv_stem.stride[0]
    reader.activation(backbone.conv_stem, backbone.bn1)
    blocks = [reader.block(block) for stage in backbone.blocks for block in stage]
    head = reader.conv(backbone.conv_head, 1)
    reader.activation(backbone.conv_head, backbone.bn2)
    if len(reader.limits) != 1 or len(reader.padded) > 1:
        raise Unfit
    if len({(shift.context, shift.shift_div, shift.direction) for shift in reader.shifts}) > 1:
        raise Unfit
    same_padding = True in reader.padded
    (limit,) = reader.limits
    try:
        return mobilenet(stem, blocks, head, stem_stride, limit, same_padding, dtype), reader.shifts
    except ValueError as error:  # of shapes that the operator does not take
        raise Unfit from error


class _Reader:
    """Reads modules one after another, and notes what must be the same in all of them."""

    def __init__(self) -> None:
        self.limits: set[float] = set()
        self.padded: set[bool] = set()  # as TensorFlow does, of convolutions with a stride
        self.shifts: list[TemporalShift] = []

    def block(self, block: Any) -> InvertedResidual:
        """A block of timm."""
        expands = hasattr(block, "conv_pwl")
        parts = ["conv_pw", "conv_dw", "conv_pwl"] if expands else ["conv_dw", "conv_pw"]
        if not all(hasattr(block, name) for name in (*parts, "has_skip", "se", "aa", "drop_path")):
            raise Unfit
        for name in ("conv_s2d", "aa", "se", "drop_path", f"bn{len(parts)}"):
            if not isinstance(getattr(block, name, None), nn.Identity | NoneType):
                raise Unfit
        first, *_, last = (getattr(block, name) for name in parts)
        shifted = expands and type(first) in (TemporalShift, ShiftedPointwiseConv)  # others may shift otherwise
        if shifted:
            self.shifts.append(first)
        self.activation(first, block.bn1)
        if expands:
            self.activation(block.conv_dw, block.bn2)
        return InvertedResidual(
            expand=self.conv(first.net if shifted else first, 1) if expands else None,
            depthwise=self.conv(block.conv_dw, 3),
            project=self.conv(last, 1),
            stride=block.conv_dw.stride[0],
            shifted=shifted,
            residual=bool(block.has_skip),
        )

    def conv(self, conv: Any, side: int) -> Conv:
        """A convolution with a bias."""
        from timm.layers import Conv2dSame

        if type(conv) not in (nn.Conv2d, Conv2dSame) or conv.bias is None or conv.weight.dtype != torch.float32:
            raise Unfit
        strides = {(1, 1)} if side == 1 else {(1, 1), (2, 2)}
        if conv.kernel_size != (side, side) or conv.stride not in strides or conv.dilation != (1, 1):
            raise Unfit
        if type(conv) is Conv2dSame:
            self.padded.add(True)
        elif conv.padding != (side // 2, side // 2):
            raise Unfit
        elif conv.stride != (1, 1):
            self.padded.add(False)
        return Conv(conv.weight.detach(), conv.bias.detach())

    def activation(self, conv: nn.Module, activation: nn.Module) -> None:
        """What follows a convolution, or is fused into it."""
        if isinstance(conv, ShiftedPointwiseConv) and conv.activation != "none" and type(activation) is nn.Identity:
            self.limits.add(_FUSED[conv.activation])
        elif type(activation) in LIMITS:
            self.limits.add(LIMITS[type(activation)])
        else:
            raise Unfit
