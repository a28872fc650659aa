"""Videos: files and folders of frames behind one small protocol, and the clip that a model sees."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from zoo.data.points import POINT_SUFFIXES
from zoo.data.sampling import random_indices, uniform_indices
from zoo.data.video_decoders import AvReader, DecordReader, check_indices
from zoo.errors import InputError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FRAME_SUFFIXES = {".jpg", ".jpeg", ".png"}
_POINT_SUFFIXES = POINT_SUFFIXES | {".las", ".laz"}

Decoder = Literal["auto", "decord", "pyav", "torchcodec", "frames"]


class VideoReader(Protocol):
    """What a source of frames offers.

    Attributes:
        num_frames: frames in the video.
        fps: frames a second.
        warnings: what a user should know about the frames that were read.
    """

    @property
    def num_frames(self) -> int: ...  # noqa: D102
    @property
    def fps(self) -> float: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames ``indices``, in their order and upright, uint8 [T, H, W, 3] RGB.

        Raises:
            InputError: one of them cannot be decoded.
            ValueError: an index is out of range.
        """
        ...


@dataclass(frozen=True)
class Clip:
    """The frames of a video that a model sees.

    Attributes:
        frames: uint8 [T, H, W, 3] RGB, upright.
        indices: which frames of the video they are, T numbers from 0.
        fps: frames a second of the whole video.
        num_video_frames: frames in the whole video.
        warnings: what a user should know, each a sentence.
    """

    frames: Tensor
    indices: tuple[int, ...]
    fps: float
    num_video_frames: int
    warnings: tuple[str, ...]


class FrameFolderReader:
    """Reads a folder of JPEG or PNG frames, ``img_2.jpg`` before ``img_10.jpg``.

    Attributes:
        files: the pictures, in their order.
        num_frames: how many.
        fps: what was given; a folder does not tell.
        warnings: none.

    Raises:
        InputError: the folder is missing or holds no picture.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, path: str | os.PathLike[str], fps: float = 25.0) -> None:
        self.path = Path(path)
        self.fps = fps
        if not self.path.is_dir():
            raise InputError(f"{self.path} is no folder; give a folder of .jpg or .png frames")
        files = [file for file in self.path.iterdir() if file.suffix.lower() in FRAME_SUFFIXES and file.name[0] != "."]
        if not files:
            raise InputError(f"{self.path} holds no .jpg or .png frames; give a folder that does, or a video file")
        self.files = sorted(files, key=lambda file: _natural(file.name))
        self.num_frames = len(files)
        self._size: tuple[int, ...] | None = None

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames ``indices``, in their order, uint8 [T, H, W, 3] RGB.

        Raises:
            InputError: one of them cannot be read, or is of another size than the first frame of the folder.
        """
        unique = check_indices(indices, self.num_frames)
        frames = {index: self._read_one(self.files[index]) for index in unique}
        if self._size is None:
            self._size = tuple((frames[0] if 0 in frames else self._read_one(self.files[0])).shape[:2])
        height, width = self._size
        for index, frame in frames.items():
            if frame.shape[:2] != (height, width):
                raise InputError(
                    f"{self.files[index]} is {frame.shape[1]}x{frame.shape[0]} and {self.files[0].name} is "
                    f"{width}x{height}; scale the frames of a folder to one size"
                )
        return torch.stack([frames[index] for index in indices])

    @staticmethod
    def _read_one(file: Path) -> Tensor:
        """One picture, uint8 [H, W, 3]."""
        import numpy as np
        from PIL import Image, ImageOps

        try:
            with Image.open(file) as image:
                return torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB")))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as a picture; copy it again or take it away") from error


def open_video(path: str | os.PathLike[str]) -> VideoReader:
    """Open a video file, or a folder of frames, with the reader that reads it exactly.

    H.264 in MP4 or MOV is decoded by decord (where that is installed), everything else by PyAV.

    Raises:
        InputError: there is no video at ``path``.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolderReader(path)
    _check_video_file(path)
    reader = AvReader(path)
    if reader.decord_is_exact and importlib.util.find_spec("decord"):
        return DecordReader(reader)
    return reader


def open_video_with(decoder: Decoder, path: str | os.PathLike[str]) -> VideoReader:
    """Open a video with a decoder by its name; all give the same frames.

    Args:
        decoder: "pyav" reads everything; "decord" H.264 in MP4 and MOV, and "torchcodec" (an extra) what FFmpeg does;
            "frames" folders of pictures. "auto" takes "frames" or "pyav", which on short clips is the quickest: decord
            passes over damage in silence, so that a second decoder has to look first.
        path: the video file, or a folder of frames (which "frames" reads, whatever was chosen for files).

    Raises:
        InputError: there is no video at ``path``, the decoder does not read it exactly, or it is not installed.
        ValueError: ``decoder`` is another name.
    """
    if decoder not in get_args(Decoder):
        raise ValueError(f"decoder is one of {', '.join(get_args(Decoder))}, not {decoder!r}")
    path = Path(path)
    if decoder == "frames" or path.is_dir():
        return FrameFolderReader(path)
    _check_video_file(path)
    if decoder == "torchcodec":
        from zoo.data.torchcodec_reader import TorchcodecReader

        return TorchcodecReader(path)
    return DecordReader(path) if decoder == "decord" else AvReader(path)


def stream_video(path: str | os.PathLike[str]) -> Iterator[Tensor]:
    """All frames of a video one after another, decoded once and in bounded memory, uint8 [H, W, 3] RGB, upright.

    Raises:
        InputError: there is no video at ``path``, or a frame cannot be decoded.
    """
    reader = open_video(path)
    if isinstance(reader, FrameFolderReader):
        return (reader.read([index])[0] for index in range(reader.num_frames))
    return iter(reader if isinstance(reader, AvReader) else AvReader(path))


def read_clip(
    path: str | os.PathLike[str],
    num_frames: int,
    sampling: Literal["uniform", "random"] = "uniform",
    generator: torch.Generator | None = None,
) -> Clip:
    """Sample ``num_frames`` frames of a video file or a folder of frames.

    Args:
        path: the video file or the folder.
        num_frames: frames wanted, T.
        sampling: "uniform" as in testing or "random" as in training, see ``zoo.data.sampling``.
        generator: where the randomness of "random" comes from.

    Raises:
        InputError: there is no video at ``path``, or a wanted frame cannot be decoded.
        ValueError: ``num_frames`` is not positive or ``sampling`` is unknown.
    """
    if sampling not in ("uniform", "random"):
        raise ValueError(f"sampling is 'uniform' or 'random', not {sampling!r}")
    reader = open_video(path)
    if sampling == "uniform":
        indices = uniform_indices(reader.num_frames, num_frames)
    else:
        indices = random_indices(reader.num_frames, num_frames, generator)
    frames = reader.read(indices)
    warnings = reader.warnings
    if reader.num_frames < num_frames:
        warnings += (f"{path}: {reader.num_frames} frames are fewer than the {num_frames} wanted: some are repeated",)
    return Clip(frames, tuple(indices), reader.fps, reader.num_frames, warnings)


def _check_video_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path} is not there; give the path of a video file or a folder of frames")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy or download the video again")
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single picture; give a video file or a folder of frames")
    if suffix in _POINT_SUFFIXES:
        raise InputError(f"{path} is no video; a point cloud goes to a point model (`zoo list` shows them)")


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key in which numbers count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
