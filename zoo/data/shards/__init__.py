"""Samples in shards: tar files in the convention of WebDataset, for storage that is not a file system.

``find_shards`` gives samples that ``VideoDataset`` and ``PointFiles`` take as they take files::

    found = find_shards("https://example.org/train-{000000..000012}.tar", VIDEO_SUFFIXES)
    dataset = VideoDataset(found.samples, found.class_names, num_frames=8, training=True)

A sample is known by its number, as in a folder, so a run goes on as with files. Only the order of an epoch is another:
it keeps the samples of a few shards together (``zoo.engine.order``), so that each shard is fetched once, and those of
the next few while these are read.
"""

from zoo.data.shards.ahead import FetchAhead
from zoo.data.shards.find import (
    SHARDS_TOGETHER,
    Frames,
    Member,
    Shard,
    ShardSet,
    as_file,
    find_shards,
    shard_of,
    shard_sizes,
)
from zoo.data.shards.write import write_shards

__all__ = [
    "SHARDS_TOGETHER",
    "FetchAhead",
    "Frames",
    "Member",
    "Shard",
    "ShardSet",
    "as_file",
    "find_shards",
    "shard_of",
    "shard_sizes",
    "write_shards",
]
