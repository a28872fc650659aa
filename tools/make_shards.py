"""Write videos or clouds into shards, tar files for storage that is not a file system.

tools/make_shards.py videos my_videos/train shards/train      # shards/train-000000.tar and so on, classes.txt
tools/make_shards.py videos my_videos/val shards/val          # with the classes that are there already
tools/make_shards.py clouds my_clouds/train shards/train
tools/make_shards.py index 'shards/train-{000000..000012}.tar'   # of shards that others wrote
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.cli import exit_code
from zoo.data.point_dataset import PointFolder
from zoo.data.remote_files import is_remote
from zoo.data.shards import write_shards
from zoo.data.shards.find import classes_beside, expand
from zoo.data.shards.index import write_index
from zoo.data.shards.write import MAX_BYTES
from zoo.data.video_sets import LAYOUTS, find_videos
from zoo.errors import InputError


def write(options: argparse.Namespace) -> None:
    """Print every shard once it is written."""
    names = classes_beside(options.prefix)
    samples: Sequence[tuple[Path, int]]
    if options.command == "videos":
        found = find_videos(options.source, options.layout, options.videos, options.part, names)
        samples, names = found.samples, found.class_names
    else:
        clouds = PointFolder(options.source, class_names=names)
        samples, names = clouds.files, clouds.class_names
    for path in write_shards(samples, names, options.prefix, int(options.mib * (1 << 20)), options.seed):
        print(path)


def index(pattern: str) -> None:
    """Print every index once it is written."""
    if is_remote(pattern):
        raise InputError(f"{pattern} is elsewhere: write the indexes where the shards lie, and copy them there too")
    for shard in expand(pattern):
        print(write_index(Path(shard)))


def main() -> int:
    """Write shards or indexes; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    videos = commands.add_parser("videos", help="write videos into shards")
    clouds = commands.add_parser("clouds", help="write point clouds into shards")
    for command in (videos, clouds):
        command.add_argument("source", help="a folder by class; of videos also a CSV or an official annotation")
        command.add_argument("prefix", help="folder and first part of the names of the shards, such as shards/train")
        command.add_argument("--mib", type=float, default=MAX_BYTES >> 20, help="of a shard, in MiB (%(default)g)")
        command.add_argument("--seed", type=int, default=0, help="of the order of the samples (%(default)d)")
    videos.add_argument("--layout", choices=LAYOUTS, default="auto", help="of the source (%(default)s)")
    videos.add_argument("--videos", help="the folder of the videos, where the source is a list")
    videos.add_argument("--part", help="of the source, such as train1 of UCF101")
    indexes = commands.add_parser("index", help="write the indexes of shards")
    indexes.add_argument("pattern", help="such as 'shards/train-{000000..000012}.tar', in quotes")
    options = parser.parse_args()
    return exit_code(lambda: index(options.pattern) if options.command == "index" else write(options))


if __name__ == "__main__":
    sys.exit(main())
