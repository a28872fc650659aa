"""One figure for all folds: tools/merge_folds.py area1.json ... area6.json, files of tools/validate.py --out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoo.cli import exit_code
from zoo.engine.protocols.accumulators import ConfusionMatrix
from zoo.errors import InputError


def merge(paths: Sequence[Path]) -> Tensor:
    """The sum of the confusion matrices int64 [K, K] of several measurements.

    Raises:
        InputError: a file has none, or they are of different classes.
    """
    matrices, names = [], set()
    for path in paths:
        try:
            results = json.loads(path.read_text())
            matrices.append(torch.tensor(results["confusion"], dtype=torch.int64))
            names.add((*results["class_names"], matrices[-1].shape))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} has no confusion matrix: give files of tools/validate.py --out") from error
    if len(names) != 1:
        raise InputError("the folds are of different classes: give measurements of the same ones")
    return torch.stack(matrices).sum(0)


def run(paths: Sequence[Path]) -> None:
    """Print a line for every figure."""
    confusion = merge(paths)
    for name, value in ConfusionMatrix(len(confusion)).figures({"confusion": confusion}).items():
        print(f"{name}: {value:.4f}")


def main() -> int:
    """Read the arguments and merge; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    return exit_code(lambda: run(parser.parse_args().results))


if __name__ == "__main__":
    sys.exit(main())
