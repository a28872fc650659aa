"""Cut the rooms of S3DIS into blocks: tools/prepare_s3dis.py Stanford3dDataset_v1.2_Aligned_Version out/s3dis."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zoo.cli import exit_code
from zoo.data.s3dis import prepare


def run(raw: Path, out: Path) -> None:
    """Print every file once it is written."""
    for path in prepare(raw, out):
        print(path)


def main() -> int:
    """Prepare; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path, help="the folder of the raw release, with Area_1 to Area_6")
    parser.add_argument("out", type=Path, help="a folder; rooms that are there already are left as they are")
    options = parser.parse_args()
    return exit_code(lambda: run(options.raw, options.out))


if __name__ == "__main__":
    sys.exit(main())
