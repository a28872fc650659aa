"""Which frames of a video a model sees: temporal segment sampling (TSN, section 3.1), zero-based."""

from __future__ import annotations

import torch


def uniform_indices(num_video_frames: int, num_frames: int) -> list[int]:
    """The middle frame of each of ``num_frames`` equal segments, as TSM's authors test.

    A video with fewer frames than wanted repeats some of them.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames wanted, T.

    Returns:
        T ascending indices in [0, num_video_frames).

    Raises:
        ValueError: a number is not positive.
    """
    _check(num_video_frames, num_frames)
    # In floats and in this order, so that the rounding is the authors' too.
    tick = num_video_frames / float(num_frames)
    return [int(tick / 2.0 + tick * segment) for segment in range(num_frames)]


def random_indices(num_video_frames: int, num_frames: int, generator: torch.Generator | None = None) -> list[int]:
    """A random frame of each of ``num_frames`` equal segments, as TSM's authors train.

    A video with fewer frames than wanted gives its first frame ``num_frames`` times.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames wanted, T.
        generator: where the randomness comes from; torch's own generator by default.

    Returns:
        T ascending indices in [0, num_video_frames).

    Raises:
        ValueError: a number is not positive.
    """
    _check(num_video_frames, num_frames)
    duration = num_video_frames // num_frames
    if duration > 0:
        offsets = torch.randint(duration, (num_frames,), generator=generator).tolist()
        return [segment * duration + offset for segment, offset in enumerate(offsets)]
    return [0] * num_frames


def _check(num_video_frames: int, num_frames: int) -> None:
    if num_video_frames < 1 or num_frames < 1:
        raise ValueError(f"frames are sampled from 1 or more to 1 or more, not {num_video_frames} to {num_frames}")
