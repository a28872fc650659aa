"""Where the time of a pipeline goes, and how well its stages overlap."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from zoo.processors import num_processors

Item = TypeVar("Item")
Result = TypeVar("Result")
LATENCIES = 10_000  # the last ones, so that a stream of months needs no more memory than one of minutes


@dataclass
class Stage:
    """Seconds that a stage took by the clock (a camera's frames are waited for, too) and of its thread's processor.

    Attributes:
        count: frames.
        wall: of all of them.
        last: of the last one.
        cpu: of all of them, of the processor.
    """

    count: int = 0
    wall: float = 0.0
    last: float = 0.0
    cpu: float = 0.0


@dataclass
class Stopwatch:
    """Times of the stages of a pipeline.

    Attributes:
        stages: by name, in their order.
        latencies: seconds from a frame's arrival to its being shown; none of a file, whose frames were always there.
        frames: that came out at the end.
        dropped: frames that were thrown away.
        openings: how often the source had to be opened again.
        cores: that this process may use.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))
    frames: int = 0
    dropped: int = 0
    openings: int = 0
    cores: int = field(default_factory=num_processors)
    _began: tuple[float, float] = (0.0, 0.0)
    _ended: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """The stream begins now."""
        self._began = self._ended = _now()

    def finish(self, arrived: float | None) -> None:
        """A frame has gone all the way that came at ``arrived`` (of ``time.perf_counter``), or None of a file."""
        self._ended = _now()
        self.frames += 1
        if arrived is not None:
            self.latencies.append(self._ended[0] - arrived)

    def pulling(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time that each takes to be made."""
        iterator = iter(items)
        end: object = object()
        while True:
            item = self._timed(name, lambda: next(iterator, end))
            if item is end:
                return
            yield item  # type: ignore[misc]

    def mapping(self, name: str, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """What the function makes of each item, with the time that it takes."""
        for item in items:
            yield self._timed(name, lambda item=item: function(item))  # type: ignore[misc]

    def _timed(self, name: str, work: Callable[[], Result]) -> Result:
        stage = self.stages.setdefault(name, Stage())
        wall, cpu = time.perf_counter(), time.thread_time()
        result = work()
        stage.last = time.perf_counter() - wall
        stage.wall += stage.last
        stage.cpu += time.thread_time() - cpu
        stage.count += 1
        return result

    @property
    def seconds(self) -> float:
        """From the start to the last frame."""
        return self._ended[0] - self._began[0]

    @property
    def cpu_seconds(self) -> float:
        """Of the whole process, in all threads."""
        return self._ended[1] - self._began[1]

    @property
    def work(self) -> float:
        """Seconds that the stages spent on the last frame of each, without those that it waited."""
        return sum(stage.last for stage in list(self.stages.values()))  # a copy: other threads add stages

    def attainable_seconds(self) -> float:
        """How long the frames must take at least: as long as the slowest stage, or as all work divided by the cores.

        What counts of a stage is the time of its thread's processor, which waiting for others does not lengthen.
        """
        return max([self.cpu_seconds / self.cores, *(stage.cpu for stage in self.stages.values())])

    def summary(self) -> str:
        """The stream in one line."""
        if not self.frames:
            return "no frame was shown"
        text = f"{self.frames} frames in {self.seconds:.1f} s ({self.frames / self.seconds:.1f} a second)"
        if self.dropped:
            text += f", {self.dropped} dropped"
        if self.openings:
            text += f", opened again {self.openings} time{'s' if self.openings > 1 else ''}"
        if not self.latencies:  # how long frames that were read ahead wait tells nothing
            work = sum(stage.wall / max(1, stage.count) for stage in self.stages.values())
            return f"{text}; {work * 1e3:.1f} ms of work a frame, from decoding on"
        middle, late = statistics.median(self.latencies), sorted(self.latencies)[int(0.95 * len(self.latencies))]
        return f"{text}; latency {middle * 1e3:.1f} ms in the median, {late * 1e3:.1f} ms at the 95th percentile"

    def table(self) -> str:
        """A line for each stage, then how much of what is attainable was reached."""
        lines = [f"{'stage':<12}{'ms a frame':>12}{'CPU ms':>10}"]
        for name, stage in self.stages.items():
            count = max(1, stage.count)
            lines.append(f"{name:<12}{stage.wall / count * 1e3:>12.2f}{stage.cpu / count * 1e3:>10.2f}")
        if self.frames:
            share = self.attainable_seconds() / self.seconds
            lines.append(
                f"CPU of all threads: {self.cpu_seconds / self.frames * 1e3:.2f} ms a frame, on {self.cores} cores; "
                f"{share:.2f} of the attainable speed, 1 / max(slowest stage, CPU / cores)"
            )
        return "\n".join(lines)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
