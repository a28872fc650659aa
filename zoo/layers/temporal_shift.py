"""Layers that see time in a batch of frames: the temporal shift (TSM) and the non-local block."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from zoo import ops

Direction = Literal["bidirectional", "online"]


class TemporalLayer(nn.Module):
    """A layer on frames [N*T, C, H, W] that mixes those of one clip.

    Attributes:
        num_frames: T; the model sets it from the shape of its input before the frames arrive.
    """

    num_frames: int


class TemporalShift(TemporalLayer):
    """Shift a part of the channels along time, then apply ``net`` (TSM, section 3.2).

    Online it can also run a stream frame by frame: while ``past`` is a tensor, a call takes N frames of N streams,
    puts ``past`` in the place of the shifted channels and leaves the channels for the next frame there.

    Args:
        net: the layer whose input is shifted: a convolution ("blockres") or a whole residual block ("block").
        num_frames: T.
        shift_div: d; 1/d of the channels move each way.
        direction: "bidirectional", or "online" to look only at the past.
    """

    def __init__(self, net: nn.Module, num_frames: int, shift_div: int = 8, direction: Direction = "bidirectional"):
        super().__init__()
        self.net = net
        self.num_frames = num_frames
        self.shift_div = shift_div
        self.direction: Direction = direction
        self.past: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Frames [N*T, C, H, W], or [N, C, H, W] of N streams while ``past`` [N, C/d, H, W] is a tensor."""
        if self.past is None:
            return self.net(ops.temporal_shift(x, self.num_frames, self.shift_div, self.direction))
        fold = x.shape[1] // self.shift_div
        shifted = torch.cat([self.past, x[:, fold:]], dim=1)
        self.past = x[:, :fold]
        return self.net(shifted)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_frames={self.num_frames}, shift_div={self.shift_div}, direction={self.direction!r}"


class NonLocal(TemporalLayer):
    """A residual block followed by an embedded-Gaussian non-local block over space and time (Wang et al. 2018, eq. 2).

    Keys and values are pooled by two in space. The last normalisation starts at zero, so that the block begins as
    the identity.

    Args:
        block: the residual block.
        channels: its output channels, C.
        num_frames: T.
    """

    def __init__(self, block: nn.Module, channels: int, num_frames: int):
        super().__init__()
        self.block = block
        self.nl = EmbeddedGaussian(channels)
        self.num_frames = num_frames

    def forward(self, x: Tensor) -> Tensor:
        """Frames [N*T, C', H, W] to [N*T, C, H, W]."""
        clips = self.block(x).unflatten(0, (-1, self.num_frames)).transpose(1, 2)
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
