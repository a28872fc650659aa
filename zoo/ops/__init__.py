"""The operators of the zoo; wrong shapes and dtypes are a ``ValueError`` that says what to pass."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from zoo.ops.backends import backend, implementation
from zoo.ops.points import (
    avg_voxelize,
    ball_query,
    furthest_point_sample,
    gather_points,
    group_points,
    three_nn_interpolate,
    trilinear_devoxelize,
)

__all__ = [
    "avg_voxelize",
    "backend",
    "ball_query",
    "furthest_point_sample",
    "gather_points",
    "group_points",
    "temporal_shift",
    "three_nn_interpolate",
    "trilinear_devoxelize",
]


def temporal_shift(
    x: Tensor, num_frames: int, shift_div: int = 8, direction: Literal["bidirectional", "online"] = "bidirectional"
) -> Tensor:
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
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"temporal_shift takes floating frames [N*T, C, H, W], not {x.dtype} of shape {list(x.shape)}")
    if num_frames < 1 or x.shape[0] % num_frames:
        raise ValueError(f"temporal_shift: {x.shape[0]} frames are not a whole number of clips of {num_frames}")
    if shift_div < (1 if direction == "online" else 2):
        raise ValueError(f"temporal_shift: shift_div {shift_div} would move more than all the channels")
    if direction not in ("bidirectional", "online"):
        raise ValueError(f"temporal_shift: direction is 'bidirectional' or 'online', not {direction!r}")
    return implementation().temporal_shift(x, num_frames, shift_div, direction == "online")
