"""Tabletop scenes: RGB-D clouds of objects on tables, every point labelled as object or background.

The scenes are those of the mOSD set (PointCloudLibrary/data, BSD-3-Clause; Richtsfeld et al. 2012, Object Segmentation
Database), sub-sampled to 6 mm: 45 to learn from and 40 to test on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.errors import InputError
from zoo.weights import PointInput

CLASS_NAMES = ("background", "object")
INPUT = PointInput(4096, ("rgb",))
FIRST_OBJECT_LABEL = 20
FIRST_VAL_SCENE = 36  # learn36 to learn44 are for validation: scenes with many objects, taken one after another
UP = np.array([0.0, -0.76, -0.65])  # off the table, in the camera's frame; the same in all scenes within a few degrees

Split = Literal["train", "val", "train+val", "test"]


def read_scenes(path: str | Path, split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the scenes of ``split``.

    Returns:
        For each scene its points float32 [N, 6], xyz in metres (camera frame) and rgb in 0..1, and its labels int64
        [N], 1 for an object.

    Raises:
        InputError: the file is missing or is not the set.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            points = archive["points_halfmm"].astype(np.float32) / 2000
            colors = archive["rgb"].astype(np.float32) / 255
            labels = (archive["label"] >= FIRST_OBJECT_LABEL).astype(np.int64)
            offsets, is_test, names = archive["offsets"], archive["is_test"], archive["names"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path}: not the tabletop scenes ({error}); pass mosd_tabletop.npz") from error
    for_validation = np.array([int("".join(filter(str.isdigit, str(name)))) >= FIRST_VAL_SCENE for name in names])
    train, val = ~is_test & ~for_validation, ~is_test & for_validation
    parts_of_set = {"train": train, "val": val, "train+val": train | val, "test": is_test}
    features = np.concatenate([points, colors], axis=1)
    parts = [slice(offsets[scene], offsets[scene + 1]) for scene in np.flatnonzero(parts_of_set[split])]
    return [(features[part], labels[part]) for part in parts]


class TabletopDataset(Dataset[tuple[Tensor, Tensor]]):
    """Samples of ``num_points`` points of a scene as (points float [N, 6], labels int64 [N]).

    Args:
        path: the set, see ``read_scenes``.
        split: "train" and "train+val" draw points anew and turn, mirror, scale and recolour the scene; "val" and "test"
            always give the same points.
        num_points: N.
        samples_per_scene: how many samples of each scene an epoch has.
    """

    def __init__(self, path: str | Path, split: Split, num_points: int, samples_per_scene: int = 8):
        self.scenes = read_scenes(path, split)
        self.split, self.num_points, self.samples_per_scene = split, num_points, samples_per_scene

    def __len__(self) -> int:
        return len(self.scenes) * self.samples_per_scene

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        training = self.split.startswith("train")
        rng = np.random.default_rng(int(torch.randint(2**62, ())) if training else index)
        points, labels = self.scenes[index % len(self.scenes)]
        chosen = rng.choice(len(points), self.num_points, replace=len(points) < self.num_points)
        points = _augment(points[chosen], rng) if training else points[chosen]
        return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels[chosen])


def _augment(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn the table, tilt the camera a little, mirror, scale and jitter; vary the colours, or drop them altogether."""
    xyz, rgb = points[:, :3], points[:, 3:]
    xyz = xyz - xyz.mean(axis=0)
    xyz = xyz @ _rotation(UP, rng.uniform(-0.8, 0.8)).T @ _rotation(rng.normal(size=3), rng.normal(0, 0.03)).T
    xyz = xyz * rng.uniform(0.9, 1.1) * [rng.choice([-1, 1]), 1, 1]
    xyz = xyz + rng.normal(0, 0.0003, xyz.shape)
    if rng.random() < 0.2:
        rgb = np.zeros_like(rgb)
    else:
        rgb = np.clip((rgb - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.15, 0.15, 3), 0, 1)
    return np.concatenate([xyz, rgb], axis=1)


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """The matrix [3, 3] that turns columns about ``axis`` by ``angle``, in radians (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
