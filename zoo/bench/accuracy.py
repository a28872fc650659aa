"""Which weights a record is of, and how accurate they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoo.bench.record import Record
from zoo.hub.card import own_metrics
from zoo.registry import find_weights, list_models
from zoo.weights import Metric, VideoInput, WeightsSpec, channels_of


@dataclass(frozen=True)
class Point:
    """Weights in the plane of latency and accuracy.

    Attributes:
        name: of the weights.
        record: their latency.
        metric: their accuracy.
    """

    name: str
    record: Record
    metric: Metric


def fits(record: Record, spec: WeightsSpec) -> bool:
    """Whether ``record`` holds for the weights: it is of them, or of their architecture at the size of their input."""
    if record.model == spec.name:
        return True
    return record.model == spec.architecture and record.input == _input_text(spec, record.unit)


def _input_text(spec: WeightsSpec, unit: str) -> str:
    if not isinstance(spec.input, VideoInput):
        return f"{channels_of(spec.input.features)} x {spec.input.num_points}"
    picture = f"{len(spec.input.mean)} x {spec.input.crop_size} x {spec.input.crop_size}"
    return picture if unit == "step" else f"{spec.input.num_frames} x {picture}"


def points_of(records: Iterable[Record]) -> list[Point]:
    """One point for each record of single inputs and each of the weights that it is of and that have a figure.

    Figures are of the input's size that the weights are for, and of float32: no other was shown to be as accurate.
    """
    specs = [find_weights(name) for name in list_models(pretrained=True)]
    return [
        Point(spec.name, record, metrics[0])
        for record in records
        if record.batch == 1 and record.mode == "single" and record.precision == "fp32"
        for spec in specs
        if fits(record, spec) and record.input == _input_text(spec, record.unit) and (metrics := own_metrics(spec))
    ]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points than which none is both faster and more accurate, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.record.p50_ms, -point.metric.value)):
        if not front or point.metric.value > front[-1].metric.value:
            front.append(point)
    return front
