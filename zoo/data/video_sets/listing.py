"""What all layouts share: the list they end in, reading annotations by the line, and finding the files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from zoo.data.video import FRAME_SUFFIXES
from zoo.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv"}
)


class Sample(NamedTuple):
    """A video and its class.

    Attributes:
        path: a video file or a folder of frames.
        label: the number of its class.
    """

    path: Path
    label: int


@dataclass(frozen=True)
class VideoSet:
    """Labelled videos.

    Attributes:
        samples: paths and labels, in the order of the annotation, or sorted.
        class_names: in the order of the labels.
        num_missing: videos that the annotation names and that are not there (Kinetics only; elsewhere an error).
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    num_missing: int = 0


class Row(NamedTuple):
    """A row of an annotation: its cells, and the file and line it stands on, for messages."""

    cells: list[str]
    where: str


def read_rows(path: Path, delimiter: str = ",") -> list[Row]:
    """The rows of a table of text that are not empty, with spaces around the cells taken away.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            rows = [Row([cell.strip() for cell in cells], f"{path}, line {lines.line_num}") for cells in lines if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); give a text file in UTF-8") from error
    rows = [row for row in rows if any(row.cells)]
    if not rows:
        raise InputError(f"{path} is empty; give an annotation with a row for every video")
    return rows


def check_samples(samples: list[Sample], where: Path) -> tuple[Sample, ...]:
    """The samples as they are.

    Raises:
        InputError: there is none.
    """
    if not samples:
        raise InputError(f"{where}: no videos found; check the layout, and the folder of the videos")
    return tuple(samples)


def existing(path: Path, where: str) -> Path:
    """The video at ``path``, or the folder of its frames, which is named like it without the suffix.

    Raises:
        InputError: there is neither; the text begins with ``where``.
    """
    if path.exists():
        return path
    if path.with_suffix("").is_dir():
        return path.with_suffix("")
    raise InputError(f"{where}: {path} is not there; correct the path, or pass the folder of the videos")


def index_by_stem(root: Path, wanted: set[str], depth: int) -> dict[str, Path]:
    """Videos and folders of frames under ``root`` by their names without suffix, as far as they are wanted.

    Each folder is listed once, as sets are large and storage may be far; a wanted folder is not looked into.

    Args:
        root: where to look.
        wanted: the names.
        depth: how many floors of folders to go down below ``root``.

    Raises:
        InputError: ``root`` is no folder.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder; pass the folder of the videos")
    found: dict[str, Path] = {}
    for entry in _scan(root):
        is_folder = entry.is_dir()
        stem, suffix = (entry.name, "") if is_folder else os.path.splitext(entry.name)
        if stem in wanted and (is_folder or suffix.lower() in VIDEO_SUFFIXES):
            found[stem] = Path(entry.path)
        elif is_folder and depth > 0:
            found |= index_by_stem(Path(entry.path), wanted, depth - 1)
    return found


def is_video(path: Path) -> bool:
    """Whether ``path`` looks like a video: a file with such a suffix, or a folder that holds frames."""
    if not path.is_dir():
        return path.suffix.lower() in VIDEO_SUFFIXES
    return any(os.path.splitext(entry.name)[1].lower() in FRAME_SUFFIXES for entry in _scan(path))


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))
