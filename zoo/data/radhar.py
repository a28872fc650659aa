"""Activities of people as a millimetre-wave radar sees them: two seconds of its points are one cloud.

The recordings are those of RadHAR (Singh et al. 2019, "RadHAR: Human activity recognition from point clouds generated
through a millimeter-wave radar", BSD-3-Clause): 166 of about 20 seconds, 27 frames a second, 21 points a frame. Windows
of one recording overlap, so recordings and not windows are divided into parts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.array_files import read_arrays
from zoo.data.point_dataset import draw, sample_generator
from zoo.errors import InputError
from zoo.weights import PointInput

CLASS_NAMES = ("boxing", "jack", "jump", "squats", "walk")
COLUMNS = ("x", "y", "z", "velocity", "intensity", "time")
"""Of a cloud: x away from the radar, y to its left, z up, in metres; metres a second; decibels; seconds."""
SECONDS = 2.0
STRIDE = 1 / 3  # seconds from window to window in validation and test; the authors step by 10 frames
INPUT = PointInput(
    num_points=1024,
    features=("velocity", "intensity", "time"),
    center="mean",
    scale="none",
    mean=(0.0, 28.5, SECONDS / 2),  # of the training part, rounded; most of a person stands still
    std=(0.25, 3.5, SECONDS / 2),
)

POINT_ARRAYS = ("xyz", "velocity", "intensity")
FRAME_ARRAYS = ("points_per_frame", "frame_time")
RECORDING_ARRAYS = ("seq_frame_offsets", "labels", "is_test", "names")

Split = Literal["train", "val", "train+val", "test"]


@dataclass(frozen=True, eq=False)
class Recording:
    """One person doing one thing.

    Attributes:
        name: the class and the number of the recording.
        cloud: float32 [N, 6], see `COLUMNS`; the time counts from the recording's start and never falls.
        label: an index into `CLASS_NAMES`.
    """

    name: str
    cloud: np.ndarray
    label: int

    def window(self, start: float, seconds: float = SECONDS) -> np.ndarray:
        """The points from ``start`` on for so many seconds, float32 [N, 6], their time counted from ``start``."""
        first, last = np.searchsorted(self.cloud[:, 5], [start, start + seconds])
        cloud = self.cloud[first:last].copy()
        cloud[:, 5] -= np.float32(start)
        return cloud


def read_recordings(path: str | Path, split: Split) -> list[Recording]:
    """Read the recordings of ``split``; validation has the last fifth of every series of the training part.

    Raises:
        InputError: the file is missing or is not the set.
    """
    arrays = read_arrays(path, (*POINT_ARRAYS, *FRAME_ARRAYS, *RECORDING_ARRAYS))
    xyz, velocity, intensity = (arrays[key] for key in POINT_ARRAYS)
    points_per_frame, frame_time = (arrays[key] for key in FRAME_ARRAYS)
    frame_offsets, labels, is_test, names = (arrays[key] for key in RECORDING_ARRAYS)
    times = np.repeat(frame_time, points_per_frame)
    cloud = np.column_stack([xyz, velocity, intensity, times]).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(points_per_frame, dtype=np.int64)])[frame_offsets]
    for_validation = np.isin(names, _last_of_series([str(name) for name in names[~is_test]]))
    train, val = ~is_test & ~for_validation, ~is_test & for_validation
    parts_of_set = {"train": train, "val": val, "train+val": train | val, "test": is_test}
    return [
        Recording(str(names[index]), cloud[offsets[index] : offsets[index + 1]], int(labels[index]))
        for index in np.flatnonzero(parts_of_set[split])
    ]


class RadharDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of recordings as (points float [num_points, 6], label int64 []), see `COLUMNS`.

    Args:
        path: the set, see ``read_recordings``.
        split: "train" and "train+val" take windows from anywhere in a recording and vary them; "val" and "test" always
            give the same windows, one every third of a second.
        num_points: points of a sample; drawn with repetition from windows that have fewer.
        windows_per_recording: in an epoch of training.

    Attributes:
        class_names: the five activities.
        windows: in validation and test, (recording, start in seconds) of every sample.

    Raises:
        InputError: the file is not the set, or the part has no recording.
    """

    class_names = CLASS_NAMES

    def __init__(self, path: str | Path, split: Split, num_points: int = 1024, windows_per_recording: int = 16):
        self.recordings = read_recordings(path, split)
        if not self.recordings:
            raise InputError(f"{path}: its part {split!r} has no recording; take another one")
        self.training = split.startswith("train")
        self.num_points, self.windows_per_recording = num_points, windows_per_recording
        self.windows = [
            (index, start)
            for index, recording in enumerate(self.recordings)
            for start in np.arange(0, max(recording.cloud[-1, 5] - SECONDS, 0) + 1e-6, STRIDE)
            if len(recording.window(start))
        ]

    def __len__(self) -> int:
        return len(self.recordings) * self.windows_per_recording if self.training else len(self.windows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = sample_generator(self.training, index)
        if self.training:
            recording = self.recordings[index % len(self.recordings)]
            cloud = _varied_window(recording, rng)
            label = recording.label
        else:
            cloud, label = self.whole(index)
        chosen = draw(len(cloud), self.num_points, rng)
        return torch.from_numpy(cloud[chosen]), torch.tensor(label)

    def whole(self, index: int) -> tuple[np.ndarray, int]:
        """All points of a window of validation or test, float32 [N, 6], and its label."""
        number, start = self.windows[index]
        return self.recordings[number].window(start), self.recordings[number].label


def _varied_window(recording: Recording, rng: np.random.Generator) -> np.ndarray:
    """A window from anywhere; the person faster or slower, mirrored, turned, larger or smaller, and less sharp."""
    pace = rng.uniform(0.85, 1.15)
    times = recording.cloud[:, 5]
    start = min(float(rng.choice(times)), max(float(times[-1]) - SECONDS * pace, 0.0))
    cloud = recording.window(start, SECONDS * pace + 1e-3)
    cloud[:, 5] /= pace
    cloud[:, 3] *= pace
    xyz = cloud[:, :3] - cloud[:, :3].mean(axis=0)
    angle = rng.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    xyz = (xyz * [1, rng.choice([-1, 1]), 1]) @ turn * rng.uniform(0.85, 1.15)
    cloud[:, :3] = xyz + rng.normal(0, 0.02, xyz.shape)
    cloud[:, 4] += rng.normal(0, 1)
    return cloud


def _last_of_series(names: list[str]) -> list[str]:
    """The last fifth of the recordings that differ by their final number alone."""
    series = defaultdict(list)
    for name in names:
        series[re.sub(r"\d+$", "", name)].append(name)
    number = re.compile(r"\d*$")
    chosen = []
    for members in series.values():
        members.sort(key=lambda name: int(number.search(name)[0] or 0))  # type: ignore[index]
        chosen += members[len(members) - round(len(members) / 5) :]
    return chosen
