"""What is in a shard and where: read from the tar file once, or from the index beside it.

A shard is a tar file in the convention of WebDataset: files that belong together have one name up to the first dot,
such as ``0001.mp4`` and ``0001.cls``. The class is in ``.cls`` or ``.json``, as its
number, counted from 0, or its name.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from zoo.data.outputs import replacing
from zoo.errors import InputError

INDEX_SUFFIX = ".index.json"
_LABEL_KEYS = ("label", "class", "cls", "class_name")  # of a .json, in this order


class Entry(NamedTuple):
    """A file in a shard.

    Attributes:
        name: in the tar file.
        offset: of its first byte.
        size: in bytes.
        label: of the sample that it belongs to, as it is written; None where nothing is.
    """

    name: str
    offset: int
    size: int
    label: str | None


class ShardIndex(NamedTuple):
    """The files of a shard.

    Attributes:
        size: of the shard, in bytes.
        entries: all but those of the labels, in the shard's order.
    """

    size: int
    entries: tuple[Entry, ...]


def index_name(shard: str) -> str:
    """The name of the index of the shard with that name."""
    return shard.removesuffix(".tar") + INDEX_SUFFIX


def scan_shard(file: BinaryIO, where: str) -> ShardIndex:
    """Find out what is in a shard.

    Args:
        file: the shard, opened; only headers and labels are read.
        where: its name for messages.

    Raises:
        InputError: it is no whole tar file, or a label cannot be read.
    """
    found: dict[str, tuple[int, int]] = {}
    labels: dict[str, str | None] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                key, suffix = split_name(info.name)
                if not info.isfile() or not key:
                    continue
                if info.name in found:
                    raise InputError(f"{where} holds {info.name} twice: write it again with names that differ")
                if suffix in (".cls", ".json"):
                    content: Any = tar.extractfile(info)
                    label = _read_label(content.read(), suffix, f"{where}/{info.name}")
                    labels[key] = labels.get(key) or label
                else:
                    found[info.name] = info.offset_data, info.size
            end = tar.offset
    except tarfile.TarError as error:
        raise InputError(
            f"{where} is no whole tar file ({error}): copy or write it again, and unpack it if it is compressed"
        ) from error
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes anything for the end
        raise InputError(f"{where} is damaged or cut off after {end} bytes: copy or write it again")
    entries = tuple(Entry(name, *place, labels.get(split_name(name)[0])) for name, place in found.items())
    return ShardIndex(file.seek(0, 2), entries)


def write_index(shard: Path) -> Path:
    """Write the index of a shard beside it.

    Returns:
        The index.

    Raises:
        InputError: the shard cannot be read, or the index not be written.
    """
    path = shard.with_name(index_name(shard.name))
    try:
        with open(shard, "rb") as file:
            index = scan_shard(file, str(shard))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"size": index.size, "files": index.entries}) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}: {error.filename}): check the folder") from error
    return path


def parse_index(data: bytes, where: str) -> ShardIndex:
    """The index that ``write_index`` wrote.

    Raises:
        InputError: it is none.
    """
    try:
        values = json.loads(data)
        size, entries = values["size"], tuple(Entry(*entry) for entry in values["files"])
        is_right = isinstance(size, int) and all(_is_entry(entry, size) for entry in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where} is no index of a shard ({error}): write it again, or take it away") from error
    if not is_right:
        raise InputError(f"{where} tells of files that cannot be: write the index again, or take it away")
    return ShardIndex(size, entries)


def split_name(name: str) -> tuple[str, str]:
    """The key of a file, its folder and its name up to the first dot, and its last suffix in lower case."""
    folder, slash, file = name.rpartition("/")
    key, _, rest = file.partition(".")
    return (folder + slash + key if key else ""), ("." + rest.rpartition(".")[2].lower() if rest else "")


def _is_entry(entry: Entry, shard_size: int) -> bool:
    return (
        isinstance(entry.name, str)
        and isinstance(entry.offset, int)
        and isinstance(entry.size, int)
        and isinstance(entry.label, str | None)
        and 0 <= entry.offset <= entry.offset + entry.size <= shard_size
    )


def _read_label(data: bytes, suffix: str, where: str) -> str | None:
    """The text of a .cls, or what a .json says of the class: its other uses have no label."""
    try:
        text = data.decode("utf-8").strip()
        values = json.loads(text) if suffix == ".json" else {"label": text}
    except ValueError as error:
        raise InputError(f"{where} cannot be read as a label ({error}): write the shard again") from error
    for key in _LABEL_KEYS if isinstance(values, dict) else ():
        if isinstance(values.get(key), str | int) and str(values[key]):
            return str(values[key])
    return None
