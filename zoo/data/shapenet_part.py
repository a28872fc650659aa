"""ShapeNet Part: shapes of 16 categories, every point labelled as one of 50 parts.

Yi et al. 2016, "A scalable active framework for region annotation in 3D shape collections", in the release with normals
(``shapenetcore_partanno_segmentation_benchmark_v0_normal``) that PointNet++ and PVCNN are trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.point_dataset import PathLike, read_table, sample_generator
from zoo.data.point_transforms import Jitter
from zoo.errors import InputError
from zoo.weights import PointInput

NUM_PARTS = {
    **{"Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3, "Knife": 2},
    **{"Lamp": 4, "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3, "Skateboard": 3, "Table": 3},
}
SHAPE_NAMES = tuple(NUM_PARTS)
"""The shapes in the order of their ids, that of the alphabet."""
SHAPE_PARTS = tuple(
    range(end - count, end)
    for end, count in zip(np.cumsum([*NUM_PARTS.values()]).tolist(), NUM_PARTS.values(), strict=True)
)
"""The labels that belong to each shape: 0 to 3 to the airplane, 47 to 49 to the table."""
PART_NAMES = tuple(f"{name} {part}" for name, count in NUM_PARTS.items() for part in range(1, count + 1))
"""The release numbers the parts of a shape and does not name them."""

INPUT = PointInput(2048, ("normals",), "mean", "unit_sphere")

Split = Literal["train", "val", "train+val", "test"]
Sample = tuple[tuple[Tensor, Tensor], Tensor]


class ShapeNetPart(Dataset[Sample]):
    """Samples ((points float [num_points, 6], shape id int64 []), labels int64 [num_points]): xyz and normals.

    The input is a tuple because a part model is called with both, ``model(points, shape_ids)``; only the points go
    through the transform. They are complete: it must not scale what was drawn once more.

    Args:
        root: the folder of ``synsetoffset2category.txt``.
        split: "train" and "train+val" (what the authors train on) draw points anew every time, with repetition, and
            jitter them as the authors do; "val" and "test" always give the same.
        num_points: of a sample.
        normalize: centre every shape and scale it to the unit sphere before points are drawn, as the authors do.

    Attributes:
        class_names: of the 50 parts.
        files: (path, shape id) of every sample.

    Raises:
        InputError: a list of the release is missing or names what it should not; when a sample is taken, its file
            cannot be read.
    """

    class_names = PART_NAMES

    def __init__(self, root: PathLike, split: Split = "train+val", num_points: int = 2048, normalize: bool = True):
        self.num_points, self.normalize, self.training = num_points, normalize, split.startswith("train")
        self.files = [file for part in split.split("+") for file in _listed_files(Path(root), part)]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        points, shape, labels = self.shape(index)
        rng = sample_generator(self.training, index)
        chosen = rng.choice(len(points), self.num_points, replace=True)
        drawn = Jitter()(points[chosen], rng) if self.training else points[chosen]
        return (torch.from_numpy(drawn), torch.tensor(shape)), torch.from_numpy(labels[chosen])

    def path_of(self, index: int) -> str:
        """The path of the sample ``index``, for messages and lists of bad files."""
        return str(self.files[index][0])

    def shape(self, index: int) -> tuple[np.ndarray, int, np.ndarray]:
        """All of a shape, to be tested on: points float32 [M, 6], the shape id and labels int64 [M].

        Raises:
            InputError: its file cannot be read, or has no column of labels of that shape.
        """
        path, shape = self.files[index]
        table = read_table(path)
        labels = table[:, -1].astype(np.int64)
        if table.shape[1] != 7 or not np.isin(labels, SHAPE_PARTS[shape]).all():
            raise InputError(
                f"{path} is not x y z, normal and part of a {SHAPE_NAMES[shape]}: take it from the release"
            )
        xyz = table[:, :3]
        if self.normalize:
            xyz = xyz - xyz.mean(axis=0)
            xyz = xyz / (np.linalg.norm(xyz, axis=1).max() or 1.0)
        return np.concatenate([xyz, table[:, 3:6]], axis=1).astype(np.float32), shape, labels


def _listed_files(root: Path, part: str) -> list[tuple[Path, int]]:
    """The files of one list with their shape ids, in the list's order."""
    categories, listing = root / "synsetoffset2category.txt", root / f"train_test_split/shuffled_{part}_file_list.json"
    try:
        lines = [line.split() for line in categories.read_text().splitlines() if line.strip()]
        shapes = {folder: SHAPE_NAMES.index(name) for name, folder in lines}
        names = [Path(name).parts[-2:] for name in json.loads(listing.read_text())]
        return [(root / folder / f"{name}.txt", shapes[folder]) for folder, name in names]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{root} is not the release with normals ({error}): give its folder with {listing.name}"
        ) from error
