"""``zoo bench``: measure latency, keep records, and say what got slower."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, get_args

import torch

from zoo.arguments import positive
from zoo.bench.compare import check_same_machine, compare
from zoo.bench.job import Job, Mode
from zoo.bench.machine import machine
from zoo.bench.plan import KNOWN, Options, job_again, jobs_of, model_names, preset_jobs, usable_runtimes
from zoo.bench.presets import PRESETS
from zoo.bench.record import Report, read_report
from zoo.bench.session import measure
from zoo.data.outputs import check_folder
from zoo.errors import InputError
from zoo.export.optimize import Precision

SECONDS = 20.0


def add_parser(commands: Any) -> None:
    """Add the command to the sub-parsers of ``zoo``."""
    parser = commands.add_parser("bench", help="measure latency, memory, and where time goes")
    what = parser.add_argument_group("what is measured")
    what.add_argument("models", nargs="*", metavar="NAME", help="as for `zoo list`; a wildcard such as 'tsm_*', too")
    what.add_argument("--all", action="store_true", help="every architecture, and the weights that come with the zoo")
    what.add_argument("--preset", choices=list(PRESETS), help="the papers' settings")
    what.add_argument(
        "--runtime", nargs="+", default=["eager"], metavar="NAME", help="plain (the model as it is), auto, eager, ..."
    )
    what.add_argument("--dtype", nargs="+", default=["fp32"], choices=get_args(Precision), help="(default: fp32)")
    what.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    what.add_argument("--batch", nargs="+", type=positive, default=[1], metavar="B", help="(default: 1)")
    what.add_argument("--frames", nargs="+", type=positive, default=[None], metavar="T", help="of clips")
    what.add_argument("--points", nargs="+", type=positive, default=[None], metavar="N", help="of clouds")
    what.add_argument(
        "--threads", nargs="+", type=positive, default=[None], metavar="N", help="of a call (default: all cores)"
    )
    what.add_argument(
        "--mode", nargs="+", choices=get_args(Mode), default=["single"], help="one call at a time, or many"
    )
    what.add_argument("--cuda-graph", action="store_true", help="measure the call as a CUDA graph too")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--seconds",
        type=_seconds,
        default=SECONDS,
        help=f"that each may compute while its median does not hold still (default: {SECONDS:g})",
    )
    how.add_argument("--together", action="store_true", help="all models in turn, not only the runtimes of each")
    how.add_argument(
        "--end-to-end",
        action="store_true",
        help="measure the way from a file to labels too, one at a time and of the model's own size",
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--out", type=Path, metavar="FOLDER", help="for latency_DEVICE.json, .csv and .md")
    out.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help="say what got slower, with exit code 1; alone: measure it again",
    )
    out.add_argument("--plots", type=Path, metavar="FOLDER", help="for pictures")
    parser.set_defaults(command=run, default_of=parser.get_default)


def run(options: argparse.Namespace) -> int:
    """Measure what was asked for; 0, or 1 where something failed, got slower or was stopped.

    Raises:
        InputError: nothing was measured, or the options do not fit each other or this machine.
    """
    old = read_report(options.compare) if options.compare else None
    again = old if old and old.records and not (options.models or options.all or options.preset) else None
    _refuse_unused(options, again is not None)
    was_said = options.device != options.default_of("device")
    device = _checked_device(again.records[0].device if again and not was_said else options.device)
    for folder in filter(None, (options.out, options.plots)):
        check_folder(folder)
    if options.plots:
        from zoo.bench.plots import need_matplotlib, write_plots

        need_matplotlib()
    runtimes, absent = usable_runtimes(options.runtime)
    report = Report(machine(device), failures=list(absent))
    if old:
        check_same_machine(old, report)
    jobs = [job_again(record) for record in again.records] if again else _jobs(options, runtimes)
    print("\n".join(f"left out: {sentence}" for sentence in absent), end="\n" if absent else "")
    settings = {"seconds": options.seconds, "end_to_end": options.end_to_end, "together": options.together}
    path = options.out and options.out / "_".join(["latency", device, *([options.preset] if options.preset else [])])
    stopped = False
    try:
        for _ in measure(jobs, report, say=lambda line: print(line, flush=True), **settings):
            if path:
                report.write(path)
    except KeyboardInterrupt:
        if not report.records:
            raise
        print("stopped: what was measured is kept")
        stopped = True
    if not report.records:
        raise InputError("nothing was measured, for the reasons above")
    print("", *report.tables(), sep="\n")
    if options.plots:
        written = write_plots(report, options.plots)
        nothing = "no pictures: they need models whose accuracy is known, or several sizes, or --end-to-end"
        print("\n".join(f"wrote {path}" for path in written) or nothing)
    changes = compare(old, report) if old else []
    for change in changes:
        print(change)
    is_unknown = not set(options.runtime) <= set(KNOWN)
    return int(
        stopped or is_unknown or any(change.is_slower for change in changes) or len(report.failures) > len(absent)
    )


def _checked_device(device: str) -> str:
    """``device``, if it can be measured here."""
    if device not in ("cpu", "cuda"):
        raise InputError(
            f"the device {device!r} cannot be measured: cpu and cuda can (CUDA_VISIBLE_DEVICES chooses a GPU)"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU: leave out --device cuda")
    return device


def _refuse_unused(options: argparse.Namespace, again: bool) -> None:
    """Refuse sizes and ways of measuring that nothing would look at."""
    unused, why = ["batch", "frames", "points", "mode"], "a preset has its own sizes"
    if again:
        unused, why = [*unused, "runtime", "dtype", "threads"], "--compare alone measures as then"
    elif not options.preset or options.models or options.all:
        return
    for name in unused:
        if getattr(options, name) != options.default_of(name):
            raise InputError(f"{why}: leave out --{name}, or name models")


def _jobs(options: argparse.Namespace, runtimes: list[str]) -> list[Job]:
    names = model_names(options.models, options.all)
    if not names and not options.preset:
        raise InputError("name models, see `zoo list`, or ask for --all or --preset paper")
    if options.cuda_graph and options.device == "cpu":
        raise InputError("CUDA graphs are for GPUs: leave out --cuda-graph, or add --device cuda")
    settings = Options(
        runtimes,
        options.dtype,
        options.device,
        options.batch,
        options.frames,
        options.points,
        options.threads,
        options.mode,
        (False, True) if options.cuda_graph else (False,),
    )
    return preset_jobs(PRESETS.get(options.preset, ()), settings) + jobs_of(names, settings)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"give a number above 0, not {text!r}")
    return seconds
