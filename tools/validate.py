"""Measure a trained checkpoint: tools/validate.py out/mosd/best --data tabletop --path mosd_tabletop.npz."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zoo.cli import exit_code
from zoo.engine.measure import measure
from zoo.weights import Metric


def show(metrics: list[Metric]) -> None:
    """Print a line for every figure."""
    for metric in metrics:
        print(f"{metric.name}: {metric.value:.4f} on {metric.dataset}; {metric.protocol}")


def main() -> int:
    """Measure; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, as training writes it")
    parser.add_argument("--data", choices=["fingertip", "tabletop"], required=True, help="the data set")
    parser.add_argument("--path", required=True, help="its file")
    parser.add_argument("--split", choices=["val", "test"], default="test", help="the part (default: test)")
    options = parser.parse_args()
    return exit_code(lambda: show(measure(options.folder, options.data, options.path, options.split)))


if __name__ == "__main__":
    sys.exit(main())
