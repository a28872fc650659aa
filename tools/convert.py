"""Another project's checkpoint to safetensors: tools/convert.py IN OUT.safetensors, which is `zoo convert`."""

import sys

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
