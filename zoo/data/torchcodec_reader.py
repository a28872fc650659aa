"""Reading videos with torchcodec, an optional decoder that is kept up with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.video_decoders import AvReader, check_indices
from zoo.errors import InputError


class TorchcodecReader:
    """Reads videos with torchcodec, in its exact mode.

    PyAV lists the file first, so that a file cut short is refused and turned videos are told of, as by the others.

    Attributes:
        num_frames: frames that the file promises.
        fps: frames a second.
        warnings: what a user should know about the frames that were read.

    Raises:
        InputError: the file holds no video or ends before its time, or torchcodec is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from torchcodec.decoders import VideoDecoder
        except (ImportError, RuntimeError, OSError) as error:  # without FFmpeg's libraries it raises a RuntimeError
            raise InputError("torchcodec is missing: `pip install torchcodec`, with FFmpeg beside it") from error
        self.path = Path(path)
        self._listed = AvReader(path)
        self.num_frames, self.fps = self._listed.num_frames, self._listed.fps
        try:
            self._decoder = VideoDecoder(
                str(self.path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact"
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self.path}: torchcodec does not read it; choose the decoder 'pyav'") from error
        if len(self._decoder) != self.num_frames:
            raise InputError(
                f"{self.path}: torchcodec counts {len(self._decoder)} frames and PyAV {self.num_frames}; "
                "choose the decoder 'pyav'"
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the frames that were read."""
        return self._listed.warnings

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames ``indices``, in their order, uint8 [T, H, W, 3] RGB.

        Raises:
            InputError: one of them cannot be decoded.
        """
        unique = check_indices(indices, self.num_frames)
        self._listed.check(unique)  # like decord, it passes over damaged pictures without a word
        try:
            frames: Tensor = self._decoder.get_frames_at(indices=unique).data
        except (RuntimeError, IndexError) as error:
            raise InputError(f"{self.path}: torchcodec cannot decode it; choose the decoder 'pyav'") from error
        return frames[torch.tensor([unique.index(index) for index in indices])]
