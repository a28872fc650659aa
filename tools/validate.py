"""Measure a trained checkpoint: tools/validate.py out/mosd/best --data tabletop --path mosd_tabletop.npz."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zoo.engine.measure import measure
from zoo.errors import ZooError


def main() -> int:
    """Print a line for every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, as training writes it")
    parser.add_argument("--data", choices=["fingertip", "tabletop"], required=True, help="the data set")
    parser.add_argument("--path", required=True, help="its file")
    parser.add_argument("--split", choices=["val", "test"], default="test", help="the part (default: test)")
    options = parser.parse_args()
    try:
        for metric in measure(options.folder, options.data, options.path, options.split):
            print(f"{metric.name}: {metric.value:.4f} on {metric.dataset}; {metric.protocol}")
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
