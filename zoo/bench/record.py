"""What was measured, in a form that lasts: JSON and CSV with fixed fields, a Markdown table for people."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from zoo.bench.machine import PACKAGES
from zoo.bench.presets import setting_of
from zoo.bench.tables import markdown_table
from zoo.errors import InputError

SCHEMA = 1
"""The version of the fields below: it is counted up when one is added, removed, or means something else."""
MACHINE_COLUMNS = (
    *("GPU", "CUDA", "processor", "cores", "clock", "governor", "memory", "system", "python"),
    *(*PACKAGES, "operators", "commit"),
)
"""Columns of the CSV after those of a record; empty where it is not known. Threads are a record's."""


@dataclass(frozen=True)
class Record:
    """One model in one runtime at one size; None is what was not measured.

    Attributes:
        model: its name.
        task: what it is for.
        requested: the runtime that was asked for.
        runtime: the one that computed.
        requested_precision: that was asked for.
        precision: in which was really computed.
        device: "cpu" or "cuda".
        batch: inputs a call.
        input: the size of one, such as "8 x 3 x 224 x 224".
        unit: what an input is: "clip", "step" (a frame of an online model) or "cloud".
        frames: as asked for; None is the model's own number.
        points: as asked for.
        threads: a call.
        mode: "single" or "saturated".
        streams: calls at once.
        cuda_graph: the call was replayed.
        setting: the paper's, in words.
        count: of runs in the steady state; the following are of these.
        warmup: runs before.
        mean_ms: a call, as all times.
        p50_ms: the median.
        p90_ms: a percentile.
        p95_ms: a percentile.
        p99_ms: a percentile.
        spread_ms: between the quartiles.
        noise: of the median, see ``statistics.Latency``.
        others: the share of this process's processors that others used meanwhile.
        noisy: another run may give another median.
        throughput: inputs a second.
        parameters: of the model.
        macs: multiply-accumulate operations for one input, by the operators' own formulas.
        memory_mb: the most that the process holds in memory while it computes; on a GPU, what is allocated there.
        prepare_memory_mb: the same while the model is loaded and prepared.
        base_memory_mb: before that, with all modules imported.
        load_seconds: to build the model and load its weights.
        prepare_seconds: to optimise, compile or export it.
        first_ms: the first call.
        decode_ms: of the way from a file to labels: reading the file.
        preprocess_ms: making it the model's input.
        transfer_ms: to the device.
        model_ms: the model.
        postprocess_ms: to labels.
        yardstick_ms: a fixed piece of work between the rounds, which tells of the machine and not of the model.
    """

    model: str
    task: str
    requested: str
    runtime: str
    requested_precision: str
    precision: str
    device: str
    batch: int
    input: str
    unit: str
    frames: int | None
    points: int | None
    threads: int
    mode: str
    streams: int
    cuda_graph: bool
    setting: str
    count: int
    warmup: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    spread_ms: float
    noise: float
    others: float
    noisy: bool
    throughput: float
    parameters: int
    macs: int
    memory_mb: float | None
    prepare_memory_mb: float | None
    base_memory_mb: float | None
    load_seconds: float
    prepare_seconds: float
    first_ms: float
    decode_ms: float | None
    preprocess_ms: float | None
    transfer_ms: float | None
    model_ms: float | None
    postprocess_ms: float | None
    yardstick_ms: float

    @property
    def key(self) -> tuple[object, ...]:
        """What two records have in common that measured the same thing."""
        what = (self.model, self.requested, self.requested_precision, self.device, self.batch, self.input)
        return (*what, self.threads, self.mode, self.streams, self.cuda_graph)

    @property
    def label(self) -> str:
        """The key in words."""
        words = [self.model, self.runtime, self.precision, self.device, f"batch {self.batch}", self.input]
        words += [f"{self.threads} threads", f"{self.streams} streams"] if self.device == "cpu" else []
        words += [self.mode] if self.mode != "single" else []
        return ", ".join([*words, *(["CUDA graph"] if self.cuda_graph else [])])


