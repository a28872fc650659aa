"""KITTI's average precision of 2D, bird's-eye-view and 3D boxes (Geiger et al. 2012).

The benchmark's own programme decides in corner cases, and its decisions are kept: what is said here of matching,
ignoring and the steps of recall is what it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from zoo.engine.protocols.evaluation import Evaluation
from zoo.engine.protocols.kitti_files import KittiObjects, read_kitti_objects
from zoo.engine.protocols.rotated_iou import box_iou, image_overlap, rotated_iou
from zoo.errors import InputError

Metric = Literal["2d", "bev", "3d"]
METRICS: tuple[Metric, ...] = ("2d", "bev", "3d")
MIN_OVERLAP = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}  # a match has more than this
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}  # finding these is neither right nor wrong
RECALL_STEPS = 40  # the curve has one more point, at recall 0


@dataclass(frozen=True)
class Difficulty:
    """Which labels have to be found; smaller detections are ignored too.

    Attributes:
        min_height: of the box in the picture, in pixels; a label has to be higher, a detection as high.
        max_occlusion: see ``KittiObjects``.
        max_truncation: the share outside the picture.
    """

    min_height: float
    max_occlusion: float
    max_truncation: float


DIFFICULTIES = {
    "easy": Difficulty(40, 0, 0.15),
    "moderate": Difficulty(25, 1, 0.3),
    "hard": Difficulty(25, 2, 0.5),
}


@dataclass(frozen=True)
class _Picture:
    """One picture for one class, metric and difficulty.

    Attributes:
        overlap: [D, G], of the detections that can match with the labels that can be matched.
        scores: [D].
        small: bool [D], detections that are ignored for their height.
        ignored: bool [G], labels that need not be found.
        excused: bool [D], detections in a region in which nothing was labelled.
    """

    overlap: np.ndarray
    scores: np.ndarray
    small: np.ndarray
    ignored: np.ndarray
    excused: np.ndarray


def evaluate_kitti(label_folder: str | Path, result_folder: str | Path) -> Evaluation:
    """Measure a folder of result files against the labels of the same pictures.

    Args:
        label_folder: KITTI's ``label_2``, with ``000000.txt`` and so on.
        result_folder: one file for every picture to be measured, empty where nothing was found.

    Returns:
        Average precisions in 0..1, such as ``car_3d_moderate_r40``; NaN where there is nothing to be found.

    Raises:
        InputError: there are no results, labels are missing, or a file cannot be read.
    """
    results = sorted(Path(result_folder).glob("*.txt"))
    if not results:
        raise InputError(f"{result_folder} holds no result files; write one NNNNNN.txt for each picture")
    labels = [read_kitti_objects(Path(label_folder) / path.name) for path in results]
    detections = [read_kitti_objects(path, scored=True) for path in results]
    figures = {}
    for metric in METRICS:
        overlaps = [pairwise_overlap(*pair, metric) for pair in zip(detections, labels, strict=True)]
        for name in MIN_OVERLAP:
            for difficulty in DIFFICULTIES:
                curve = precision_curve(detections, labels, name, metric, difficulty, overlaps)
                figures[f"{name}_{metric}_{difficulty}_r11"] = average_precision(curve, 11)
                figures[f"{name}_{metric}_{difficulty}_r40"] = average_precision(curve, 40)
    return Evaluation("kitti", len(results), figures, {}, {"min_overlap": MIN_OVERLAP})


def average_precision(curve: np.ndarray, points: Literal[11, 40]) -> float:
    """The mean precision of a curve.

    Args:
        curve: [41], at recall 0, 1/40, ... 1, see `precision_curve`.
        points: 11 takes recall 0, 0.1, ... 1 (until 2019); 40 leaves out recall 0, at which one right detection
            is worth 1/11 (Simonelli et al. 2019, section 5).
    """
    chosen = curve[:: RECALL_STEPS // 10] if points == 11 else curve[1:]
    return float(chosen.mean())


def precision_curve(
    detections: Sequence[KittiObjects],
    labels: Sequence[KittiObjects],
    name: str,
    metric: Metric,
    difficulty: str,
    overlaps: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """The highest precision at each step of recall or beyond.

    Args:
        detections: of each picture.
        labels: of each picture.
        name: "car", "pedestrian" or "cyclist".
        metric: "2d", "bev" or "3d".
        difficulty: "easy", "moderate" or "hard".
        overlaps: `pairwise_overlap` of each picture, where it is known.

    Returns:
        float64 [41], at recall 0, 1/40, ... 1; NaN where there is nothing to be found.
    """
    if overlaps is None:
        overlaps = [pairwise_overlap(*pair, metric) for pair in zip(detections, labels, strict=True)]
    level, least = DIFFICULTIES[difficulty], MIN_OVERLAP[name]
    pictures = [
        _picture(found, there, overlap, name, metric, level)
        for found, there, overlap in zip(detections, labels, overlaps, strict=True)
    ]
    num_labels = sum(int((~picture.ignored).sum()) for picture in pictures)
    if not num_labels:
        return np.full(RECALL_STEPS + 1, math.nan)
    hits = np.concatenate([_scores_of_hits(picture, least) for picture in pictures])
    thresholds = recall_thresholds(hits, num_labels)
    right, wrong = (sum(counts) for counts in zip(*(_count(each, least, thresholds) for each in pictures), strict=True))
    precision = np.zeros(RECALL_STEPS + 1)
    precision[: len(thresholds)] = right / np.maximum(right + wrong, 1)
    return np.maximum.accumulate(precision[::-1])[::-1]


def recall_thresholds(scores: np.ndarray, num_labels: int) -> np.ndarray:
    """The scores at which recall comes nearest to 0, 1/40, ... 1.

    Args:
        scores: of the detections that match a label.
        num_labels: how many labels are to be found.

    Returns:
        Descending, 41 at most.
    """
    thresholds: list[float] = []
    ordered = np.sort(scores)[::-1]
    wanted = 0.0
    for index, score in enumerate(ordered):
        last = index == len(ordered) - 1
        recall, next_recall = (index + 1) / num_labels, (index + 2) / num_labels
        if not last and next_recall - wanted < wanted - recall:
            continue
        thresholds.append(float(score))
        wanted += 1 / RECALL_STEPS
    return np.array(thresholds[: RECALL_STEPS + 1])


def pairwise_overlap(detections: KittiObjects, labels: KittiObjects, metric: Metric) -> np.ndarray:
    """Intersection over union of all detections with all labels of a picture, float64 [D, G]."""
    if metric == "2d":
        return image_overlap(detections.image, labels.image)
    if metric == "bev":
        return rotated_iou(detections.ground, labels.ground)
    return box_iou(detections.boxes, labels.boxes)


def _picture(
    detections: KittiObjects, labels: KittiObjects, overlap: np.ndarray, name: str, metric: Metric, level: Difficulty
) -> _Picture:
    """What counts in a picture, and how."""
    types = np.array(labels.types, dtype=str)
    height = labels.image[:, 3] - labels.image[:, 1]
    hard = (labels.occlusion > level.max_occlusion) | (labels.truncation > level.max_truncation)
    ignored = (types != name) | hard | (height <= level.min_height)
    matchable = (types == name) | (types == NEIGHBOUR.get(name))

    # A detection that is too small is ignored whatever its class, as the development kit has it: it may take a label.
    small = np.floor(np.abs(detections.image[:, 3] - detections.image[:, 1])) < level.min_height
    relevant = small | (np.array(detections.types, dtype=str) == name)
    excused = np.zeros(len(detections), dtype=bool)
    unlabelled = labels.image[types == "dontcare"]
    if metric == "2d" and len(unlabelled):  # such regions are known in the picture alone
        excused = image_overlap(detections.image, unlabelled, over="first").max(1) > MIN_OVERLAP[name]
    return _Picture(
        overlap[np.ix_(relevant, matchable)],
        detections.score[relevant],
        small[relevant],
        ignored[matchable],
        excused[relevant],
    )


def _scores_of_hits(picture: _Picture, least: float) -> np.ndarray:
    """The scores of the detections that find a label when each label takes the most certain of its matches."""
    free = np.ones(len(picture.scores), dtype=bool)
    hits = []
    for label in range(len(picture.ignored)):
        matches = free & (picture.overlap[:, label] > least)
        if not matches.any():
            continue
        best = int(np.where(matches, picture.scores, -np.inf).argmax())
        free[best] = False
        if not picture.ignored[label] and not picture.small[best]:
            hits.append(picture.scores[best])
    return np.array(hits)


def _count(picture: _Picture, least: float, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many detections with at least the score of each of the thresholds [K] are right and wrong, int64 [K] each.

    Here each label takes the match with the greatest overlap, and a small one only if there is no other.
    """
    free = picture.scores[None] >= thresholds[:, None]  # [K, D]
    right = np.zeros(len(thresholds), dtype=np.int64)
    rows = np.arange(len(thresholds))
    for label in range(len(picture.ignored)):
        overlap = picture.overlap[:, label]
        matches = free & (overlap > least)
        if not matches.any():
            continue
        good = matches & ~picture.small
        best = np.where(good.any(1), np.where(good, overlap, -1).argmax(1), matches.argmax(1))
        taken = matches.any(1)
        free[rows[taken], best[taken]] = False
        if not picture.ignored[label]:
            right += taken & ~picture.small[best]
    wrong = (free & ~picture.small & ~picture.excused).sum(1)
    return right, wrong
