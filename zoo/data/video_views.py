"""Which parts of a video a model is asked about in a test: its clips in time, and crops of their frames.

The protocols are those of TSM (Lin et al. 2019, section 5.1): one centre crop; ten crops of the training's size; ten
dense clips, or two uniform ones, with three crops each of the whole short side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.video import Decoder, open_video_with
from zoo.errors import InputError
from zoo.weights import VideoInput


@dataclass(frozen=True)
class VideoViews:
    """The views of one video: every clip is seen in every crop.

    Attributes:
        name: of the protocol.
        sampling: how the frames of a clip are chosen.
        num_clips: how many clips.
        crops: "center" is the preprocessing of the model itself; "ten" are the corners and the middle, each mirrored
            too; "three" are the left, the right and the middle part, as high as the frame.
        resize_size: to what the short side of a frame is scaled, in pixels.
        crop_size: S, the side of a crop, in pixels.
        squash: whether "center" scales the whole frame to the square instead, cutting nothing off.
    """

    name: str
    sampling: Literal["uniform", "dense", "twice"]
    num_clips: int
    crops: Literal["center", "ten", "three"]
    resize_size: int = 256
    crop_size: int = 224
    squash: bool = False

    @property
    def num_crops(self) -> int:
        """Crops of each clip."""
        return {"center": 1, "ten": 10, "three": 3}[self.crops]

    @property
    def num_views(self) -> int:
        """V, clips times crops."""
        return self.num_clips * self.num_crops

    def to_json(self) -> dict[str, Any]:
        """The views in plain containers."""
        return {**vars(self), "num_views": self.num_views}


PROTOCOLS = ("center", "crop10", "dense_10x3", "twice_x3")


def video_views(protocol: str, preprocessing: VideoInput) -> VideoViews:
    """The views of ``protocol`` at the sizes of a model: 256 and 224 pixels for the authors'.

    Args:
        protocol: "center", "crop10", "dense_10x3" or "twice_x3"; the last two crop the whole short side. Mirrored
            views ("crop10") suit only classes that do not tell left from right.
        preprocessing: of the model.

    Raises:
        InputError: there is no such protocol.
    """
    resize, crop = preprocessing.resize_size, preprocessing.crop_size
    match protocol:
        case "center":
            return VideoViews(protocol, "uniform", 1, "center", resize, crop, preprocessing.crop_mode == "squash")
        case "crop10":
            return VideoViews(protocol, "uniform", 1, "ten", resize, crop)
        case "dense_10x3":
            return VideoViews(protocol, "dense", 10, "three", resize, resize)
        case "twice_x3":
            return VideoViews(protocol, "twice", 2, "three", resize, resize)
    raise InputError(f"there is no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")


def cut_views(frames: Tensor, clips: Sequence[Sequence[int]], views: VideoViews) -> Tensor:
    """The views of a video.

    Args:
        frames: uint8 [F, C, H, W]: RGB, or optical flow whose channels are x and y in turn.
        clips: for each clip the places of its T frames in ``frames``.
        views: what to cut.

    Returns:
        uint8 [V, T, C, S, S], a clip's crops one after another.

    Raises:
        ValueError: the number of clips is not that of ``views``, or their lengths differ.
    """
    if len(clips) != views.num_clips or len({len(clip) for clip in clips}) != 1:
        raise ValueError(f"{views.name} takes {views.num_clips} clips of one length, not {[len(c) for c in clips]}")
    crops = crop_frames(frames, views)
    return torch.cat([crops[:, list(clip)] for clip in clips])


def read_views(
    path: str | os.PathLike[str],
    choose: Callable[[int], Sequence[Sequence[int]]],
    views: VideoViews,
    decoder: Decoder = "auto",
) -> Tensor:
    """The views of a video file or a folder of frames; each frame is decoded once.

    Args:
        path: the video.
        choose: from the number of frames of the video to the frames of each clip, see ``zoo.data.sampling``.
        views: what to cut.
        decoder: of video files, see ``zoo.data.video.open_video_with``.

    Returns:
        uint8 [V, T, C, S, S], see `cut_views`.

    Raises:
        InputError: the video cannot be read.
    """
    reader = open_video_with(decoder, path)
    clips = choose(reader.num_frames)
    wanted = sorted({index for clip in clips for index in clip})
    place = {index: number for number, index in enumerate(wanted)}
    frames = reader.read(wanted).permute(0, 3, 1, 2)
    return cut_views(frames, [[place[index] for index in clip] for clip in clips], views)


def crop_frames(frames: Tensor, views: VideoViews) -> Tensor:
    """The crops of all frames: uint8 [F, C, H, W] to [num_crops, F, C, S, S].

    Raises:
        ValueError: the frames are not uint8 [F, C, H, W].
    """
    if frames.dim() != 4 or frames.dtype != torch.uint8 or not frames.numel():
        raise ValueError(f"frames are uint8 [F, C, H, W], not {frames.dtype} of shape {list(frames.shape)}")
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as F

    size = views.crop_size
    scaled_to = [size, size] if views.squash else [views.resize_size]
    frames = F.resize(frames, scaled_to, v2.InterpolationMode.BILINEAR, antialias=True)
    if views.crops == "center":
        return F.center_crop(frames, [size, size]).unsqueeze(0)
    crops = []
    height, width = frames.shape[-2:]
    for top, left in crop_places(height, width, size, views.crops):
        crop = frames[..., top : top + size, left : left + size]
        crops += [crop, _mirrored(crop)] if views.crops == "ten" else [crop]
    return torch.stack(crops)


def crop_places(height: int, width: int, size: int, crops: Literal["ten", "three"]) -> list[tuple[int, int]]:
    """Top and left of the crops in the authors' order, on their grid of quarters of the free room.

    Quarters are whole pixels, so the last crop may end up to three pixels before the edge.

    Args:
        height: of the frame, in pixels.
        width: of the frame.
        size: side of the crop.
        crops: "ten": upper left, upper right, lower left, lower right, middle. "three": left, right, middle, which are
            one and the same in a frame with no room in its width, as they are in the authors' figures.

    Raises:
        ValueError: the crop is larger than the frame.
    """
    if size > min(height, width):
        raise ValueError(f"a crop of {size} pixels does not fit into a frame of {height} x {width}")
    down, right = (height - size) // 4, (width - size) // 4
    middle = (2 * down, 2 * right)
    if crops == "ten":
        return [(0, 0), (0, 4 * right), (4 * down, 0), (4 * down, 4 * right), middle]
    return [(2 * down, 0), (2 * down, 4 * right), middle]


def average_views(logits: Tensor, softmax: bool = False) -> Tensor:
    """Mean over views [..., V, K] -> float32 [..., K], as the authors average.

    Args:
        logits: of the views of one video.
        softmax: turn the mean into probabilities: for the average of several models. It does not change the order.
    """
    mean = logits.float().mean(-2)
    return mean.softmax(-1) if softmax else mean


def _mirrored(frames: Tensor) -> Tensor:
    """Left and right exchanged; in optical flow motion to the left becomes motion to the right too."""
    frames = frames.flip(-1)
    if frames.shape[-3] != 3:
        frames[..., 0::2, :, :] = 255 - frames[..., 0::2, :, :]
    return frames
