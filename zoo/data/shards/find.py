"""From the pattern of shards to labelled samples, each of which can be read on its own."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from zoo.data.class_names import ClassIndex
from zoo.data.remote_files import FileCache, base_name, beside, is_remote, read_if_there
from zoo.data.shards.index import Entry, index_name, parse_index, scan_shard, split_name
from zoo.data.video import FRAME_SUFFIXES
from zoo.errors import InputError

SHARDS_TOGETHER = 4  # whose samples an epoch mixes
CLASS_FILES = ("classes.txt", "classes.json")
MOST_CLASSES = 1_000_000  # that have no names; a larger number is no class but a time or an identifier
_OPEN_AT_ONCE = 8  # indexes of remote shards

log = logging.getLogger("zoo.data")


@dataclass(frozen=True)
class Shard:
    """A tar file of samples.

    Attributes:
        location: its path or address.
        size: in bytes.
        cache: where a remote one is kept.
    """

    location: str
    size: int | None
    cache: FileCache | None

    def open(self) -> BinaryIO:
        """The shard, opened; a remote one is fetched whole, where it is not in the cache.

        Raises:
            InputError: it is not there, cannot be read or fetched, or is not of its size.
        """
        if self.cache:
            return self.cache.open(self.location, self.size)
        try:
            size = os.path.getsize(self.location)
            if self.size in (None, size):
                return open(self.location, "rb")
        except OSError as error:
            raise InputError(f"{self.location} cannot be read ({error.strerror}): check the path") from error
        raise InputError(
            f"{self.location} has {size} bytes, but its index tells of {self.size}: copy the shard again, or write its "
            "index again by `tools/make_shards.py index`"
        )


class Member(NamedTuple):
    """A file in a shard; its text names both.

    Attributes:
        shard: the tar file.
        name: in the tar file.
        offset: of its first byte.
        size: in bytes.
    """

    shard: Shard
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard.location}/{self.name}"

    def read(self) -> bytes:
        """All its bytes.

        Raises:
            InputError: the shard cannot be read.
        """
        with self.shard.open() as file:
            file.seek(self.offset)
            return file.read(self.size)


class Frames(NamedTuple):
    """A folder of frames in a shard; its text names both.

    Attributes:
        shard: the tar file.
        name: of the folder, with which the names of its pictures begin.
        files: the pictures.
    """

    shard: Shard
    name: str
    files: tuple[Member, ...]

    def __str__(self) -> str:
        return f"{self.shard.location}/{self.name}"

    def write(self, folder: Path) -> None:
        """Write the pictures into ``folder``.

        Raises:
            InputError: the shard cannot be read.
        """
        with self.shard.open() as shard:
            for file in self.files:
                shard.seek(file.offset)
                (folder / file.name[len(self.name) + 1 :]).write_bytes(shard.read(file.size))


@dataclass(frozen=True)
class ShardSet:
    """Labelled samples in shards.

    Attributes:
        samples: files or folders of frames in shards, and labels, shard by shard.
        class_names: in the order of the labels.
    """

    samples: tuple[tuple[Member | Frames, int], ...]
    class_names: tuple[str, ...]


def find_shards(
    pattern: str,
    suffixes: Collection[str],
    class_names: Sequence[str] | None = None,
    cache: FileCache | None = None,
) -> ShardSet:
    """The samples of shards with their labels.

    Indexes and ``classes.txt`` (a name a line) or ``classes.json`` (a list, or numbers by name) are looked for beside
    the shards. A shard without index is read once, for which a remote one has to be fetched.

    Args:
        pattern: a path, or an address that begins with http://, https:// or what fsspec knows, such as s3://; with
            ``{000000..000012}`` for numbered shards.
        suffixes: of the samples' files, in lower case, such as ``VIDEO_SUFFIXES`` or ``POINT_SUFFIXES``; pictures of
            one sample are the frames of a video (``FRAME_SUFFIXES``).
        class_names: the classes in the order in which a model knows them, such as those of the training part; by
            default those beside the shards, or else the labels, sorted.
        cache: where remote shards are kept.

    Raises:
        InputError: a shard is not there, is damaged or holds nothing, a sample has no label or no class, or the cache
            is too small.
    """
    locations = expand(pattern)
    kept = (cache or FileCache()) if is_remote(pattern) else None
    with ThreadPoolExecutor(_OPEN_AT_ONCE) as pool:
        found = list(pool.map(lambda location: _read_shard(location, kept, suffixes), locations))
    if kept:
        _check_cache(kept, [shard.size or 0 for shard, _ in found])
    entries = [entry for _, entries in found for entry in entries]
    if not entries:
        raise InputError(f"{pattern} holds no file that ends in {', '.join(sorted(suffixes))}: give other shards")
    own = classes_beside(locations[0])
    labels, names = _number([(str(sample), label) for sample, label in entries], own, class_names)
    return ShardSet(tuple((sample, label) for (sample, _), label in zip(entries, labels, strict=True)), names)


def expand(pattern: str) -> list[str]:
    """``a-{08..10}.tar`` as ``a-08.tar``, ``a-09.tar``, ``a-10.tar``; several braces are all combined.

    Raises:
        InputError: braces hold no two rising numbers.
    """
    before, brace, after = pattern.partition("{")
    if not brace:
        return [pattern]
    inside, closed, rest = after.partition("}")
    match = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not closed or not match or int(match[1]) > int(match[2]):
        raise InputError(f"{pattern}: braces hold the first and the last number, as in {{000000..000012}}")
    numbers = range(int(match[1]), int(match[2]) + 1)
    return [f"{before}{number:0{len(match[1])}d}{tail}" for number in numbers for tail in expand(rest)]


@contextmanager
def as_file(path: Path | Member | Frames) -> Iterator[Path]:
    """A sample's file or folder as a path: of one in a shard a copy, which goes away at the end.

    An error names what is in the shard instead of the copy.
    """
    if not isinstance(path, Member | Frames):
        yield path
        return
    # Decoders want a path, and from one they give the same as from the file that went into the shard.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"sample{split_name(path.name)[1]}"
        if isinstance(path, Frames):
            copy.mkdir()
            path.write(copy)
        else:
            copy.write_bytes(path.read())
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(path))) from error


def shard_sizes(samples: Sequence[tuple[Path | Member | Frames, int]]) -> tuple[int, ...]:
    """How many samples each shard has, in their order; nothing for files that are in none."""
    shards = itertools.groupby(shard_of(path) for path, _ in samples)
    return tuple(len(list(group)) for shard, group in shards if shard)


def shard_of(path: Path | Member | Frames) -> Shard | None:
    """The shard of a sample, None where it is in none."""
    return path.shard if isinstance(path, Member | Frames) else None


def classes_beside(shard: str) -> tuple[str, ...] | None:
    """The class names in the folder of a shard, if they are there.

    Raises:
        InputError: they cannot be read.
    """
    for name in CLASS_FILES:
        where = beside(shard, name)
        data = read_if_there(where)
        if data is None:
            continue
        try:
            text = data.decode("utf-8")
            values = [line for line in text.splitlines() if line] if name.endswith(".txt") else json.loads(text)
            if isinstance(values, dict):
                values = sorted(values, key=values.__getitem__)
            if values and all(isinstance(value, str) for value in values):
                return tuple(values)
        except (ValueError, TypeError) as error:
            raise InputError(f"{where} is no list of classes ({error}): write it again") from error
        raise InputError(f"{where} is no list of classes: write the name of each, in the order of their numbers")
    return None


def _read_shard(
    location: str, cache: FileCache | None, suffixes: Collection[str]
) -> tuple[Shard, list[tuple[Member | Frames, str]]]:
    """A shard, and its samples with their labels as they are written."""
    where = beside(location, index_name(base_name(location)))
    data = read_if_there(where)
    if data is None:
        if cache:
            log.warning("%s is fetched to see what is in it: write its index by tools/make_shards.py index", location)
        with Shard(location, None, cache).open() as file:
            index = scan_shard(file, location)
    else:
        index = parse_index(data, where)
    shard = Shard(location, index.size, cache)
    if not cache:
        shard.open().close()  # it is there, and as its index says
    files: dict[str, list[Entry]] = {}
    for entry in index.entries:
        key, suffix = split_name(entry.name)
        if suffix in suffixes:
            files.setdefault(key, []).append(entry)
    return shard, [_sample(shard, key, entries) for key, entries in files.items()]


def _sample(shard: Shard, key: str, entries: list[Entry]) -> tuple[Member | Frames, str]:
    """What the files of one name are together, and the label."""
    members = tuple(Member(shard, *entry[:3]) for entry in entries)
    if (label := entries[0].label) is None:
        raise InputError(f"{members[0]} has no class: put it into {key}.cls and write the shard again")
    others = [member for member in members if split_name(member.name)[1] not in FRAME_SUFFIXES]
    if not others:
        return Frames(shard, key, members), label
    if len(others) > 1:
        raise InputError(f"{shard.location} has both {others[0].name} and {others[1].name}: a sample is one file")
    return others[0], label  # pictures beside a video show what is in it


def _check_cache(cache: FileCache, sizes: Sequence[int]) -> None:
    """An epoch reads some shards at once, and workers are ahead in the next ones."""
    needed = min(len(sizes), 2 * SHARDS_TOGETHER) * max(sizes)
    if needed > cache.limit:
        raise InputError(
            f"{cache.folder} may hold {cache.limit} bytes, but the shards that are used together need {needed}: "
            "allow more, or write smaller shards"
        )


def _number(
    labels: Sequence[tuple[str, str]], own: Sequence[str] | None, wanted: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """The number of every label, given with its place, and the class names."""
    texts = {text for _, text in labels}
    if own is None and wanted is None:
        own = sorted(texts)
        if all(text.isdecimal() for text in texts):
            where, largest = max(labels, key=lambda each: int(each[1]))
            if int(largest) >= MOST_CLASSES:
                raise InputError(f"{where}: class {largest} is too large for a number counted from 0: name the classes")
            own = [str(number) for number in range(1 + int(largest))]
    known = ClassIndex(own or wanted or ())
    classes = ClassIndex(wanted or known.names)
    numbers = []
    for where, text in labels:
        if text.isdecimal():  # as WebDataset has them; a class that is itself called "3" is written by its number
            if int(text) >= len(known.names):
                raise InputError(f"{where}: class {text} is too large for {len(known.names)} classes, counted from 0")
            text = known.names[int(text)]
        numbers.append(classes.number(text, where))
    return numbers, classes.names
