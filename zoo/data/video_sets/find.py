"""Finding the videos of a set, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from zoo.data.class_names import ClassIndex, class_names
from zoo.data.video_sets import generic, official
from zoo.data.video_sets.listing import VideoSet, read_rows
from zoo.errors import InputError

Layout = Literal[
    "auto",
    "folders",
    "csv",
    "kinetics",
    "kinetics400",
    "kinetics600",
    "kinetics700",
    "something-something-v1",
    "something-something-v2",
    "jester",
    "ucf101",
    "hmdb51",
]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def find_videos(
    location: str | os.PathLike[str],
    layout: Layout = "auto",
    videos: str | os.PathLike[str] | None = None,
    part: str | None = None,
    class_names: Sequence[str] | None = None,
) -> VideoSet:
    """The videos of a set with their labels.

    Args:
        location: a folder that holds a folder for every class, a CSV, or an official annotation: the CSV of Kinetics
            and of Something-Something v1 and Jester (``id;label``), the JSON of Something-Something v2, a split file
            of UCF101, the folder of the split files of UCF101 or HMDB51.
        layout: how it is laid out; "auto" finds out, and "kinetics" is the smallest of the three that knows all labels.
        videos: the folder of the videos, or of the folders of frames; by default that of the annotation.
        part: for Kinetics a value of the column ``split``; for UCF101 and HMDB51 "train1" to "test3".
        class_names: the classes in the order in which a model knows them, such as those of the training part for
            the validation part; by default the set's own.

    Raises:
        InputError: the location is not there or is laid out otherwise, or a video is missing; names file and line.
        ValueError: the layout is unknown.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is one of {', '.join(LAYOUTS)}, not {layout!r}")
    path = Path(location)
    if not path.exists():
        raise InputError(f"{path} is not there; give a folder of classes, a CSV file or an official annotation")
    root = None if videos is None else Path(videos)
    name = guess_layout(path) if layout == "auto" else layout
    if part and not name.startswith(("kinetics", "ucf101", "hmdb51")):
        raise InputError(f"{path}: the layout {name} has no parts such as {part!r}: give the folder or file of each")
    if name == "folders":
        return generic.from_folders(path, class_names)
    if name == "csv":
        return generic.from_csv(path, root, class_names)
    if name.startswith("kinetics"):
        return official.kinetics(path, root, class_names or _names_of(name), part)
    if name == "ucf101":
        return official.ucf101(path, root, class_names, part)
    if name == "hmdb51":
        return official.hmdb51(path, root, class_names, part)
    if path.suffix.lower() == ".json":
        return official.something_json(path, root, class_names)
    return official.id_and_label(path, root, class_names or _names_of(name) or ())


def guess_layout(path: Path) -> str:
    """The layout of what lies at ``path``.

    Raises:
        InputError: it cannot be told.
    """
    if path.is_dir():
        if any(path.glob("*_test_split[123].txt")):
            return "hmdb51"
        return "ucf101" if any(path.glob("t*list0[123].txt")) else "folders"
    suffix = path.suffix.lower()
    if suffix == ".json":
        return "something-something-v2"
    if suffix == ".txt":
        return "ucf101"
    if suffix != ".csv":
        raise InputError(f"{path}: the layout cannot be told; name it, one of {', '.join(LAYOUTS)}")
    rows = read_rows(path)
    if "youtube_id" in rows[0].cells:
        return "kinetics"
    rows = read_rows(path, delimiter=";")
    if any(len(row.cells) != 2 for row in rows):
        return "csv"
    gestures = ClassIndex(class_names("jester"))
    return "jester" if all(row.cells[1] in gestures for row in rows) else "something-something-v1"


def _names_of(layout: str) -> tuple[str, ...] | None:
    return None if layout == "kinetics" else class_names(layout)
