"""Writing labelled files into shards."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from zoo.data.outputs import replacing
from zoo.data.shards.find import CLASS_FILES
from zoo.data.shards.index import write_index
from zoo.data.video import FrameFolderReader
from zoo.errors import InputError

MAX_BYTES = 256 << 20


def write_shards(
    samples: Sequence[tuple[Path, int]],
    class_names: Sequence[str],
    prefix: str | os.PathLike[str],
    max_bytes: int = MAX_BYTES,
    seed: int = 0,
) -> Iterator[Path]:
    """Write ``<prefix>-000000.tar`` and so on, the index of each, and ``classes.txt`` beside them.

    The samples are shuffled, as those of a shard are used together. Equal samples and seeds give equal files.

    Args:
        samples: files or folders of frames, with labels.
        class_names: in the order of the labels.
        prefix: folder and first part of the names of the shards; the folder is made.
        max_bytes: of the files in a shard, which has at least one.
        seed: of the order.

    Yields:
        Every shard, once it is written.

    Raises:
        InputError: there are such shards or other classes already, or a file cannot be read or written.
    """
    prefix = Path(prefix)
    if any(prefix.parent.glob(f"{prefix.name}-*.tar")):
        raise InputError(f"{prefix}-*.tar are there already: take them away, or give another prefix")
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        _write_classes(prefix.parent / CLASS_FILES[0], class_names)
        for number, group in enumerate(_groups(samples, max_bytes, seed)):
            path = Path(f"{prefix}-{number:06d}.tar")
            with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
                for index, source, label in group:
                    # A number makes it unique, and the name tells a reader of bad_files.txt which file it was.
                    name = re.sub(r"[^\w-]", "_", source.stem)
                    key = f"{index:07d}_{name}"
                    for suffix, file in _files(source):
                        _add(tar, key + suffix, file.read_bytes())
                    _add(tar, f"{key}.cls", str(label).encode())
            write_index(path)
            yield path
    except OSError as error:
        raise InputError(f"{error.filename or prefix}: {error.strerror}; check the file and the folder") from error


def _groups(samples: Sequence[tuple[Path, int]], max_bytes: int, seed: int) -> Iterator[list[tuple[int, Path, int]]]:
    """The samples of every shard, each with its place in ``samples``."""
    group: list[tuple[int, Path, int]] = []
    total = 0
    for index in np.random.default_rng(seed).permutation(len(samples)).tolist():
        source, label = samples[index]
        size = sum(file.stat().st_size for _, file in _files(source))
        if group and total + size > max_bytes:
            yield group
            group, total = [], 0
        group.append((index, source, label))
        total += size
    if group:
        yield group


def _files(source: Path) -> list[tuple[str, Path]]:
    """The files of a sample, each with what its name in the shard ends in: frames are numbered in their order."""
    if not source.is_dir():
        return [(source.suffix.lower(), source)]
    return [
        (f".{number:06d}{file.suffix.lower()}", file) for number, file in enumerate(FrameFolderReader(source).files)
    ]


def _write_classes(path: Path, class_names: Sequence[str]) -> None:
    text = "".join(f"{name}\n" for name in class_names)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{path} names other classes: give another folder, or take it away")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))
