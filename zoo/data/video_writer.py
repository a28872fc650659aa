"""Writing videos: plain, and with what a model said on every frame."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.outputs import check_output, replacing
from zoo.errors import InputError

VIDEO_OUTPUTS = (".mp4", ".m4v", ".mov")
_READABLE_HEIGHT = 320  # pixels; below that text would not be readable


def write_video(path: str | os.PathLike[str], frames: Tensor | Iterable[Any], fps: float) -> None:
    """Write frames as an H.264 MP4 that browsers play, or as MPEG-4 where FFmpeg was built without H.264.

    A side of odd length is made even by repeating its last row or column.

    Args:
        path: the file, which ends in .mp4; it is replaced once all is written, and may be where the frames come from.
        frames: uint8 [T, H, W, 3] RGB, or an iterable of frames [H, W, 3], tensors or arrays of one size.
        fps: frames a second.

    Raises:
        InputError: the file cannot be written there.
        ValueError: there is no frame, a frame is something else, or ``fps`` is not positive.
    """
    number = 0
    with writing_video(path, fps) as write:
        for frame in frames:
            write(frame)
            number += 1
    if not number:
        raise ValueError("a video has one frame at least; pass uint8 frames [T, H, W, 3]")


@contextmanager
def writing_video(path: str | os.PathLike[str], fps: float) -> Iterator[Callable[[Any], None]]:
    """A function that writes one more frame to a video; the file is there at the end, unless there was an error.

    Args:
        path: the file, which ends in .mp4; it is replaced.
        fps: frames a second.

    Raises:
        InputError: the file cannot be written there.
        ValueError: ``fps`` is not positive; and, from the function, as for ``write_video``.
    """
    import av

    path = check_output(path, VIDEO_OUTPUTS)
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps is a positive number, not {fps}")
    try:
        with ExitStack() as opened:
            stream: Any = None
            shape: tuple[int, ...] = ()

            def write(frame: Any) -> None:
                nonlocal stream, shape
                picture = _checked(frame)
                if stream is None:
                    part = opened.enter_context(replacing(path.absolute()))
                    container = opened.enter_context(av.open(str(part), "w", format="mp4"))
                    stream, shape = _add_stream(container, fps, *picture.shape[:2]), picture.shape
                if picture.shape != shape:
                    raise ValueError(f"frames are of one size, not {list(shape)} and {list(picture.shape)}")
                even = np.pad(picture, [(0, side % 2) for side in picture.shape[:2]] + [(0, 0)], mode="edge")
                _encode(stream, av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"))

            yield write
            if stream is not None:
                _encode(stream, None)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path} cannot be written ({error}); give a path that you may write to") from error


def _add_stream(container: Any, fps: float, height: int, width: int) -> Any:
    stream = container.add_stream(_encoder(), rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = (side + side % 2 for side in (height, width))
    stream.pix_fmt = "yuv420p"
    stream.options = {"preset": "veryfast", "crf": "20"} if stream.codec.name == "libx264" else {"b": "4M"}
    return stream


def _encode(stream: Any, picture: Any) -> None:
    """Write what the encoder gives for one more picture; None asks for the rest."""
    stream.container.mux(stream.encode(picture))


def write_annotated_video(
    path: str | os.PathLike[str],
    frames: Tensor | Iterable[Any],
    fps: float,
    lines: Sequence[str] | Sequence[Sequence[str]],
) -> None:
    """Write frames with lines of text on them; a line that ends in a percentage gets a bar of that length.

    Frames under 320 pixels in height are enlarged by a whole number, so that the text can be read.

    Args:
        path: the file, which ends in .mp4; it is replaced once all is written, and may be where the frames come from.
        frames: uint8 [T, H, W, 3] RGB, or an iterable of frames [H, W, 3], tensors or arrays of one size.
        fps: frames a second.
        lines: such as ``["wave 81.2%", "rest 10.0%"]``, the same on every frame; or such a list for every frame.

    Raises:
        InputError: the file cannot be written there.
        ValueError: there is no frame, a frame is something else, ``fps`` is not positive, or there are fewer lists of
            lines than frames.
    """
    write_video(path, _annotated(frames, lines), fps)


def _annotated(frames: Iterable[Any], lines: Sequence[str] | Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
    """The frames, enlarged and with their lines."""
    same = tuple(str(line) for line in lines) if all(isinstance(line, str) for line in lines) else None
    for number, frame in enumerate(frames):
        if same is None and number >= len(lines):
            raise ValueError(f"there are lines for {len(lines)} frames, and more frames; give a list for each")
        yield annotate(frame, same if same is not None else lines[number])


def annotate(frame: Any, lines: Sequence[str]) -> np.ndarray:
    """A frame with lines of text on it, as ``write_annotated_video`` draws them.

    Args:
        frame: uint8 [H, W, 3] RGB.
        lines: of text; one that ends in a percentage gets a bar of that length.

    Returns:
        uint8 [H', W', 3], enlarged by a whole number where the text could not be read.

    Raises:
        ValueError: the frame is something else.
    """
    from PIL import Image

    picture = _checked(frame)
    factor = -(-_READABLE_HEIGHT // picture.shape[0])
    if factor > 1:
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    if not lines:
        return picture
    image = Image.fromarray(picture)
    label = _draw(tuple(lines), image.width, image.height)
    image.paste(label, (0, image.height - label.height), label)
    return np.asarray(image)


@functools.lru_cache(maxsize=4)
def _draw(lines: tuple[str, ...], width: int, height: int) -> Any:
    """A half transparent strip of the frame's width with the lines and their bars, RGBA."""
    from PIL import Image, ImageDraw

    size = max(12, height // 20)
    while True:
        font = _font(size)
        if size <= 8 or max(font.getlength(line) for line in lines) <= width - size:
            break
        size -= 1
    row = size * 3 // 2
    strip = Image.new("RGBA", (width, min(height, row * len(lines) + size // 2)), (0, 0, 0, 150))
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        top = size // 4 + number * row
        if percentage := re.search(r"(\d+(?:\.\d+)?)\s*%\s*$", line):
            share = min(1.0, float(percentage[1]) / 100)
            draw.rectangle((0, top, round(share * (width - 1)), top + row - 3), fill=(30, 110, 190, 220))
        draw.text((size // 2, top + row // 2 - 1), line, font=font, fill=(255, 255, 255, 255), anchor="lm")
    return strip


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _checked(frame: Any) -> np.ndarray:
    """A frame as an array, uint8 [H, W, 3]."""
    picture = frame.cpu().numpy() if isinstance(frame, torch.Tensor) else np.asarray(frame)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"a frame is uint8 [H, W, 3] RGB, not {picture.dtype} of shape {list(picture.shape)}")
    return picture


def _encoder() -> str:
    """The best encoder that FFmpeg was built with."""
    import av

    return "libx264" if "libx264" in av.codecs_available else "mpeg4"
