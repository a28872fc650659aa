"""Measure jobs against each other: each in a process of its own, in turn, until their medians hold still."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import torch

from zoo.bench.calls import Block
from zoo.bench.job import Job, input_shapes, input_text
from zoo.bench.machine import clock
from zoo.bench.record import Record, Report
from zoo.bench.statistics import TOLERANCE, noise_of, percentile, steady_from, summarize
from zoo.bench.worker import Finished, Prepared, Worker, WorkerError, explain
from zoo.create import create_model
from zoo.errors import ZooError
from zoo.export.signature import is_online
from zoo.info import count_macs
from zoo.registry import architecture_task

BLOCK_SECONDS = 0.25  # one job computes so long before the next has its turn
LEAST_ROUNDS = 5  # whatever they take
ENOUGH_ROUNDS = 12  # of a job that holds still
QUIET = TOLERANCE / 2  # noise below which no more rounds are needed
YARDSTICK_SIDE = 384  # of the square matrices whose product is the yardstick: a few milliseconds on one core
YARDSTICK_RUNS = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Facts:
    """What holds for a job without running it.

    Attributes:
        task: what the model is for.
        input: the size of one input, in words.
        unit: what one is.
        parameters: of the model.
        macs: for one input.
    """

    task: str
    input: str
    unit: str
    parameters: int
    macs: int


@dataclass
class Trial:
    """A job under way."""

    job: Job
    facts: Facts
    worker: Worker
    prepared: Prepared
    blocks: list[Block] = field(default_factory=list)
    yardsticks: list[float] = field(default_factory=list)
    spent: float = 0.0

    def has_time(self, seconds: float) -> bool:
        """Whether there is time for another round."""
        return len(self.blocks) < LEAST_ROUNDS or self.spent < seconds

    def holds_still(self) -> bool:
        """Whether more rounds would not change the median."""
        medians = [statistics.median(block.times) for block in self.blocks]
        return len(medians) >= ENOUGH_ROUNDS and noise_of(medians[steady_from(medians) :]) <= QUIET


def measure(
    jobs: Sequence[Job], report: Report, *, seconds: float, end_to_end: bool, together: bool, say: Say
) -> Iterator[None]:
    """Measure ``jobs`` into ``report``; after each group that was measured against each other, the caller may save.

    Args:
        jobs: in the order of the report; those of one model, size and mode are interleaved.
        report: gets records and failures.
        seconds: that a job may compute while its median does not hold still.
        end_to_end: measure the stages from a file to labels too, one file at a time at the model's own size.
        together: interleave all jobs of one mode, whatever their model.
        say: shows a line.
    """
    found = groups(jobs, together)
    for number, group in enumerate(found, start=1):
        if len(found) > 1:
            say(f"{number} of {len(found)}: {', '.join(dict.fromkeys(job.model for job in group))}")
        trials: list[Trial] = []
        try:
            for job in group:
                with _noting(report, say):
                    trials.append(_begin(job))
            _rounds(trials, seconds, report, say)
            for trial in trials:
                with _noting(report, say):
                    report.records.append(_end(trial, end_to_end, report, say))
        finally:
            for trial in trials:
                trial.worker.close()
        yield


def groups(jobs: Iterable[Job], together: bool) -> list[list[Job]]:
    """The jobs that are measured against each other."""

    def key(job: Job) -> tuple[object, ...]:
        return (job.mode,) if together else (job.mode, job.model, job.batch, job.frames, job.points, job.setting)

    found: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        found.setdefault(key(job), []).append(job)
    return list(found.values())


def facts(job: Job) -> Facts:
    """What holds for ``job`` without running it.

    Raises:
        UnknownNameError: there is no such model.
    """
    return _facts(job.model, job.frames, job.points)


@cache
def _facts(name: str, frames: int | None, points: int | None) -> Facts:
    model: Any = create_model(name)
    shapes = input_shapes(model, Job(name, frames=frames, points=points))
    unit = "step" if is_online(model) else "clip" if len(shapes[0]) == 5 else "cloud"
    whole = [(shape[0], 1, *shape[1:]) for shape in shapes] if unit == "step" else shapes  # a clip of one frame
    inputs = tuple(torch.zeros(shape, device="meta", dtype=torch.int64 if len(shape) == 1 else None) for shape in whole)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    task = architecture_task(model.spec.architecture)
    return Facts(task, input_text(shapes), unit, parameters, count_macs(model, inputs))


@contextmanager
def _noting(report: Report, say: Say) -> Iterator[None]:
    """What cannot be measured is noted, and all else goes on."""
    try:
        yield
    except ZooError as error:
        report.failures.append(str(error))
        say(f"not measured: {error}")


def _begin(job: Job) -> Trial:
    try:
        known = facts(job)
    except (ValueError, RuntimeError, OverflowError) as error:  # PyTorch has no tensor of such a size
        raise WorkerError(f"{job}: {explain(job, error)}") from error
    worker = Worker(job)
    try:
        return Trial(job, known, worker, worker.prepared())
    except WorkerError:
        worker.close()
        raise


def _rounds(trials: list[Trial], seconds: float, report: Report, say: Say) -> None:
    """Round after round, every trial that has time computes a block, until all hold still; those that fail leave."""
    yardstick = Yardstick()
    while any(trial.has_time(seconds) and not trial.holds_still() for trial in trials):
        for trial in [trial for trial in trials if trial.has_time(seconds)]:
            before = len(trial.blocks)
            with _noting(report, say):
                _turn(trial, yardstick)
            if "clock" in report.machine:
                report.machine["clock"] = clock(report.machine["clock"])
            if len(trial.blocks) == before:
                trials.remove(trial)
                trial.worker.close()


def _turn(trial: Trial, yardstick: Yardstick) -> None:
    trial.yardsticks.append(yardstick())
    began = time.perf_counter()
    trial.blocks.append(trial.worker.block(BLOCK_SECONDS))
    trial.spent += time.perf_counter() - began


class Yardstick:
    """A fixed piece of work on one core: what it takes tells of the machine."""

    def __init__(self) -> None:
        self.matrix = torch.full((YARDSTICK_SIDE, YARDSTICK_SIDE), 1 / YARDSTICK_SIDE)

    def __call__(self) -> float:
        """Milliseconds, the fastest of a few."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return min(self._once() for _ in range(YARDSTICK_RUNS))
        finally:
            torch.set_num_threads(threads)

    def _once(self) -> float:
        started = time.perf_counter()
        self.matrix @ self.matrix
        return (time.perf_counter() - started) * 1e3


