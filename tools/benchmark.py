"""``zoo bench`` as a script: python tools/benchmark.py --all --out model_cards/results."""

import sys

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