@dataclass
class Report:
    """The records of one run.

    Attributes:
        machine: see ``zoo.bench.machine``.
        records: what was measured.
        failures: what could not be, each in a sentence.
    """

    machine: dict[str, str]
    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def measured_on(self) -> str:
        """The GPU or the processor."""
        return self.machine.get("GPU", self.machine.get("processor", ""))

    def write(self, path: Path) -> None:
        """Write ``path``.json, ``path``.csv and ``path``.md; the folder is made where it is missing.

        Raises:
            InputError: a file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".json").write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")
            with open(path.with_suffix(".csv"), "w", newline="") as file:
                names = ["schema", *(each.name for each in fields(Record)), *MACHINE_COLUMNS]
                writer = csv.DictWriter(file, names, extrasaction="ignore")
                writer.writeheader()
                writer.writerows({**self.machine, "schema": SCHEMA, **asdict(record)} for record in self.records)
            path.with_suffix(".md").write_text(self.markdown())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be written ({error.strerror}); choose another folder with --out"
            ) from error

    def markdown(self) -> str:
        """A page for people."""
        lines = ["# Latency", "", *(f"- {name}: {value}" for name, value in self.machine.items()), "", *self.tables()]
        lines += ["", *(f"Not measured: {failure}" for failure in self.failures)] if self.failures else []
        return "\n".join(lines) + "\n"

    def tables(self) -> list[str]:
        """The lines of Markdown tables: of all records, and of those in the papers' settings beside their figures."""
        lines = markdown_table(COLUMNS, [row(record) for record in self.records])
        settings = [cells for record in self.records for cells in paper_rows(record)]
        return lines + (["", *markdown_table(PAPER_COLUMNS, settings)] if settings else [])


COLUMNS = ("model", "runtime", "batch", "input", "threads", "p50 ms", "p95 ms", "noise", "a second", "MB", "prepare s")


PAPER_COLUMNS = ("setting", "model", "runtime", "ours: p50", "a second", "authors'", "their hardware", "read in")
"""Cells of the authors' figures are empty where none could be read."""


def row(record: Record) -> tuple[str, ...]:
    """A record in the columns of the table."""
    marks = [
        record.precision,
        *(["graph"] if record.cuda_graph else []),
        *(["saturated"] if record.mode == "saturated" else []),
    ]
    return (
        record.model,
        f"{record.runtime} ({', '.join(marks)})",
        str(record.batch),
        record.input,
        f"{record.threads} x {record.streams}" if record.streams > 1 else str(record.threads),
        f"{record.p50_ms:.4g}",
        f"{record.p95_ms:.4g}",
        f"{max(record.noise, record.others):.1%}" + (" (noisy)" if record.noisy else ""),
        f"{record.throughput:.4g}",
        "" if record.memory_mb is None else f"{record.memory_mb:.0f}",
        f"{record.prepare_seconds:.3g}",
    )


def paper_rows(record: Record) -> list[tuple[str, ...]]:
    """A record beside each of the authors' figures in its setting; nothing where it is in none."""
    setting = setting_of(record.setting)
    if setting is None:
        return []
    ours = (f"{record.p50_ms:.4g} ms" + (" (noisy)" if record.noisy else ""), f"{record.throughput:.4g}")
    theirs = [(figure.text, figure.hardware, figure.source) for figure in setting.figures] or [("", "", "")]
    return [(setting.name, record.model, f"{record.runtime} ({record.precision})", *ours, *each) for each in theirs]


def read_report(path: Path) -> Report:
    """The report in a JSON file that ``Report.write`` wrote.

    Raises:
        InputError: the file cannot be read, or is none of this version.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there: name what `zoo bench --out` wrote") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); name what `zoo bench --out` wrote") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path}: holds no benchmark of version {SCHEMA}; run `zoo bench` again")
    try:
        records = [_record(entry) for entry in content["records"]]
        machine = {str(name): str(value) for name, value in content["machine"].items()}
        return Report(machine, records, [str(failure) for failure in content["failures"]])
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); run `zoo bench` again") from error


def _record(entry: dict[str, Any]) -> Record:
    record = Record(**entry)
    for name, hint in get_type_hints(Record).items():
        value = getattr(record, name)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        if not isinstance(value, (*kinds, int) if float in kinds else kinds):
            raise TypeError(f"{name} cannot be {value!r}")
    return record
