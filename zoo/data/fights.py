"""Fights in the pictures of surveillance cameras: 234 clips, 16 frames of each, from footage of many cameras.

The clips are those of seymanurakti/fight-detection-surv-dataset (Akti et al. 2019, "Vision-based fight detection from
surveillance cameras"): ``frames/<clip>/NN.jpg`` and ``labels.csv`` with the columns clip, label (1 for a fight) and
source_id. Clips of one source show the same place, so sources and not clips are divided into parts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.video_sets.listing import read_rows
from zoo.errors import InputError

CLASS_NAMES = ("no fight", "fight")
NUM_FOLDS = 3
LARGE_SOURCE = 10  # clips; one of a single class says nothing when it is tested on
COLUMNS = ("clip", "label", "source_id")


@dataclass(frozen=True)
class FightClip:
    """One clip.

    Attributes:
        path: the folder of its frames.
        label: an index into `CLASS_NAMES`.
        source: the footage that it is cut from.
        part: 0 to 5; sources are dealt out so that every part has about as many clips of both classes. A fold is two
            of them. -1 for sources that are always trained on, as they hold one class alone.
    """

    path: Path
    label: int
    source: str
    part: int


def read_clips(root: str | Path) -> list[FightClip]:
    """All clips of the set.

    Args:
        root: the folder that holds labels.csv and frames.

    Raises:
        InputError: the folder is not the set.
    """
    listing = Path(root) / "labels.csv"
    header, *rows = read_rows(listing)
    names = [cell.casefold() for cell in header.cells]
    if not set(COLUMNS) <= set(names):
        raise InputError(f"{listing} lacks a column of {', '.join(COLUMNS)}: give the folder of the unpacked set")
    columns = [names.index(name) for name in COLUMNS]
    entries = []
    for row in rows:
        clip, label, source = (row.cells[column] for column in columns)
        path = Path(root) / "frames" / clip
        if label not in ("0", "1") or not path.is_dir():
            raise InputError(f"{row.where}: no folder {path}, or the label {label} is neither 0 nor 1; unpack it again")
        entries.append((path, int(label), source))
    part_of = _deal([(source, label) for _, label, source in entries])
    return [FightClip(path, label, source, part_of[source]) for path, label, source in entries]


def clips_of(
    clips: list[FightClip], fold: int, hold_out_val: bool
) -> tuple[list[FightClip], list[FightClip], list[FightClip]]:
    """What to train, validate and test on.

    Args:
        clips: all.
        fold: 1 to 3, the one to test on; 0 trains on all.
        hold_out_val: leave out half a fold to validate on.

    Raises:
        InputError: there is no such fold.
    """
    if not 0 <= fold <= NUM_FOLDS:
        raise InputError(f"data.fold is {fold}: the fights have the folds 1 to {NUM_FOLDS}, and 0 for none")
    test = (2 * fold - 2, 2 * fold - 1) if fold else ()
    val = (2 * fold % (2 * NUM_FOLDS),) if hold_out_val else ()
    return (
        [clip for clip in clips if clip.part not in (*test, *val)],
        [clip for clip in clips if clip.part in val],
        [clip for clip in clips if clip.part in test],
    )


def _deal(labels: list[tuple[str, int]]) -> dict[str, int]:
    """The part of every source: the largest source first, each to the part that has the fewest clips of its kind."""
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2, dtype=np.int64))
    for source, label in labels:
        counts[source][label] += 1
    one_class = {source for source, count in counts.items() if count.sum() >= LARGE_SOURCE and not count.all()}
    parts = np.zeros((2 * NUM_FOLDS, 2), dtype=np.int64)
    dealt = dict.fromkeys(one_class, -1)
    for source in sorted(set(counts) - one_class, key=lambda source: (-counts[source].sum(), source)):
        part = int(((parts + counts[source]) ** 2 - parts**2).sum(axis=1).argmin())
        parts[part] += counts[source]
        dealt[source] = part
    return dealt
