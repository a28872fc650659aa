"""The temporal shift (TSM, section 3.2), checked at the door: out of place, in place, and frame by frame."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from zoo.ops.backends import implementation
from zoo.ops.checks import check_float, check_whole

Direction = Literal["bidirectional", "online"]


def temporal_shift(x: Tensor, num_frames: int, shift_div: int = 8, direction: Direction = "bidirectional") -> Tensor:
    """Move ``1 / shift_div`` of the channels one frame along time (TSM, section 3.2).

    Channels [0, C/d) come from frame t+1 and [C/d, 2C/d) from frame t-1; online, [0, C/d) come from t-1 and nothing
    from the future. What would come from outside the clip is zero.

    Args:
        x: frames of N clips, [N*T, C, H, W], clip by clip.
        num_frames: T.
        shift_div: d, the share of the channels that moves each way.
        direction: "bidirectional", or "online" for streams.

    Returns:
        [N*T, C, H, W]

    Raises:
        ValueError: ``x`` is not four-dimensional or floating, or holds no whole number of clips.
    """
    check_frames("temporal_shift", x, num_frames, shift_div, direction)
    out: Tensor = implementation(x.device).temporal_shift(x, num_frames, shift_div, direction == "online")
    return out


def temporal_shift_(x: Tensor, num_frames: int, shift_div: int = 8, direction: Direction = "bidirectional") -> Tensor:
    """:func:`temporal_shift` in the memory of ``x``, which is overwritten and returned.

    Raises:
        ValueError: as there, or elements of ``x`` share memory, or ``x`` is a parameter.
    """
    check_frames("temporal_shift_", x, num_frames, shift_div, direction)
    if x.is_leaf and x.requires_grad and torch.is_grad_enabled():
        raise ValueError("temporal_shift_: a leaf that wants a gradient cannot be overwritten: use temporal_shift")
    if any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True)):
        raise ValueError("temporal_shift_: elements of x share memory, as after expand: pass x.contiguous()")
    out: Tensor = implementation(x.device).temporal_shift_(x, num_frames, shift_div, direction == "online")
    return out


def online_shift(x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the online shift: the first channels come from the frame before.

    Args:
        x: one frame of each stream, [N, C, H, W].
        past: what the step before kept, [N, C/d, H, W]; zeros at the first.

    Returns:
        the frames with the first C/d channels from ``past``, [N, C, H, W], and what they were, [N, C/d, H, W], to pass
        to the next step.

    Raises:
        ValueError: ``x`` is not four-dimensional or floating, or ``past`` does not fit it.
    """
    check_past("online_shift", x, past)
    out: tuple[Tensor, Tensor] = implementation(x.device).online_shift(x, past)
    return out


def check_frames(operator: str, x: Tensor, num_frames: int, shift_div: int, direction: str) -> None:
    """``x`` holds frames of whole clips, and the rest says how they can be shifted."""
    check_float(operator, "x", x, "[N*T, C, H, W]")
    check_whole(operator, "num_frames", num_frames, 1)
    if x.shape[0] % num_frames:
        raise ValueError(f"{operator}: {x.shape[0]} frames are not a whole number of clips of {num_frames}")
    check_whole(operator, "shift_div", shift_div, 1)
    if shift_div < (1 if direction == "online" else 2):
        raise ValueError(f"{operator}: shift_div {shift_div} would move more than all the channels")
    if direction not in ("bidirectional", "online"):
        raise ValueError(f"{operator}: direction is 'bidirectional' or 'online', not {direction!r}")


def check_past(operator: str, x: Tensor, past: Tensor) -> None:
    """``past`` holds the first channels of frames like ``x``."""
    check_float(operator, "x", x, "[N, C, H, W]")
    check_float(operator, "past", past, "[N, C/d, H, W]")
    fits = past.shape[1] <= x.shape[1]
    fits = fits and (past.shape[0], *past.shape[2:]) == (x.shape[0], *x.shape[2:])
    if not fits or past.dtype != x.dtype or past.device != x.device:
        raise ValueError(
            f"{operator}: past is {past.dtype} of shape {list(past.shape)}, which does not fit frames {x.dtype} of "
            f"shape {list(x.shape)}"
        )
