"""From names and options to jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from zoo import hub
from zoo.bench.job import PLAIN, Job, Mode
from zoo.bench.presets import Setting
from zoo.bench.record import Record
from zoo.bench.session import facts
from zoo.errors import InputError
from zoo.export import RUNTIMES, missing
from zoo.processors import num_processors
from zoo.registry import list_models

OWN = (PLAIN, "auto")
"""Runtimes that are not of ``zoo.export.RUNTIMES``."""
KNOWN = (*OWN, *RUNTIMES)


@dataclass(frozen=True)
class Options:
    """What every model is measured with: all combinations.

    Attributes:
        runtimes: that are here.
        precisions: to ask for.
        device: such as "cpu".
        batches: inputs a call.
        frames: of clips; None is the model's own number.
        points: of clouds; None is the model's own number.
        threads: of a call; None is all processors, or one a stream where they are saturated.
        modes: one call after another, or many at once.
        graphs: without and with CUDA graphs.
    """

    runtimes: Sequence[str]
    precisions: Sequence[str]
    device: str = "cpu"
    batches: Sequence[int] = (1,)
    frames: Sequence[int | None] = (None,)
    points: Sequence[int | None] = (None,)
    threads: Sequence[int | None] = (None,)
    modes: Sequence[Mode] = ("single",)
    graphs: Sequence[bool] = (False,)


def usable_runtimes(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The runtimes of ``names`` that are here, and a sentence about each of the others.

    Raises:
        InputError: none of them is here.
    """

    def lack_of(name: str) -> str | None:
        if name not in KNOWN:
            return f"there is no runtime {name!r}: there are {', '.join(KNOWN)}"
        return None if name in OWN else missing(name)

    lacks = {name: lack_of(name) for name in names}
    usable = [name for name, lack in lacks.items() if lack is None]
    absent = [lack for lack in lacks.values() if lack is not None]
    if not usable:
        raise InputError("; ".join(absent))
    return usable, absent


def model_names(patterns: Sequence[str], everything: bool) -> list[str]:
    """The names that ``patterns`` stand for; ``everything`` adds all architectures and the bundled weights.

    Raises:
        InputError: a wildcard fits no name.
    """
    names = [*list_models(), *hub.bundled_names()] if everything else []
    for pattern in patterns:
        found = [pattern]
        if "*" in pattern:
            found = list_models(pattern, pretrained=True) if "." in pattern else list_models(pattern)
        if not found:
            raise InputError(f"no model fits {pattern!r}; `zoo list` shows all")
        names += found
    return list(dict.fromkeys(names))


def jobs_of(names: Sequence[str], options: Options) -> list[Job]:
    """The jobs for ``names``.

    Raises:
        UnknownNameError: there is no such model.
        InputError: a number of frames or points is asked for, and none of the models takes any.
    """
    units = {name: facts(Job(name)).unit for name in names}
    for option, numbers, unit in (("--frames", options.frames, "clip"), ("--points", options.points, "cloud")):
        if any(numbers) and units and unit not in units.values():
            raise InputError(f"{option} is of {unit}s, and none of these models takes them: leave it out")
    jobs = []
    for name, unit in units.items():
        frames = options.frames if unit == "clip" else (None,)
        points = options.points if unit == "cloud" else (None,)
        for batch, num_frames, num_points, mode in product(options.batches, frames, points, options.modes):
            jobs += _variants(Job(name, batch=batch, frames=num_frames, points=num_points, mode=mode), options)
    return jobs


def preset_jobs(settings: Sequence[Setting], options: Options) -> list[Job]:
    """The jobs of a preset, with the runtimes, precisions and threads of ``options``."""
    jobs = []
    for setting in settings:
        for model in setting.models:
            size = {"batch": setting.batch, "frames": setting.frames, "points": setting.points}
            jobs += _variants(Job(model, **size, mode=setting.mode, setting=setting.name), options)  # type: ignore[arg-type]
    return jobs


def job_again(record: Record) -> Job:
    """The job that gave ``record``."""
    mode: Mode = "saturated" if record.mode == "saturated" else "single"
    runtime, precision = record.requested, record.requested_precision
    size = (record.batch, record.frames, record.points)
    return Job(
        record.model, runtime, precision, record.device, *size, record.threads, mode, record.cuda_graph, record.setting
    )


def _variants(job: Job, options: Options) -> list[Job]:
    """``job`` in all runtimes; a plain model computes in the precision that it has."""
    own = 1 if job.mode == "saturated" else num_processors()
    found = [
        Job(
            job.model,
            runtime,
            "fp32" if runtime == PLAIN else precision,
            options.device,
            job.batch,
            job.frames,
            job.points,
            threads or own,
            job.mode,
            graph,
            job.setting,
        )
        for threads, runtime, precision, graph in product(
            options.threads, options.runtimes, options.precisions, options.graphs
        )
    ]
    return list(dict.fromkeys(found))
