"""Train a model: tools/train.py --config configs/video/fingertip.yaml --data.path tracks.csv --optim.lr 0.002."""

from __future__ import annotations

import sys

from zoo.cli import exit_code
from zoo.engine.config import parse_config
from zoo.engine.train import Stopped, train


def main() -> int:
    """Read the configuration, train, and say where the best checkpoint is."""
    try:
        return exit_code(lambda: print(train(parse_config(description=__doc__))))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal


if __name__ == "__main__":
    sys.exit(main())
