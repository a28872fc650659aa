"""The annotations of public sets as their authors give them out."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from zoo.data.class_names import ClassIndex, class_names
from zoo.data.video_sets.listing import Sample, VideoSet, check_samples, existing, index_by_stem, read_rows
from zoo.errors import InputError

log = logging.getLogger("zoo.data")


def kinetics(path: Path, videos: Path | None, names: Sequence[str] | None, part: str | None) -> VideoSet:
    """Kinetics-400, 600 or 700: a CSV of ``label,youtube_id,time_start,time_end,split``.

    The videos, or folders of frames, are named ``<youtube_id>_<start>_<end>``, with six digits each or without leading
    zeros, ``<youtube_id>_<start>`` or ``<youtube_id>``, in ``videos`` or up to two folders below. Videos vanish from
    where they came from, so those that are not there are left out and counted.

    Raises:
        InputError: the file is no such annotation, a label is not a class, or no video is there.
    """
    rows = read_rows(path)
    columns = {name: column for column, name in enumerate(rows[0].cells)}
    needed = ("label", "youtube_id", "time_start", "time_end")
    if not set(needed) <= set(columns) or (part and "split" not in columns):
        raise InputError(f"{path}: the header of a Kinetics annotation names {', '.join(needed)}, split")
    entries = rows[1:]
    rows = [row for row in entries if part is None or row.cells[columns["split"] :][:1] == [part]]
    if part and not rows:
        parts = sorted({row.cells[columns["split"]] for row in entries if len(row.cells) > columns["split"]})
        raise InputError(f"{path}: no row is of the part {part!r}; its column split has {', '.join(parts)}")
    classes = ClassIndex(names or _kinetics_names({row.cells[columns["label"]] for row in rows}))
    wanted: list[tuple[list[str], int]] = []
    for row in rows:
        try:
            label, video, start, end = (row.cells[columns[name]] for name in needed)
            times = [int(float(start)), int(float(end))]
        except (IndexError, ValueError) as error:
            raise InputError(f"{row.where}: not a label, an id and two times in seconds; correct the row") from error
        stems = [f"{video}_{times[0]:06d}_{times[1]:06d}", f"{video}_{times[0]}_{times[1]}"]
        stems += [f"{video}_{times[0]:06d}", f"{video}_{times[0]}", video]
        wanted.append((stems, classes.number(label, row.where)))
    found = index_by_stem(videos or path.parent, {stem for stems, _ in wanted for stem in stems}, depth=2)
    samples = [
        Sample(next(found[stem] for stem in stems if stem in found), label)
        for stems, label in wanted
        if any(stem in found for stem in stems)
    ]
    num_missing = len(wanted) - len(samples)
    if num_missing:
        log.warning("%s: %d of %d videos are not there and are left out", path, num_missing, len(wanted))
    return VideoSet(check_samples(samples, path), classes.names, num_missing)


def something_json(path: Path, videos: Path | None, names: Sequence[str] | None) -> VideoSet:
    """Something-Something v2: a JSON list of ``{"id": ..., "template": "Holding [something]"}``, videos ``<id>.webm``.

    Raises:
        InputError: the file is no such annotation, a template is not a class, or a video is not there.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(str(entry["id"]), str(entry["template"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not an annotation of Something-Something v2 ({type(error).__name__}: {error}); give "
            'a JSON list of entries with "id" and "template" (the test part is published without)'
        ) from error
    classes = ClassIndex(names or class_names("something-something-v2"))
    rows = [
        (video, re.sub(r"[\[\]]", "", template), f"{path}, entry {number}")
        for number, (video, template) in enumerate(pairs, start=1)
    ]
    return _by_id(rows, classes, videos or path.parent, path)


def id_and_label(path: Path, videos: Path | None, names: Sequence[str]) -> VideoSet:
    """Jester and Something-Something v1: lines ``id;label``, and a folder of frames (or a video) for every id.

    Raises:
        InputError: the file is no such annotation, a label is not a class, or a video is not there.
    """
    rows = []
    for row in read_rows(path, delimiter=";"):
        if len(row.cells) != 2:
            raise InputError(f"{row.where}: a line is id;label (the test part is published without labels)")
        rows.append((row.cells[0], row.cells[1], row.where))
    return _by_id(rows, ClassIndex(names), videos or path.parent, path)


def ucf101(path: Path, videos: Path | None, names: Sequence[str] | None, part: str | None) -> VideoSet:
    """UCF101: ``trainlist01.txt`` or another of the six lists, or the folder of the lists and ``part="train1"``.

    A line is ``<class>/<video>.avi``, in the training lists with a number from 1 after it; the folder's name is the
    class. The videos lie in ``videos`` just so, or as folders of frames named like them without the suffix.

    Raises:
        InputError: the file is no such list, a class is unknown, or a video is not there.
    """
    if path.is_dir():
        side, number = _part(part, path)
        path = path / f"{side}list{number:02d}.txt"
    elif part:
        raise InputError(f"{path} is one part itself: give the folder of the lists, or leave out {part!r}")
    classes = ClassIndex(names or class_names("ucf101"))
    root = videos or path.parent
    samples = []
    for row in read_rows(path, delimiter=" "):
        folder, _, file = row.cells[0].rpartition("/")
        if not folder or not file:
            raise InputError(f"{row.where}: a line is <class>/<video>.avi, not {row.cells[0]!r}")
        samples.append(Sample(existing(root / folder / file, row.where), classes.number(folder, row.where)))
    return VideoSet(check_samples(samples, path), classes.names)


def hmdb51(folder: Path, videos: Path | None, names: Sequence[str] | None, part: str | None) -> VideoSet:
    """HMDB51: the folder of ``<class>_test_split<1-3>.txt`` and ``part``, "train1" to "test3".

    A line is ``<video>.avi <0, 1 or 2>``: 1 is for training, 2 for the test. The videos lie in ``videos/<class>``.

    Raises:
        InputError: the folder holds no such lists, a class is unknown, or a video is not there.
    """
    side, number = _part(part, folder)
    mark = {"train": "1", "test": "2"}[side]
    classes = ClassIndex(names or class_names("hmdb51"))
    suffix = f"_test_split{number}.txt"
    samples = []
    for path in sorted(folder.glob(f"*{suffix}")):
        name = path.name.removesuffix(suffix)
        label = classes.number(name, str(path))
        for row in read_rows(path, delimiter=" "):
            if len(row.cells) < 2 or row.cells[1] not in ("0", "1", "2"):
                raise InputError(f"{row.where}: a line is <video>.avi and 0, 1 or 2, not {' '.join(row.cells)!r}")
            if row.cells[1] == mark:
                samples.append(Sample(existing((videos or folder) / name / row.cells[0], row.where), label))
    return VideoSet(check_samples(samples, folder), classes.names)


def _kinetics_names(labels: set[str]) -> tuple[str, ...]:
    """The classes of the smallest Kinetics that knows all labels, or of the largest."""
    for dataset in ("kinetics400", "kinetics600", "kinetics700"):
        names = class_names(dataset)
        classes = ClassIndex(names)
        if all(label in classes for label in labels):
            break
    return names


def _by_id(rows: list[tuple[str, str, str]], classes: ClassIndex, root: Path, annotation: Path) -> VideoSet:
    """Rows of (id, class name, where they stand) with the videos that bear the ids in ``root``."""
    found = index_by_stem(root, {video for video, _, _ in rows}, depth=0)
    samples = []
    for video, name, where in rows:
        label = classes.number(name, where)
        if video not in found:
            raise InputError(f"{where}: {root} holds no video and no folder of frames {video}; pass the right folder")
        samples.append(Sample(found[video], label))
    return VideoSet(check_samples(samples, annotation), classes.names)


def _part(part: str | None, where: Path) -> tuple[str, int]:
    """The side and the number of a part such as "train1"."""
    match = re.fullmatch(r"(train|test)([123])", part or "")
    if not match:
        raise InputError(
            f"{where}: say which part, train1 to train3 or test1 to test3, not {part!r}; configurations "
            "have data.train_part and data.val_part for it"
        )
    return match[1], int(match[2])
