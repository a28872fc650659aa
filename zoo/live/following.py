"""A stream through an online model: its frames are decoded, prepared, judged, drawn on and written at the same time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.video_writer import annotate
from zoo.live.overlap import Overlap
from zoo.live.smoothing import Decision
from zoo.live.sources import Frame, Source
from zoo.live.stopwatch import Stopwatch
from zoo.live.streams import Streams

AHEAD_LIVE, AHEAD_FILE = 1, 4  # frames that wait between two stages: late pictures are of no use, of a file they are
REFRESH_S = 0.25  # how often the figures on the picture change, so that they can be read
RATE_S = 1.0  # over which frames a second are counted
LONGEST_GAP_S = 1.0  # in a recording: where a camera was away for longer, it is cut out


@dataclass(frozen=True)
class Shown:
    """A frame on its way.

    Attributes:
        frame: as it came.
        input: of the model, [C, H, W]; None where the model does not see the frame.
        decision: the last one; None before the first.
        picture: with the text, uint8 [H, W, 3].
    """

    frame: Frame
    input: Tensor | None = None
    decision: Decision | None = None
    picture: np.ndarray | None = None


class Following:
    """Iterates over the frames of a source, with what is decided of them drawn on.

    Args:
        source: of the frames.
        streams: of the model; the first is taken.
        transform: the model's, of uint8 [T, C, H, W].
        write: takes the pictures one by one, at the source's frames a second; None does not write them.
        overlap: whether every stage has a thread of its own; without, they work one after another.

    Attributes:
        stopwatch: where the time went.
    """

    def __init__(
        self,
        source: Source,
        streams: Streams,
        transform: Callable[[Tensor], Tensor],
        write: Callable[[np.ndarray], Any] | None = None,
        overlap: bool = True,
    ) -> None:
        self.stopwatch = Stopwatch()
        self._source, self._streams, self._transform = source, streams, transform
        self._every = streams.smoother.rules.every
        self._recorder = Recorder(write, source.fps, source.is_live) if write is not None else None
        self._decision: Decision | None = None
        self._prepared: Frame | None = None
        self._opening = 0
        self._status = Status()
        self._overlap = overlap
        self._threads: list[Overlap[Any]] = []

    def __iter__(self) -> Iterator[Shown]:
        for shown in self.polling(None):
            assert shown is not None
            yield shown

    def polling(self, timeout: float | None) -> Iterator[Shown | None]:
        """The frames; and None whenever there was no frame for ``timeout`` seconds."""
        shown = self._start()
        try:
            while True:
                try:
                    each = shown.next(timeout) if isinstance(shown, Overlap) else next(shown)
                except TimeoutError:
                    yield None
                    continue
                except StopIteration:
                    return
                self.stopwatch.dropped = self._threads[0].dropped if self._threads else 0
                self.stopwatch.openings = each.frame.opening
                self.stopwatch.finish(self._arrival(each.frame))
                yield each
        finally:
            self._source.close()
            for thread in self._threads:
                thread.close()
            for thread in self._threads[1:]:  # not for the camera, which may be silent
                thread.join()

    def _start(self) -> Any:
        watch = self.stopwatch
        watch.start()
        coming = "receive" if self._source.is_live else "decode"  # of what is live, most of it is waiting
        items: Any = self._aside(watch.pulling(coming, self._source), drop=self._source.is_live)
        items = self._aside(watch.mapping("prepare", self._prepare, items))
        items = self._aside(watch.mapping("model", self._decide, items))
        items = self._aside(watch.mapping("draw", self._draw, items))
        if self._recorder is not None:
            items = self._aside(watch.mapping("write", self._recorder, items))
        return items

    def _aside(self, items: Iterable[Any], drop: bool = False) -> Iterable[Any]:
        if not self._overlap:
            return items
        self._threads.append(Overlap(items, AHEAD_LIVE if self._source.is_live else AHEAD_FILE, drop))
        return self._threads[-1]

    def _arrival(self, frame: Frame) -> float | None:
        """When a frame came; None of a file, which is read ahead."""
        return frame.arrived if self._source.is_live else None

    def _prepare(self, frame: Frame) -> Shown:
        last = self._prepared
        if last is not None and last.opening == frame.opening and frame.number - last.number < self._every:
            return Shown(frame)
        self._prepared = frame
        with torch.inference_mode():
            return Shown(frame, self._transform(torch.from_numpy(frame.picture).permute(2, 0, 1)[None])[0])

    def _decide(self, shown: Shown) -> Shown:
        if shown.frame.opening != self._opening:
            self._streams.reset(0)
            self._opening = shown.frame.opening
        if shown.input is not None:
            self._decision = self._streams.step({0: shown.input})[0]
        return replace(shown, input=None, decision=self._decision)

    def _draw(self, shown: Shown) -> Shown:
        assert shown.decision is not None  # the model sees the first frame
        arrived = self._arrival(shown.frame)
        latency = time.perf_counter() - arrived if arrived is not None else self.stopwatch.work
        lines = (f"{shown.decision.label}  {shown.decision.score:.0%}", self._status(latency))
        return replace(shown, picture=annotate(shown.frame.picture, lines))


class Status:
    """Frames a second and the latency, in words, which change a few times a second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._text, self._written = "", float("-inf")

    def __call__(self, latency: float) -> str:
        """The words, after another frame.

        Args:
            latency: seconds since it came from a camera; of a file, which is read ahead, the work on a frame.
        """
        now = time.perf_counter()
        self._times.append(now)
        while now - self._times[0] > RATE_S:
            self._times.popleft()
        if now - self._written >= REFRESH_S:
            passed = now - self._times[0]
            rate = [f"{(len(self._times) - 1) / passed:.0f} frames/s"] if passed else []
            self._text, self._written = ", ".join([*rate, f"latency {latency * 1e3:.0f} ms"]), now
        return self._text


class Recorder:
    """Writes pictures at a constant rate: those of a camera as often as their time demands, those of a file once.

    Args:
        write: takes the pictures.
        fps: of what is written.
        is_live: whether the pictures come at odd times.
    """

    def __init__(self, write: Callable[[np.ndarray], Any], fps: float, is_live: bool) -> None:
        self._write, self._fps, self._is_live = write, fps, is_live
        self._written = 0
        self._skipped = 0.0  # seconds of gaps

    def __call__(self, shown: Shown) -> Shown:
        """Write the picture as often as it is due."""
        due = 1
        if self._is_live:
            behind = shown.frame.seconds - self._skipped - self._written / self._fps  # seconds
            if behind > LONGEST_GAP_S:
                self._skipped += behind
                behind = 0.0
            due = max(0, round(behind * self._fps) + 1)
        for _ in range(due):
            self._write(shown.picture)  # type: ignore[arg-type]
        self._written += due
        return shown
