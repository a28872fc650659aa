"""From the frames of a clip to what a video model takes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.weights import IMAGENET_MEAN, IMAGENET_STD

# The shares of the short side that TSN and TSM cut out in training (TSN, section 3.2).
_CROP_SCALES = (1.0, 0.875, 0.75, 0.66)
USUAL_SHARE = 0.99  # of the differences of a clip, which are scaled to -1..1
CAMERA_NOISE = 0.025  # of the range of a pixel; smaller differences are not scaled up as if something moved


@dataclass(frozen=True)
class VideoTransform:
    """Scale, crop and normalise a clip; called with uint8 [T, C, H, W] it gives float32 [T, C, crop_size, crop_size].

    Evaluation scales bilinearly, with antialiasing, and takes the middle. Training takes one crop for all the frames of
    the clip, at one of four sizes with sides that differ by a step at most, from a corner, a side or the middle, and
    scales it to ``crop_size``; its randomness is torch's own generator. The authors' values are sizes are 256, 224.

    Attributes:
        resize_size: the short side before the crop, in pixels; "squash" and training do not use it.
        crop_size: height and width of the result, in pixels.
        crop_mode: "center" scales the short side and cuts out the middle; "squash" scales the whole frame to the
            square, so that nothing is cut off. In training "squash" cuts out shares of the frame's own sides.
        mean: of the C channels, as shares of 255.
        std: of the C channels, as shares of 255.
        training: whether the crop is random.
        flip: whether training mirrors every second clip; off by default, as left and right often mean something.
        frame_differences: give every frame's difference from the one before instead, in the place of the first frame
            that of the second; scaled for each clip so that 99 of 100 values are in -1..1, without ``mean`` and
            ``std``.

    Raises:
        ValueError: a size is not positive, the crop is larger than the scaled frame, ``crop_mode`` is unknown, or mean
            and std are of different lengths.
    """

    resize_size: int = 256
    crop_size: int = 224
    crop_mode: str = "center"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    training: bool = False
    flip: bool = False
    frame_differences: bool = False

    def __post_init__(self) -> None:
        if self.crop_mode not in ("center", "squash"):
            raise ValueError(f"crop_mode is 'center' or 'squash', not {self.crop_mode!r}")
        if self.crop_size < 1 or (self.crop_mode == "center" and self.resize_size < self.crop_size):
            raise ValueError(f"a crop of {self.crop_size} does not fit into frames scaled to {self.resize_size}")
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise ValueError(f"mean and std are a number for each channel, std above 0, not {self.mean} and {self.std}")
        importlib.import_module("torchvision.transforms.v2")  # now, so that the first clip does not wait for it

    def __call__(self, frames: Tensor) -> Tensor:
        """Transform the frames of one clip.

        Args:
            frames: uint8 [T, C, H, W].

        Returns:
            float32 [T, C, crop_size, crop_size]

        Raises:
            ValueError: ``frames`` is something else, or has not as many channels as ``mean``.
        """
        if not isinstance(frames, Tensor) or frames.dtype != torch.uint8 or frames.dim() != 4 or 0 in frames.shape:
            what = (frames.dtype, list(frames.shape)) if isinstance(frames, Tensor) else type(frames)
            raise ValueError(f"a video transform takes uint8 frames [T, C, H, W], not {what}")
        if frames.shape[1] != len(self.mean):
            raise ValueError(f"this transform takes frames [T, {len(self.mean)}, H, W], not {list(frames.shape)}")
        from torchvision.transforms import v2
        from torchvision.transforms.v2 import functional as F

        square = [self.crop_size, self.crop_size]
        bilinear = v2.InterpolationMode.BILINEAR
        if self.training:
            frames = F.resized_crop(frames, *self._random_box(*frames.shape[-2:]), square, bilinear, antialias=True)
        elif self.crop_mode == "squash":
            frames = F.resize(frames, square, bilinear, antialias=True)
        else:
            frames = F.resize(frames, [self.resize_size], bilinear, antialias=True)
            frames = F.center_crop(frames, square)
        if self.training and self.flip and torch.rand(()) < 0.5:
            frames = F.horizontal_flip(frames)
        frames = F.to_dtype(frames, torch.float32, scale=True)
        if self.frame_differences:
            return _scaled_differences(frames)
        return F.normalize(frames, list(self.mean), list(self.std))

    def _random_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a multi-scale crop, from one of 13 places on a grid of quarters."""
        of = (height, width) if self.crop_mode == "squash" else (min(height, width),) * 2
        heights, widths = ([self._side(int(side * scale)) for scale in _CROP_SCALES] for side in of)
        steps = range(len(_CROP_SCALES))
        # A side that was set to crop_size may stand a pixel or two over a small frame.
        sizes = [(min(heights[i], height), min(widths[j], width)) for i in steps for j in steps if abs(i - j) <= 1]
        box_height, box_width = _choose(sizes)
        # In quarters of the free room: corners, middles of the sides, the centre; and the four points between.
        places = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)] + [(y, x) for y in (1, 3) for x in (1, 3)]
        y, x = _choose(places)
        return y * ((height - box_height) // 4), x * ((width - box_width) // 4), box_height, box_width

    def _side(self, side: int) -> int:
        """The side itself, or ``crop_size`` where that is so near that scaling would only blur."""
        return self.crop_size if abs(side - self.crop_size) < 3 else max(1, side)


def _scaled_differences(frames: Tensor) -> Tensor:
    """The differences of each frame of [T, C, H, W] from the one before; cameras of little contrast look like others.

    A clip of one frame has no differences and becomes zeros.
    """
    differences = frames.diff(dim=0)
    differences = torch.cat([differences[:1] if len(differences) else torch.zeros_like(frames), differences])
    size = differences.abs().flatten()
    usual = size.kthvalue(max(1, int(USUAL_SHARE * len(size)))).values
    return differences / usual.clamp(min=CAMERA_NOISE)


def _choose(options: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return options[int(torch.randint(len(options), ()))]
