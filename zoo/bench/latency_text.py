"""The latency of weights, for their card."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zoo.bench.accuracy import fits
from zoo.bench.record import Record, Report, read_report
from zoo.bench.tables import grouped, markdown_table
from zoo.weights import WeightsSpec

COLUMNS = ("runtime", "precision", "inputs a call", "threads", "p50, ms", "p95, ms", "inputs a second", "memory, MB")
SHOWN = ("GPU", "processor", "cores", "torch", "onnxruntime", "openvino", "commit")


def read_reports(folder: Path) -> list[Report]:
    """The reports that ``zoo bench --out`` wrote to ``folder``, in the order of their names."""
    return [read_report(path) for path in sorted(folder.glob("latency_*.json"))]


def latency_text(spec: WeightsSpec, reports: Iterable[Report]) -> str:
    """A table for each machine and size of input that ``spec`` or its architecture was measured with; fastest first."""
    parts = []
    for report in reports:
        records = [record for record in report.records if fits(record, spec)]
        about = ", ".join(f"{name} {report.machine[name]}" for name in SHOWN if name in report.machine)
        for size, same in grouped(records, lambda record: record.input).items():
            head = f"One input is a {same[0].unit} of {size}, {same[0].macs / 1e9:.3g} G multiply-accumulates. {about}."
            fastest = sorted(same, key=lambda record: (record.device, record.batch, record.mode, record.p50_ms))
            parts += [head, "\n".join(markdown_table(COLUMNS, [_cells(record) for record in fastest]))]
    return "\n\n".join(parts)


def _cells(record: Record) -> tuple[str, ...]:
    streams = f"{record.threads} x {record.streams} streams" if record.mode == "saturated" else str(record.threads)
    return (
        record.runtime + (", CUDA graph" if record.cuda_graph else ""),
        record.precision,
        str(record.batch),
        streams,
        f"{record.p50_ms:.4g}" + (" (noisy)" if record.noisy else ""),
        f"{record.p95_ms:.4g}",
        f"{record.throughput:.4g}",
        "" if record.memory_mb is None else f"{record.memory_mb:.0f}",
    )
