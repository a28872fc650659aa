"""Layers that see time in a batch of frames: the temporal shift (TSM) and the non-local block."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn

from zoo import ops
from zoo.ops.autocast import is_autocast
from zoo.ops.shift import Direction


class ClipContext(threading.local):
    """How the frames [N*T, C, H, W] on their way through a network make clips; its layers share one.

    A backbone of timm passes only the frames from layer to layer. This passes the rest beside them, to each thread its
    own, so that several can run one model.

    Attributes:
        num_frames: T.
        past: what each shift kept of the frame before while a stream is followed frame by frame, then T = 1; ``None``
            in the place of a tensor stands for zeros, ``None`` in the place of the list for clips.
    """

    def __init__(self) -> None:  # once in every thread
        self.num_frames = 1
        self.past: list[Tensor | None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of a model begins with a context of its own."""
        return (ClipContext, ())


class TemporalShift(nn.Module):
    """Shift a part of the channels along time, then apply ``net`` (TSM, section 3.2).

    Args:
        net: the layer whose input is shifted: a convolution ("blockres") or a whole residual block ("block").
        context: of the model.
        index: which of the model's shifts this is.
        shift_div: d; 1/d of the channels move each way.
        direction: "bidirectional", or "online" to look only at the past.
    """

    def __init__(
        self,
        net: nn.Module,
        context: ClipContext,
        index: int,
        shift_div: int = 8,
        direction: Direction = "bidirectional",
    ):
        super().__init__()
        self.net = net
        self.context = context
        self.index = index
        self.shift_div = shift_div
        self.direction: Direction = direction

    def forward(self, x: Tensor) -> Tensor:
        """Frames [N*T, C, H, W] to what ``net`` makes of them.

        Raises:
            ValueError: what was kept of the frame before has another shape or dtype.
        """
        past = self.context.past
        if past is None:
            return self.on_clips(x)
        kept = (x.shape[0], x.shape[1] // self.shift_div, *x.shape[2:])
        before = past[self.index]
        if before is None:
            before = x.new_zeros(kept)
        dtype = before.dtype
        if is_autocast(x):  # then frames come in its type, not in the model's
            before = before.to(x.dtype)
        if before.shape != kept or before.dtype != x.dtype:
            raise ValueError(
                f"the state holds {before.dtype} of shape {list(before.shape)}, this frame needs {x.dtype} of shape "
                f"{list(kept)}: begin with initial_state for frames of this number, size and dtype"
            )
        out, now = self.on_stream(x, before)
        past[self.index] = now.to(dtype)
        return out

    def on_clips(self, x: Tensor) -> Tensor:
        """Frames [N*T, C, H, W] of whole clips to what ``net`` makes of them, shifted.

        A 1x1 convolution that learns on a CPU reads the frames where they are, so that no shifted copy is kept for the
        backward pass; elsewhere that has not been shown to be as fast.
        """
        net: Any = self.net
        shift = self.context.num_frames, self.shift_div, self.direction
        if self.training and is_pointwise(net) and x.device.type == "cpu" and not torch.compiler.is_compiling():
            return ops.shifted_pointwise_conv(x, net.weight, net.bias, *shift)
        return self.net(ops.temporal_shift(x, *shift))

    def on_stream(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """One frame [N, C, H, W] of each stream likewise, and what to keep of it, like ``past`` [N, C/d, H, W]."""
        shifted, now = ops.online_shift(x, past)
        return self.net(shifted), now

    def extra_repr(self) -> str:
        """The arguments."""
        return f"index={self.index}, shift_div={self.shift_div}, direction={self.direction!r}"


def is_pointwise(module: nn.Module) -> bool:
    """``module`` is a 1x1 convolution that sees every pixel once and all channels, without hooks."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (1, 1)
        and module.stride == (1, 1)
        and module.padding in ((0, 0), "same", "valid")
        and module.groups == 1
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


class NonLocal(nn.Module):
    """A residual block followed by an embedded-Gaussian non-local block over space and time (Wang et al. 2018, eq. 2).

    Keys and values are pooled by two in space. The last normalisation starts at zero, so that the block begins as
    the identity.

    Args:
        block: the residual block.
        channels: its output channels, C.
        context: of the model.
    """

    def __init__(self, block: nn.Module, channels: int, context: ClipContext):
        super().__init__()
        self.block = block
        self.nl = EmbeddedGaussian(channels)
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        """Frames [N*T, C', H, W] to [N*T, C, H, W]."""
        clips = self.block(x).unflatten(0, (-1, self.context.num_frames)).transpose(1, 2)
        return self.nl(clips).transpose(1, 2).flatten(0, 1)


class EmbeddedGaussian(nn.Module):
    """x + W(softmax(theta(x)^T phi(x)) g(x)) on clips [N, C, T, H, W] with C/2 inner channels."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        pool = nn.MaxPool3d((1, 2, 2))
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)
        norm = nn.BatchNorm3d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv3d(inner, channels, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Clips [N, C, T, H, W] to the same shape."""
        queries = self.theta(x).flatten(2).transpose(1, 2)
        attention = torch.softmax(queries @ self.phi(x).flatten(2), dim=-1)
        mixed = attention @ self.g(x).flatten(2).transpose(1, 2)
        return x + self.W(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))
