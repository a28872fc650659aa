"""Put a measured checkpoint into checkpoints/: tools/add_checkpoint.py out/mosd/best --results out/mosd/test.json."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from zoo import hub
from zoo.cli import exit_code
from zoo.create import create_model
from zoo.engine.protocols.intervals import bootstrap
from zoo.errors import ZooError
from zoo.weights import Metric, read_index, verify


def read_metrics(results: Sequence[Path], figures: Sequence[str]) -> list[Metric]:
    """What tools/validate.py measured.

    Args:
        results: files of `--out`; several are the folds of one measurement, whose figures are averaged, with an
            interval over the folds.
        figures: which of them, such as "mean_iou".

    Raises:
        ZooError: a file cannot be read or has no such figure.
    """
    try:
        measured: list[dict[str, Any]] = [json.loads(path.read_text()) for path in results]
        metrics = []
        for name in figures:
            values = [entry["metrics"][name]["value"] for entry in measured]
            first = measured[0]["settings"]
            dataset, interval = first["data"], measured[0]["metrics"][name]["interval_95"] or ()
            folds = len(values) > 1
            if folds:
                dataset = f"{len(values)} folds of {dataset.split(',')[0]}"
                interval = _of_mean(values)
            protocol = measured[0]["protocol"]
            protocol += f", {min(values):.3f} to {max(values):.3f}, averaged" if folds else ""
            command = first["command"] + (f" # the first of {len(values)} folds" if folds else "")
            ends = tuple(round(end, 4) for end in interval)
            metrics.append(Metric(name.replace("_", " "), round(mean(values), 4), dataset, protocol, command, ends))
        return metrics
    except (OSError, ValueError, KeyError, TypeError) as error:
        paths = ", ".join(map(str, results))
        raise ZooError(f"{paths}: not what tools/validate.py --out writes, or without the figures ({error})") from error


def _of_mean(values: Sequence[float]) -> tuple[float, float]:
    """The interval of 95 % of the mean over folds, which are drawn anew."""
    sums = {"value": torch.tensor(values), "folds": torch.ones(len(values))}
    return bootstrap(sums, lambda drawn: {"mean": (drawn["value"] / drawn["folds"]).item()})["mean"]


def add(options: argparse.Namespace) -> None:
    """Copy the weights and write their entry in the index."""
    index = hub.checkpoints_folder() / "index.json"
    spec = hub.read_description(options.folder)
    verify(options.folder / spec.file, spec)
    metrics = read_metrics(options.results, options.figures)
    if len(options.results) == 1 and json.loads(options.results[0].read_text())["weights_sha256"] != spec.sha256:
        raise ZooError(f"{options.results[0]} is of other weights: measure {options.folder} by tools/validate.py")
    for name, *paths in options.compare:
        others = read_metrics([Path(path) for path in paths], options.figures)
        metrics += [dataclasses.replace(metric, name=f"{metric.name} of {name}") for metric in others]
    file = f"{spec.name}.safetensors"
    shutil.copyfile(options.folder / spec.file, index.parent / file)
    model = create_model(f"local-dir:{options.folder}", pretrained=True)
    entry = dataclasses.replace(spec, file=file, licence=options.licence, origin=options.origin, metrics=tuple(metrics))
    known = {other.name: other for other in read_index(index)}  # keeps the order: a bare name takes its first tag
    entries = [item.to_json() for item in (known | {entry.name: entry}).values()]
    golden = hub.golden_file(index.parent / file)
    golden.parent.mkdir(exist_ok=True)
    hub.write_golden_output(golden, model)
    index.write_text(json.dumps(entries, indent=2) + "\n")
    print(f"{entry.name}: {entry.size / 1e6:.1f} MB in {index.parent}")


def main() -> int:
    """Read the arguments and add the checkpoint; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, as training writes it")
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="of tools/validate.py --out; or by fold")
    parser.add_argument("--figures", nargs="+", required=True, help="those to keep, such as mean_iou")
    parser.add_argument("--licence", required=True, help="an SPDX identifier, or 'other'")
    parser.add_argument("--origin", required=True, help="how and on what it was trained, and from where the data came")
    parser.add_argument(
        "--compare", nargs="+", action="append", default=[], help="the name of another network and its results"
    )
    options = parser.parse_args()
    return exit_code(lambda: add(options))


if __name__ == "__main__":
    sys.exit(main())
