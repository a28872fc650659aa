"""Where the frames of a stream come from: cameras, network streams, files and folders of frames.

A camera or a network stream may end, break or fall silent at any moment; it is opened again until it is there.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo.data.video import open_video, stream_video
from zoo.errors import InputError

log = logging.getLogger("zoo")

DEVICES = ("v4l2", "avfoundation", "dshow", "x11grab", "gdigrab", "lavfi")  # FFmpeg's names of what captures pictures
OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}}  # by scheme; pictures of RTSP over UDP are torn where packets are lost
OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0  # before a source is opened again; doubled every time
USUAL_FPS, FASTEST_FPS = 25.0, 240.0  # some streams give the unit of their clock as their rate


@dataclass(frozen=True)
class Frame:
    """A picture of a stream.

    Attributes:
        picture: uint8 [H, W, 3] RGB.
        number: of the frame, from 0; dropped ones count.
        seconds: since the stream began.
        arrived: when it was there, on the clock of ``time.perf_counter``.
        opening: how often the source had to be opened again before this frame: what came before another opening is of
            another scene.
    """

    picture: np.ndarray
    number: int
    seconds: float
    arrived: float
    opening: int = 0


class Source(Protocol):
    """What a stream needs to know of where it comes from.

    Attributes:
        is_live: whether its frames come when they come, so that one who is late has to drop some.
        fps: frames a second.
    """

    @property
    def is_live(self) -> bool: ...  # noqa: D102
    @property
    def fps(self) -> float: ...  # noqa: D102
    def __iter__(self) -> Iterator[Frame]: ...
    def close(self) -> None:
        """Let the iteration end soon, from any thread."""
        ...


def open_source(text: str, real_time: bool = False) -> Source:
    """The source that a user names.

    Args:
        text: the number of a camera, an address such as "rtsp://...", one of FFmpeg's capturing devices as
            "NAME:WHAT" (such as "avfoundation:0"), a video file, or a folder of frames.
        real_time: play files at their own speed, as if they came from a camera.

    Raises:
        InputError: it cannot be opened.
    """
    device, colon, what = text.partition(":")
    if text.isdecimal():
        if sys.platform != "linux":
            raise InputError(
                f"cameras have numbers on Linux alone: name camera {text} as 'avfoundation:{text}' (macOS) or "
                "'dshow:video=NAME' (Windows)"
            )
        return LiveSource(f"/dev/video{text}", "v4l2")
    if colon and device in DEVICES:
        return LiveSource(what, device)
    if re.match(r"[a-z][a-z0-9+.-]+://", text):
        return LiveSource(text)
    return FileSource(Path(text), real_time)


class FileSource:
    """A video file or a folder of frames: every frame in turn, or at the file's own speed.

    Raises:
        InputError: there is no video; and, from the iteration, a frame cannot be decoded.
    """

    def __init__(self, path: Path, real_time: bool = False) -> None:
        self.is_live = real_time
        self.fps = open_video(path).fps
        self._path = path
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        began = time.perf_counter()
        for number, picture in enumerate(stream_video(self._path)):
            seconds = number / self.fps
            late = time.perf_counter() - began - seconds
            if self._closed.wait(max(0.0, -late)) if self.is_live else self._closed.is_set():
                return
            yield Frame(picture.numpy(), number, seconds, time.perf_counter())

    def close(self) -> None:
        """Let the iteration end."""
        self._closed.set()


class LiveSource:
    """A camera or a network stream, opened again whenever it breaks off; a recording on a server ends.

    Args:
        address: a device or a URL, as FFmpeg takes it.
        device: FFmpeg's name of the capturing device, if it is one.

    Raises:
        InputError: it cannot be opened in the first place.
    """

    is_live = True

    def __init__(self, address: str, device: str | None = None) -> None:
        self._address, self._device = address, device
        self._closed = threading.Event()
        self._size: dict[str, int] = {}  # of the first frame; another camera that answers later is scaled to it
        try:
            self._container: Any = self._open()
        except InputError as error:
            raise InputError(f"{error}: look whether it is there and nobody else uses it") from error
        rate = float(_stream(self._container).average_rate or _stream(self._container).guessed_rate or USUAL_FPS)
        self.fps = rate if rate <= FASTEST_FPS else USUAL_FPS
        self._has_end = bool(self._container.duration)  # a recording, which need not begin again

    def __iter__(self) -> Iterator[Frame]:
        began, number, opening, pause = time.perf_counter(), 0, 0, FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                for picture in self._pictures():
                    now = time.perf_counter()
                    yield Frame(picture, number, now - began, now, opening)
                    number, pause = number + 1, FIRST_PAUSE_S
                    if self._closed.is_set():
                        return
                if self._has_end:
                    return
                reason = "it ended"
            except InputError as error:
                reason = str(error)
            log.warning("%s is away (%s): trying again in %g s", self._address, reason, pause)
            self._closed.wait(pause)
            pause, opening = min(2 * pause, LONGEST_PAUSE_S), opening + 1

    def close(self) -> None:
        """Let the iteration end, at the latest when the source has been silent for some seconds."""
        self._closed.set()

    def _pictures(self) -> Iterator[np.ndarray]:
        """The pictures until the source ends or breaks off."""
        import av

        container, self._container = self._container or self._open(), None
        with container:
            stream = _stream(container)
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                except (av.FFmpegError, OSError) as error:
                    raise InputError(_reason(error)) from error
                if packet is None:
                    return
                try:
                    pictures = packet.decode()
                except av.FFmpegError:
                    continue  # damaged on its way; the next one may be whole
                for picture in pictures:
                    self._size = self._size or {"width": picture.width, "height": picture.height}
                    yield picture.to_ndarray(format="rgb24", **self._size)

    def _open(self) -> Any:
        import av

        scheme = self._address.partition("://")[0]
        try:
            container = av.open(
                self._address,
                format=self._device,
                options=OPTIONS.get(scheme, {}),
                timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
                metadata_errors="replace",
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{self._address} cannot be opened ({_reason(error)})") from error
        if not container.streams.video:
            container.close()
            raise InputError(f"{self._address} cannot be opened (it has no pictures)")
        return container


def _stream(container: Any) -> Any:
    return container.streams.best("video")


def _reason(error: Exception) -> str:
    """What FFmpeg says, without numbers and paths."""
    import av

    if isinstance(error, av.error.ExitError):  # PyAV's way of ending what takes too long
        return "there was no answer in time"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
