"""Train a model: tools/train.py --config configs/video/fingertip.yaml --data.path tracks.csv --optim.lr 0.002."""

from __future__ import annotations

import sys

from jsonargparse import auto_cli

from zoo.cli import exit_code
from zoo.engine.config import TrainConfig
from zoo.engine.train import train


def main() -> int:
    """Read the configuration, train, and say where the best checkpoint is."""
    config = auto_cli(TrainConfig, as_positional=False, description=__doc__)
    return exit_code(lambda: print(train(config)))


if __name__ == "__main__":
    sys.exit(main())
