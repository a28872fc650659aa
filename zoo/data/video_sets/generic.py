"""Videos of one's own: folders named by class, and CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data.class_names import ClassIndex
from zoo.data.video_sets.listing import Row, Sample, VideoSet, check_samples, existing, is_video, read_rows
from zoo.errors import InputError

_LABEL_HEADERS = ("label", "class", "label_name", "class_name", "category")
_PATH_HEADERS = ("path", "file", "filename", "video", "clip", "name")


def from_folders(root: Path, names: Sequence[str] | None = None) -> VideoSet:
    """Videos in ``root/<class>/``, each a file or a folder of frames.

    Args:
        root: the folder of the classes.
        names: the classes in their order; by default the folders' names, sorted.

    Raises:
        InputError: there is no such folder, a class is not among ``names``, or holds no video.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder; give a folder that holds a folder of videos for every class")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    classes = ClassIndex(names or [folder.name for folder in folders])
    samples = []
    for folder in folders:
        label = classes.number(folder.name, str(folder))
        videos = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and is_video(path))
        if not videos:
            raise InputError(f"{folder} holds no videos and no folders of frames; fill it or take it away")
        samples += [Sample(path, label) for path in videos]
    return VideoSet(check_samples(samples, root), classes.names)


def from_csv(path: Path, videos: Path | None = None, names: Sequence[str] | None = None) -> VideoSet:
    """Videos that a CSV names: a path and a label in every row.

    With a header the columns are those named like ``path`` (or file, filename, video, clip, name) and ``label`` (or
    class, label_name, class_name, category); without one they are the first two. Labels are names or numbers from 0.

    Args:
        path: the file.
        videos: the folder that paths start from; by default the file's own.
        names: the classes in their order; by default the names that occur, sorted, or the numbers up to the largest.

    Raises:
        InputError: the file cannot be read, a row is something else, a label is not a class, or a video is not there.
    """
    rows = read_rows(path)
    header = [cell.casefold() for cell in rows[0].cells]
    path_column, label_column = 0, 1
    if any(cell in _LABEL_HEADERS for cell in header):
        label_column = next(column for column, cell in enumerate(header) if cell in _LABEL_HEADERS)
        path_column = next((column for column, cell in enumerate(header) if cell in _PATH_HEADERS), 0)
        rows = rows[1:]
        if path_column == label_column:
            raise InputError(f"{path}: the header names no column of paths; call one 'path' and one 'label'")
    for row in rows:
        if len(row.cells) <= max(path_column, label_column) or not row.cells[label_column]:
            raise InputError(f"{row.where}: a row is a path and a label, not {','.join(row.cells)!r}")
    labels, classes = _labels(rows, label_column, names)
    root = videos or path.parent
    samples = [
        Sample(existing(root / row.cells[path_column], row.where), label)
        for row, label in zip(rows, labels, strict=True)
    ]
    return VideoSet(check_samples(samples, path), classes)


def _labels(rows: list[Row], column: int, names: Sequence[str] | None) -> tuple[list[int], tuple[str, ...]]:
    """The label of every row, and the class names."""
    texts = [row.cells[column] for row in rows]
    # A class may itself be called "3": where the given names know all labels, labels are names.
    if all(text.isdecimal() for text in texts) and not (names and set(texts) <= set(names)):
        numbers = [int(text) for text in texts]
        largest = max(numbers, default=-1)
        known = tuple(names) if names else tuple(str(number) for number in range(largest + 1))
        if largest >= len(known):
            where = rows[numbers.index(largest)].where
            raise InputError(f"{where}: label {largest} is too large for {len(known)} classes, which count from 0")
        return numbers, known
    classes = ClassIndex(names or sorted(set(texts)))
    return [classes.number(text, row.where) for text, row in zip(texts, rows, strict=True)], classes.names
