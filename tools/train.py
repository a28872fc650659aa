"""Train a model: tools/train.py --config configs/video/fingertip.yaml --data.path tracks.csv --optim.lr 0.002."""

from __future__ import annotations

import os
import sys

from zoo.cli import exit_code
from zoo.engine.config import TrainConfig, parse_config
from zoo.engine.train import Stopped, train


def run() -> None:
    """Train, and say once where the best checkpoint is."""
    best = train(parse_config(TrainConfig, description=__doc__))
    if os.environ.get("RANK", "0") == "0":
        print(best)


def main() -> int:
    """Read the configuration and train; 0 on success, 128 and the signal's number where one ended the run."""
    try:
        return exit_code(run)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal


if __name__ == "__main__":
    sys.exit(main())
