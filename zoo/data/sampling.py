"""Which frames of a video a model sees, zero-based.

"uniform" is temporal segment sampling (TSN, section 3.1); "dense" takes frames of a window of 64, as I3D and TSM on
Kinetics; "twice" looks at two frames of every segment in the test (TSM on Something-Something).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

Sampling = Literal["uniform", "dense", "twice"]

WINDOW = 64  # frames that a dense clip spans


def uniform_indices(num_video_frames: int, num_frames: int) -> list[int]:
    """The middle frame of each of ``num_frames`` equal segments, as TSM's authors test.

    A video with fewer frames than wanted repeats some of them. While they train, the authors validate a video of no
    more frames than wanted on its first frame alone; we always take what they test on.

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


def dense_indices(num_video_frames: int, num_frames: int, generator: torch.Generator | None = None) -> list[int]:
    """Every ``64 // num_frames``-th frame of a window of 64 at a random place, as TSM's authors train on Kinetics.

    A video with fewer than 64 frames starts again from its first. The last place is never drawn, as by the authors.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames wanted, T.
        generator: where the randomness comes from; torch's own generator by default.

    Returns:
        T indices in [0, num_video_frames).

    Raises:
        ValueError: a number is not positive, or T is above 64.
    """
    _check_dense(num_video_frames, num_frames)
    places = num_video_frames - WINDOW
    start = int(torch.randint(places, (), generator=generator)) if places > 0 else 0
    return _dense_clip(num_video_frames, num_frames, start)


def dense_clips(num_video_frames: int, num_frames: int, num_clips: int = 10) -> list[list[int]]:
    """Windows of 64 frames at equal distances from the first to the last place, as TSM's authors test on Kinetics.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames of a clip, T.
        num_clips: windows; one window is in the middle (the authors draw it, so that validation does not repeat).

    Returns:
        ``num_clips`` lists of T indices in [0, num_video_frames).

    Raises:
        ValueError: a number is not positive, or T is above 64.
    """
    _check_dense(num_video_frames, num_frames)
    if num_clips < 1:
        raise ValueError(f"a video has one clip or more, not {num_clips}")
    last = max(0, num_video_frames - WINDOW)
    starts = np.linspace(0, last, num_clips, dtype=int).tolist() if num_clips > 1 else [last // 2]
    return [_dense_clip(num_video_frames, num_frames, start) for start in starts]


def twice_clips(num_video_frames: int, num_frames: int) -> list[list[int]]:
    """The middles and then the beginnings of the segments, as TSM's authors test on Something-Something.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames of a clip, T.

    Returns:
        Two lists of T ascending indices in [0, num_video_frames), half a segment apart.

    Raises:
        ValueError: a number is not positive.
    """
    tick = num_video_frames / float(max(num_frames, 1))
    return [
        uniform_indices(num_video_frames, num_frames),
        [int(tick * segment) for segment in range(num_frames)],
    ]


def train_clip(
    num_video_frames: int, num_frames: int, sampling: Sampling, generator: torch.Generator | None = None
) -> list[int]:
    """The frames of a training sample: a random window for "dense", else a random frame of every segment.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames wanted, T.
        sampling: the way of sampling; "twice" differs from "uniform" in the test only.
        generator: where the randomness comes from; torch's own generator by default.

    Raises:
        ValueError: a number is not positive, or "dense" is to give more than 64 frames.
    """
    draw = dense_indices if sampling == "dense" else random_indices
    return draw(num_video_frames, num_frames, generator)


def eval_clips(num_video_frames: int, num_frames: int, sampling: Sampling, num_clips: int = 1) -> list[list[int]]:
    """The clips of a test sample, always the same.

    Args:
        num_video_frames: frames in the video.
        num_frames: frames of a clip, T.
        sampling: the way of sampling.
        num_clips: see ``check_sampling``.

    Returns:
        ``num_clips`` lists of T indices in [0, num_video_frames).

    Raises:
        ValueError: a number is not positive, or the sampling has not so many clips.
    """
    check_sampling(sampling, num_frames, num_clips)
    if sampling == "dense":
        return dense_clips(num_video_frames, num_frames, num_clips)
    return twice_clips(num_video_frames, num_frames)[:num_clips]


def check_sampling(sampling: str, num_frames: int, num_clips: int) -> None:
    """See that a way of sampling exists and gives so many frames and clips of a video.

    Raises:
        ValueError: "uniform" has one clip, "twice" one or two and "dense" any number, of 64 frames at most.
    """
    if sampling not in get_args(Sampling):
        raise ValueError(f"sampling is one of {', '.join(get_args(Sampling))}, not {sampling!r}")
    most = {"uniform": 1, "twice": 2}.get(sampling, num_clips)
    if not 1 <= num_clips <= most:
        raise ValueError(f"{sampling} sampling gives {most} clips of a video at most and one at least, not {num_clips}")
    if num_frames < 1 or (sampling == "dense" and num_frames > WINDOW):
        raise ValueError(f"{sampling} sampling does not give clips of {num_frames} frames")


def _dense_clip(num_video_frames: int, num_frames: int, start: int) -> list[int]:
    stride = WINDOW // num_frames
    return [(start + stride * frame) % num_video_frames for frame in range(num_frames)]


def _check_dense(num_video_frames: int, num_frames: int) -> None:
    _check(num_video_frames, num_frames)
    if num_frames > WINDOW:
        raise ValueError(f"a dense clip has {WINDOW} frames at most, not {num_frames}")


def _check(num_video_frames: int, num_frames: int) -> None:
    if num_video_frames < 1 or num_frames < 1:
        raise ValueError(f"frames are sampled from 1 or more to 1 or more, not {num_video_frames} to {num_frames}")
