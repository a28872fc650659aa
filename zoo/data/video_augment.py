"""Augmentations of a clip for training: a mirror that knows about labels, colours, RandAugment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoAugment:
    """Changes a clip before the model's own transform cuts and scales it; all frames of a clip change alike.

    The steps are mirroring, colour jitter and RandAugment (Cubuk et al. 2020); chance is torch's own generator.

    Attributes:
        mirror: for every class the class of its mirror image, or None where it must not be mirrored, see
            ``zoo.data.mirrored_classes``; half of the other clips are mirrored and get that label. By default no
            clip is mirrored.
        color_jitter: the largest change of brightness, contrast and saturation, as a share; of the hue a quarter of it.
        randaugment_ops: operations of RandAugment one after another; 0 does none. Some turn and shift the picture.
        randaugment_magnitude: their strength, 0 to 30.

    Raises:
        ValueError: a number is out of range.
    """

    mirror: tuple[int | None, ...] | None = None
    color_jitter: float = 0.0
    randaugment_ops: int = 0
    randaugment_magnitude: int = 9

    def __post_init__(self) -> None:
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter is a share from 0 to 1, not {self.color_jitter}")
        if self.randaugment_ops < 0 or not 0 <= self.randaugment_magnitude <= 30:
            raise ValueError(
                "randaugment_ops is 0 or more and randaugment_magnitude 0 to 30, "
                f"not {self.randaugment_ops} and {self.randaugment_magnitude}"
            )

    def __call__(self, frames: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Change a clip.

        Args:
            frames: uint8 [T, 3, H, W].
            label: int64 [].

        Returns:
            Frames and label of the same shapes and types.
        """
        if self.mirror is not None:
            frames, label = mirror_clip(frames, label, self.mirror)
        for transform in self._transforms:
            frames = transform(frames)
        return frames, label

    @cached_property
    def _transforms(self) -> list[Any]:
        if not self.color_jitter and not self.randaugment_ops:
            return []
        from torchvision.transforms import v2

        share, bilinear = self.color_jitter, v2.InterpolationMode.BILINEAR
        return [
            v2.ColorJitter(share, share, share, share / 4),
            v2.RandAugment(self.randaugment_ops, self.randaugment_magnitude, interpolation=bilinear),
        ]


def mirror_clip(frames: Tensor, label: Tensor, mirror: tuple[int | None, ...]) -> tuple[Tensor, Tensor]:
    """Mirror every second clip, left to right, and give it the label that it then has.

    Args:
        frames: [T, C, H, W].
        label: int64 [].
        mirror: for every class the class of its mirror image, or None where it must not be mirrored.
    """
    mirrored = mirror[int(label)]
    if mirrored is None or torch.rand(()) >= 0.5:
        return frames, label
    return frames.flip(-1), torch.tensor(mirrored)
