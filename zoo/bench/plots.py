"""Pictures of a report: accuracy against latency, latency against batch and size, and where time goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from zoo.bench.accuracy import Point, pareto_front, points_of
from zoo.bench.record import Record, Report
from zoo.bench.tables import grouped
from zoo.errors import InputError

STAGES = ("decode", "preprocess", "transfer", "model", "postprocess")
SIZE, DPI = (8, 4.5), 120
MARKERS, COLORS = "os^Dv", 10  # of dots: as many colours, then another marker


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write the pictures for which there are figures; returns the files.

    Raises:
        InputError: matplotlib is not installed, or the folder cannot be written to.
    """
    need_matplotlib()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in _figures(report):
            figure.savefig(folder / f"{name}.png", dpi=DPI)
            written.append(folder / f"{name}.png")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another with --plots") from error
    return written


def need_matplotlib() -> None:
    """Raises InputError where it is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'efficient-recognition-zoo[plots]'") from error


def _figures(report: Report) -> Iterable[tuple[str, Any]]:
    on = report.measured_on
    for dataset, points in grouped(points_of(report.records), _dataset).items():
        yield f"accuracy_{_slug(dataset)}", _accuracy(points, dataset, on)
    single = [record for record in report.records if record.mode == "single"]
    for name, label, value, rest in (
        ("batch", "inputs a call", lambda record: record.batch, lambda record: f"input {record.input}"),
        ("frames", "frames a clip", lambda record: _length(record, "clip"), lambda record: f"batch {record.batch}"),
        ("points", "points a cloud", lambda record: _length(record, "cloud"), lambda record: f"batch {record.batch}"),
    ):
        curves = _curves([record for record in single if value(record)], value, rest)
        if curves:
            yield f"latency_{name}", _latency(curves, label, on)
    staged = [record for record in report.records if record.model_ms is not None and record.batch == 1]
    if staged:
        yield "stages", _stages(staged, on)


def _dataset(point: Point) -> str:
    """Figures can be compared on one set, by one measure."""
    return f"{point.metric.name} on {point.metric.dataset}"


def _length(record: Record, unit: str) -> int:
    """Frames of a clip [T, C, H, W], points of a cloud [C, N]; 0 of anything else."""
    sides = [int(side) for side in record.input.split(" x ")]
    return 0 if record.unit != unit else sides[0] if unit == "clip" else sides[-1]


def _curves(
    records: Sequence[Record], value: Callable[[Record], int], rest: Callable[[Record], str]
) -> dict[str, list[tuple[int, float]]]:
    """Latency over ``value``, for whatever was measured at more than one while ``rest`` and all else were equal."""

    def label(record: Record) -> str:
        return ", ".join([record.model, _how(record), rest(record)])

    curves = {
        name: sorted((value(record), record.p50_ms) for record in same)
        for name, same in grouped(records, label).items()
    }
    return {name: curve for name, curve in curves.items() if len({x for x, _ in curve}) > 1}


def _how(record: Record) -> str:
    """The runtime, by which name it was asked for, and how it computed."""
    chosen = f" by {record.requested}" if record.requested != record.runtime else ""
    graph = ", graph" if record.cuda_graph else ""
    return f"{record.runtime}{chosen} {record.precision}, {record.threads} threads{graph}"


def _axes(title: str, on: str, xlabel: str, ylabel: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot(title=f"{title}\n{on}", xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    return figure, axes


def _accuracy(points: list[Point], dataset: str, on: str) -> Any:
    figure, axes = _axes(dataset, on, "median latency of one input, ms", points[0].metric.name)
    axes.set_xscale("log")
    for number, point in enumerate(sorted(points, key=lambda point: point.record.p50_ms)):
        marker = MARKERS[number // COLORS % len(MARKERS)]
        label = f"{point.name}, {point.record.runtime} {point.record.precision}"
        axes.plot(point.record.p50_ms, point.metric.value, marker, label=label)
    front = pareto_front(points)
    axes.plot(*zip(*((at.record.p50_ms, at.metric.value) for at in front), strict=True), "k--", label="Pareto front")
    figure.legend(loc="outside right upper", fontsize=7)  # names beside the dots would cover each other
    return figure


def _latency(curves: dict[str, list[tuple[int, float]]], label: str, on: str) -> Any:
    figure, axes = _axes(f"latency against {label}", on, label, "median latency, ms")
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), marker="o", label=name)
    axes.set(xscale="log", yscale="log")
    axes.legend(fontsize=7)
    return figure


def _stages(records: Sequence[Record], on: str) -> Any:
    rows = range(len(records))
    figure, axes = _axes("from a file to labels", on, "ms", "")
    left = [0.0] * len(records)
    for stage in STAGES:
        widths = [getattr(record, f"{stage}_ms") for record in records]
        axes.barh(rows, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(rows, [f"{record.model}\n{_how(record)}" for record in records], fontsize=7)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.3), ncols=len(STAGES), fontsize=7)
    return figure


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
