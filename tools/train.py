"""Train a model: tools/train.py --config configs/video/fingertip.yaml --data.path tracks.csv --optim.lr 0.002."""

from __future__ import annotations

import os
import signal
import sys


def run() -> None:
    """Train, and say once where the best checkpoint is."""
    from zoo.engine.command_line import parse_config
    from zoo.engine.config import TrainConfig
    from zoo.engine.distributed import is_first
    from zoo.engine.train import train

    best = train(parse_config(TrainConfig, description=__doc__))
    if is_first():
        print(best)


def main() -> int:
    """Read the configuration and train; 0 on success, 128 and the signal's number where one ended the run."""
    # Until training begins there is nothing to save, and a KeyboardInterrupt may be lost in what libraries import.
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    try:
        from zoo.cli import exit_code
        from zoo.engine.distributed import is_first, is_first_to_say
        from zoo.engine.signals import Stopped

        try:
            return exit_code(run, is_first_to_say)
        except Stopped as stopped:
            if is_first():
                print(stopped, file=sys.stderr)
            return 128 + stopped.signal
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