def _end(trial: Trial, end_to_end: bool, report: Report, say: Say) -> Record:
    job = trial.job
    own_size = job.batch == 1 and job.frames is None and job.points is None and job.mode == "single"
    if end_to_end and not own_size:
        say(f"{job}: no stages, a file goes through the model alone and at its own size")
    finished = trial.worker.finish(end_to_end and own_size)
    record = _record(trial, finished)
    if finished.lack:
        report.failures.append(f"{job}, from a file to labels: {finished.lack}")
        say(f"not measured: {report.failures[-1]}")
    others = f", others used {record.others:.0%} of the processors" if record.others > TOLERANCE else ""
    warning = f", noisy{others}: measure again on a quieter machine" if record.noisy else ""
    say(f"{record.label}: {record.p50_ms:.4g} ms (±{record.noise / 2:.1%}{warning}), {record.throughput:.4g} a second")
    return record


def _record(trial: Trial, finished: Finished) -> Record:
    job, prepared = trial.job, trial.prepared
    rounds = [block.times for block in trial.blocks]
    start = steady_from([statistics.median(times) for times in rounds])
    return Record(
        model=job.model,
        requested=job.runtime,
        runtime=prepared.runtime,
        requested_precision=job.precision,
        precision=prepared.precision,
        device=job.device,
        batch=job.batch,
        frames=job.frames,
        points=job.points,
        threads=job.threads,
        mode=job.mode,
        streams=job.streams,
        cuda_graph=job.cuda_graph,
        setting=job.setting,
        throughput=statistics.median(block.rate for block in itertools.islice(trial.blocks, start, None)),
        memory_mb=finished.memory_mb,
        prepare_memory_mb=prepared.memory_mb,
        base_memory_mb=prepared.base_memory_mb,
        load_seconds=prepared.load_seconds,
        prepare_seconds=prepared.prepare_seconds,
        first_ms=prepared.first_ms,
        yardstick_ms=percentile(trial.yardsticks, 0.5),
        **asdict(summarize(rounds, statistics.fmean(block.others for block in trial.blocks))),
        **asdict(trial.facts),
        **asdict(finished.stages),
    )
