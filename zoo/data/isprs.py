"""Airborne laser scans of six sites, every point labelled as ground or not.

The scenes are reference samples of the ISPRS filter test (Sithole & Vosselman 2004, "Experimental comparison of filter
algorithms for bare-Earth extraction from airborne laser scanning point clouds"), as PointCloudLibrary/data keeps them
(BSD-3-Clause). Sites 1 to 4 are towns, 5 and 7 countryside, 5 with steep slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.array_files import read_arrays
from zoo.data.ground import height_above_ground
from zoo.data.point_dataset import sample_generator
from zoo.data.scene_parts import cover_with_tiles, tile_around
from zoo.errors import InputError
from zoo.weights import PointInput

CLASS_NAMES = ("not ground", "ground")
SITES = ("samp1", "samp2", "samp3", "samp4", "samp5", "samp7")
INPUT = PointInput(4096, ("ground_heights",), "mean", "unit_sphere", "tiles")

Split = Literal["train", "val"]


@dataclass(frozen=True, eq=False)
class Scene:
    """One scan.

    Attributes:
        name: "samp11" and so on.
        points: float32 [N, 3] in metres, z up.
        labels: int64 [N], 1 for ground.
    """

    name: str
    points: np.ndarray
    labels: np.ndarray

    @property
    def site(self) -> str:
        """The place that scans share: "samp1" for "samp11" and "samp12"."""
        return self.name[:5]


def read_scenes(path: str | Path) -> list[Scene]:
    """Read all scenes.

    Raises:
        InputError: the file is missing or is not the set.
    """
    arrays = read_arrays(path, ("points", "is_ground", "offsets", "names"))
    points, labels = arrays["points"].astype(np.float32), arrays["is_ground"].astype(np.int64)
    parts = [slice(start, end) for start, end in pairwise(arrays["offsets"])]
    return [Scene(str(name), points[part], labels[part]) for name, part in zip(arrays["names"], parts, strict=True)]


def scene_features(points: np.ndarray) -> np.ndarray:
    """What a network sees of a scene [N, 3 or more]: xyz and its `height_above_ground`, float32 [N, 8]."""
    xyz = np.asarray(points)[:, :3]
    return np.concatenate([xyz, height_above_ground(xyz)], axis=1).astype(np.float32)


class IsprsDataset(Dataset[tuple[Tensor, Tensor]]):
    """Tiles of ``num_points`` points as (points float [N, 8], labels int64 [N]), see `scene_features`.

    In training a tile lies about a random point of a scene, and is turned about z, mirrored and thinned. In validation
    the tiles cover the held-out scenes, always the same.

    Args:
        path: the set, see ``read_scenes``.
        split: "train" takes the scenes of all other sites, "val" those of the held-out ones.
        held_out: sites such as "samp5"; none trains on all.
        num_points: N.
        tiles_per_scene: in an epoch of training.

    Attributes:
        class_names: "not ground" and "ground".
        scenes: those of the split.
        features: `scene_features` of each.
        parts: in validation, (scene, indices int64 [N]) of every sample, to merge predictions by.

    Raises:
        InputError: the file is not the set, a site is unknown, or the split has no scene.
    """

    class_names = CLASS_NAMES

    def __init__(
        self,
        path: str | Path,
        split: Split,
        held_out: Sequence[str],
        num_points: int = 4096,
        tiles_per_scene: int = 32,
    ):
        scenes = read_scenes(path)
        sites = sorted({scene.site for scene in scenes})
        unknown = sorted(set(held_out) - set(sites))
        if unknown:
            raise InputError(f"{path} has no site {', '.join(unknown)}: hold out some of {', '.join(sites)}")
        self.training = split == "train"
        self.scenes = [scene for scene in scenes if (scene.site not in held_out) == self.training]
        if not self.scenes:
            raise InputError(f"{path}: no scene is left for {split!r}; hold out some sites, but not all")
        self.num_points, self.tiles_per_scene = num_points, tiles_per_scene
        self.features = [scene_features(scene.points) for scene in self.scenes]
        self.parts: list[tuple[int, np.ndarray]] = []
        for index, scene in enumerate([] if self.training else self.scenes):
            self.parts += [(index, tile) for tile in cover_with_tiles(scene.points, num_points)]

    def __len__(self) -> int:
        return len(self.scenes) * self.tiles_per_scene if self.training else len(self.parts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not self.training:
            scene, tile = self.parts[index]
            return torch.from_numpy(self.features[scene][tile]), torch.from_numpy(self.scenes[scene].labels[tile])
        rng = sample_generator(True, index)
        scene = index % len(self.scenes)
        features = self.features[scene]
        kept = np.flatnonzero(rng.random(len(features)) < rng.uniform(0.5, 1.0))  # other scanners see fewer points
        tile = kept[tile_around(features[kept], features[rng.integers(len(features)), :2], self.num_points)]
        points = features[tile]
        points[:, :2] = (points[:, :2] - points[:, :2].mean(axis=0)) @ _turn(rng)
        return torch.from_numpy(points), torch.from_numpy(self.scenes[scene].labels[tile])


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A random turn about z, in half of the cases with a mirror, [2, 2]."""
    angle = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (matrix * [rng.choice([-1, 1]), 1]).astype(np.float32)
