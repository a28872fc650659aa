"""Publish a model on the Hub: tools/publish.py FOLDER OWNER/NAME [--private] [--yes], which is `zoo push`."""

import sys

from zoo.cli import main

if __name__ == "__main__":
    sys.exit(main(["push", *sys.argv[1:]]))
