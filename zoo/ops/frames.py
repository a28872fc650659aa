"""Frames as the shifting operators see them: how far their channels move, and how their values lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def offsets(online: bool) -> tuple[int, int]:
    """From how many frames away the first and the second share of the channels come."""
    return (-1, 0) if online else (1, -1)


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels-last where frames [N, C, H, W] lie so and not otherwise; contiguous for all others."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def empty_frames(like: Tensor, channels: int) -> Tensor:
    """Memory for frames of so many channels, laid out as those of ``like``."""
    size = like.shape[0], channels, *like.shape[2:]
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=memory_format(like))
