"""Train a model: tools/train.py --config configs/video/fingertip.yaml --data.path tracks.csv --optim.lr 0.002."""

from __future__ import annotations

import sys

from jsonargparse import auto_cli

from zoo.engine.config import TrainConfig
from zoo.engine.train import train
from zoo.errors import ZooError


def main() -> int:
    """Read the configuration, train, and say where the best checkpoint is."""
    config = auto_cli(TrainConfig, as_positional=False, description=__doc__)
    try:
        print(train(config))
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
