"""What low precision costs in accuracy: tools/bench_precision.py --model pvcnn_cls_c0p25.radhar --data.name radhar ...

The model is measured as tools/validate.py does it, in every runtime and precision that is asked for. Numbers of int8
get their ranges from inputs of the validation part, never of the test part. The rows go into a table as CSV and
Markdown; those of other models and data that are there already stay.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.bench.machine import machine
from zoo.bench.tables import write_tables
from zoo.cli import exit_code
from zoo.create import create_model
from zoo.engine.command_line import parse_config
from zoo.engine.config import DataConfig, ValidateConfig
from zoo.engine.measured import open_measured
from zoo.engine.protocols import Evaluation, evaluate
from zoo.errors import ZooError
from zoo.export.optimize import optimize

TITLE = "Accuracy in low precision, on a CPU"
COLUMNS = ("model", "data", "runtime", "precision", "figure", "value", "interval", "difference")


@dataclass
class PrecisionConfig:
    """A comparison.

    Args:
        model: with weights, as for tools/validate.py.
        data: what it is measured on.
        runs: RUNTIME:PRECISION of each measurement; the others are compared with the first.
        calibration: how many inputs of the validation part show the ranges of int8.
        batch_size: views or clouds that pass through the network together.
        out: the table, without a suffix.
    """

    model: str
    data: DataConfig = field(default_factory=DataConfig)
    runs: list[str] = field(default_factory=lambda: ["openvino:fp32", "openvino:bf16", "openvino:int8"])
    calibration: int = 32
    batch_size: int = 16
    out: str = "model_cards/results/precision_cpu"


class Running(nn.Module):
    """A model whose inputs go through something else, for measuring that as if it were the model.

    Args:
        model: whose preprocessing and classes hold.
        run: what is called instead.
    """

    def __init__(self, model: Any, run: Any):
        super().__init__()
        self.model, self.run, self.spec = model, run, model.spec

    def forward(self, *inputs: Tensor) -> Any:
        """What ``run`` gives."""
        return self.run(*inputs)


def run() -> None:
    """Measure, print a line for every run, and write the table after each."""
    config = parse_config(PrecisionConfig, description=__doc__)
    model: Any = create_model(config.model, pretrained=True).eval()
    measured = open_measured(_part(config, "test"), model.spec)
    samples = list(measured.samples)
    calibration = calibration_of(config, model)
    first: Evaluation | None = None
    for name in config.runs:
        runtime, _, precision = name.partition(":")
        try:
            ranges = calibration if precision == "int8" else None
            fast: Any = optimize(model, calibration[0], runtime, precision, None, ranges)  # type: ignore[arg-type]
        except ZooError as error:
            print(f"{name}: not measured: {error}", flush=True)
            continue
        evaluation = evaluate(Running(model, fast), samples, measured.protocol, **measured.settings)
        first = first or evaluation
        row = _row(config, measured.name, fast, evaluation, first)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        _write(Path(config.out), row)


def calibration_of(config: PrecisionConfig, model: Any) -> list[Any]:
    """What the protocol gives to the network of samples of the validation part, one at a time."""
    measured = open_measured(_part(config, "val"), model.spec)
    every = list(measured.samples)
    step = max(1, len(every) // config.calibration)
    seen: list[Any] = []

    def look(*inputs: Tensor) -> Any:
        seen.extend(zip(*(tensor.split(1) for tensor in inputs), strict=True))
        return model(*inputs)

    settings = {key: value for key, value in measured.settings.items() if key != "groups"}
    evaluate(Running(model, look), every[::step], measured.protocol, **settings)
    return seen[:: max(1, len(seen) // config.calibration)]


def _part(config: PrecisionConfig, split: Any) -> ValidateConfig:
    return ValidateConfig(config.model, dataclasses.replace(config.data), split=split, batch_size=config.batch_size)


def _row(config: PrecisionConfig, data: str, fast: Any, evaluation: Evaluation, first: Evaluation) -> dict[str, str]:
    name, value = next(iter(evaluation.figures.items()))
    low, high = evaluation.intervals.get(name, (value, value))
    return {
        "model": fast.spec.name,
        "data": data,
        "runtime": fast.runtime,
        "precision": fast.precision,
        "figure": name,
        "value": f"{value:.4f}",
        "interval": f"{low:.4f} to {high:.4f}",
        "difference": f"{value - first.figures[name]:+.4f}",
    }


def _write(path: Path, row: dict[str, str]) -> None:
    """Put a row into the table, in the place of one of the same model, data, runtime and precision."""
    key = [row[column] for column in COLUMNS[:4]]
    rows: list[dict[str, str]] = []
    if path.with_suffix(".csv").exists():
        with open(path.with_suffix(".csv"), newline="") as file:
            rows = [{column: line[column] for column in COLUMNS} for line in csv.DictReader(file)]
    rows = [each for each in rows if [each[column] for column in COLUMNS[:4]] != key] + [row]
    write_tables(TITLE, rows, machine(), path)


def main() -> int:
    """Read the configuration and measure; 0 on success."""
    return exit_code(run)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
