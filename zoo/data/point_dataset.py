"""One's own clouds to train on: folders of clouds by class, and files of clouds or scenes with labels.

Samples are (points float [num_points, C], label), xyz first. In training the points are drawn anew every time, by
torch's generator; otherwise a sample is always the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.array_files import ARRAY_SUFFIXES, read_arrays
from zoo.data.point_formats.table import parse_table, text_lines
from zoo.data.points import POINT_SUFFIXES, read_points
from zoo.data.scene_parts import Parts, scene_parts, tile_around
from zoo.data.shards import Frames, Member, Shard, as_file, shard_of, shard_sizes
from zoo.errors import InputError

PathLike = str | os.PathLike[str]


class PointFiles(Dataset[tuple[Tensor, Tensor]]):
    """Clouds or meshes, one a file.

    Args:
        files: paths, or files in shards, with labels; such as ``find_shards(...).samples``.
        class_names: in the order of the labels.
        num_points: of a sample; drawn with repetition from smaller clouds.
        features: what follows xyz, of "rgb" (in 0..1), "normals" and "intensity"; every file must have it.
        training: whether points are drawn anew every time.

    Attributes:
        class_names: in the order of the labels.
        files: (path, label) of every sample.
        shard_sizes: samples of each shard; nothing for files.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path | Member | Frames, int]],
        class_names: Sequence[str],
        num_points: int = 1024,
        features: Sequence[str] = (),
        training: bool = True,
    ):
        self.files, self.class_names = files, tuple(class_names)
        self.shard_sizes = shard_sizes(files)
        self.num_points, self.features, self.training = num_points, tuple(features), training

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The sample ``index``.

        Raises:
            InputError: its file cannot be read or lacks a feature.
        """
        path, label = self.files[index]
        with as_file(path) as file:
            points = read_features(file, self.features)
        rng = sample_generator(self.training, index)
        return torch.from_numpy(points[draw(len(points), self.num_points, rng)]), torch.tensor(label)

    def path_of(self, index: int) -> str:
        """The path of the sample ``index``, for messages and lists of bad files."""
        return str(self.files[index][0])

    def shard_of(self, index: int) -> Shard | None:
        """The shard that the sample ``index`` is in, None for a file."""
        return shard_of(self.files[index][0])


class PointFolder(PointFiles):
    """Clouds or meshes in folders that bear the names of their classes: ``root/<class>/.../<file>``.

    Args:
        root: the folder.
        num_points: of a sample; drawn with repetition from smaller clouds.
        features: what follows xyz, see `read_features`; every file must have it.
        training: whether points are drawn anew every time.
        class_names: the order of the classes; by default that of the alphabet.

    Raises:
        InputError: there is no such folder, no cloud in it, or a folder with clouds that is no class; when a sample is
            taken, its file cannot be read or lacks a feature.
    """

    files: list[tuple[Path, int]]

    def __init__(
        self,
        root: PathLike,
        num_points: int = 1024,
        features: Sequence[str] = (),
        training: bool = True,
        class_names: Sequence[str] | None = None,
    ):
        root = Path(root)
        if not root.is_dir():
            raise InputError(f"{root} is no folder: give the one that holds a folder of clouds for each class")
        paths = [path for path in sorted(root.glob("*/**/*")) if path.suffix.lower() in POINT_SUFFIXES]
        found = sorted({path.relative_to(root).parts[0] for path in paths})
        if not found:
            raise InputError(f"{root} has no folders with clouds: put those of each class into a folder of its name")
        names = tuple(class_names or found)
        unknown = sorted(set(found) - set(names))
        if unknown:
            raise InputError(f"{root} has clouds of {', '.join(unknown)}, which is no class: name it or move them")
        files = [(path, names.index(path.relative_to(root).parts[0])) for path in paths]
        super().__init__(files, names, num_points, features, training)


class PointArrays(Dataset[tuple[Tensor, Tensor]]):
    """Clouds of equal size in NPZ or HDF5 files, one label a cloud.

    A file holds ``data`` [S, N, 3 or more], ``label`` [S] or [S, 1] and, where wanted, ``normal`` [S, N, 3], as the
    HDF5 files of ModelNet40 and ScanObjectNN do.

    Args:
        files: one or several.
        class_names: in the order of the labels.
        num_points: of a sample; in training drawn anew every time, otherwise the first of the file, as is usual.
        normals: append the normals.
        training: see ``num_points``.

    Attributes:
        points: float32 [S, N, C].
        labels: int64 [S].

    Raises:
        InputError: a file cannot be read, lacks an array, or has shapes or labels that do not fit.
    """

    def __init__(
        self,
        files: Sequence[PathLike],
        class_names: Sequence[str],
        num_points: int = 1024,
        normals: bool = False,
        training: bool = True,
    ):
        self.class_names = tuple(class_names)
        clouds, labels = [], []
        for path in files:
            arrays = read_arrays(path, ("data", "label", *(["normal"] if normals else [])))
            data, label = arrays["data"], arrays["label"].reshape(-1).astype(np.int64)
            if data.ndim != 3 or data.shape[2] < 3 or len(data) != len(label):
                raise InputError(f"{path}: data {list(data.shape)} and {len(label)} labels do not fit; give [S, N, 3]")
            if normals and arrays["normal"].shape[:2] != data.shape[:2]:
                raise InputError(f"{path}: its normals {list(arrays['normal'].shape)} do not fit; give [S, N, 3]")
            _check_labels(path, label, len(self.class_names))
            clouds.append(np.concatenate([data, arrays["normal"]], axis=2) if normals else data)
            labels.append(label)
        if len({cloud.shape[1:] for cloud in clouds}) != 1:
            raise InputError(f"{', '.join(map(str, files)) or 'no file'}: give files whose clouds are of one size")
        self.points = np.concatenate(clouds).astype(np.float32)
        self.labels = np.concatenate(labels)
        self.num_points, self.training = num_points, training

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cloud = self.points[index]
        if self.training:
            chosen = draw(len(cloud), self.num_points, sample_generator(True, index))
        else:
            chosen = np.resize(np.arange(len(cloud)), self.num_points)
        return torch.from_numpy(cloud[chosen]), torch.tensor(self.labels[index])


class PointScenes(Dataset[tuple[Tensor, Tensor]]):
    """Scenes in NPZ or HDF5 files, one label a point: (points float [num_points, C], labels int64 [num_points]).

    A file holds ``points`` [N, C] with xyz first, ``labels`` [N], and, where it has several scenes, ``offsets``
    [S + 1]: scene i has the rows offsets[i] to offsets[i + 1]. A label of -1 counts for nothing.

    Args:
        path: a file, or a folder of them.
        class_names: in the order of the labels.
        num_points: of a sample.
        training: whether points are drawn anew every time; otherwise every scene is divided so that each of its points
            is in a sample.
        parts: how scenes are divided, see `scene_parts`; in training a sample is about a random place with "tiles" and
            "blocks", and from all of the scene with "random".
        samples_per_scene: in an epoch of training.

    Attributes:
        scenes: (points float32 [N, C], labels int64 [N]) of each.
        parts: outside training, (scene, indices int64 [num_points]) of every sample, to merge predictions by.

    Raises:
        InputError: a file cannot be read, lacks an array, or has shapes or labels that do not fit.
    """

    def __init__(
        self,
        path: PathLike,
        class_names: Sequence[str],
        num_points: int = 4096,
        training: bool = True,
        parts: Parts = "random",
        samples_per_scene: int = 8,
    ):
        path = Path(path)
        self.class_names = tuple(class_names)
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in ARRAY_SUFFIXES)
        self.scenes = [scene for file in files for scene in _read_scenes(file, len(self.class_names))]
        if not self.scenes:
            raise InputError(f"{path} holds no scene: give a file that ends in {' or '.join(ARRAY_SUFFIXES)}")
        self.num_points, self.training, self.random = num_points, training, parts == "random"
        self.samples_per_scene = samples_per_scene
        self.parts: list[tuple[int, np.ndarray]] = []
        for index, (points, _) in enumerate([] if training else self.scenes):
            self.parts += [(index, part) for part in scene_parts(points, parts, num_points)]

    def __len__(self) -> int:
        return len(self.scenes) * self.samples_per_scene if self.training else len(self.parts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.training:
            rng = sample_generator(True, index)
            points, labels = self.scenes[index % len(self.scenes)]
            if self.random:
                chosen = draw(len(points), self.num_points, rng)
            else:
                chosen = tile_around(points, points[rng.integers(len(points)), :2], self.num_points)
        else:
            scene, chosen = self.parts[index]
            points, labels = self.scenes[scene]
        return torch.from_numpy(points[chosen]), torch.from_numpy(labels[chosen])


def read_features(path: PathLike, features: Sequence[str] = ()) -> np.ndarray:
    """The finite points of a file with their features, float32 [N, 3 + ...].

    Args:
        path: see `read_points`.
        features: of "rgb" (in 0..1), "normals", "intensity", "velocity" and "time".

    Raises:
        InputError: the file cannot be read or lacks a feature.
    """
    cloud = read_points(path, features=features)
    columns = [cloud.points]
    for feature in features:
        values = cloud.feature(feature)
        if values is None:
            raise InputError(f"{path} has no {feature}: leave it out of the features")
        columns.append(values)
    points: np.ndarray = np.concatenate(columns, axis=1)[cloud.finite]
    return points


def read_table(path: PathLike) -> np.ndarray:
    """The numbers of a text file, float64 [N, C].

    Raises:
        InputError: the file cannot be read, or is no table of numbers; the text names the line.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): unpack the data again") from error
    return parse_table(str(path), text_lines(str(path), data))


def sample_generator(training: bool, index: int) -> np.random.Generator:
    """The randomness of sample ``index``: torch's in training, otherwise always the same."""
    return np.random.default_rng(int(torch.randint(2**62, ())) if training else index)


def draw(count: int, num_points: int, rng: np.random.Generator) -> np.ndarray:
    """Indices int64 [num_points] of ``count`` points, at random; all of them before any is repeated."""
    order = rng.permutation(count)
    return order[:num_points] if count >= num_points else np.resize(order, num_points)


def _read_scenes(path: Path, num_classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = read_arrays(path, ("points", "labels"), ("offsets",))
    points, labels = arrays["points"].astype(np.float32), arrays["labels"].astype(np.int64)
    offsets = arrays.get("offsets", np.array([0, len(points)])).astype(np.int64)
    if points.ndim != 2 or points.shape[1] < 3 or labels.shape != points.shape[:1]:
        raise InputError(
            f"{path}: points {list(points.shape)} and labels {list(labels.shape)} do not fit; give [N, 3] and [N]"
        )
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(points) or (np.diff(offsets) <= 0).any():
        raise InputError(f"{path}: its offsets do not rise from 0 to its {len(points)} points; correct them")
    _check_labels(path, labels, num_classes)
    return [(points[start:end], labels[start:end]) for start, end in pairwise(offsets)]


def _check_labels(path: PathLike, labels: np.ndarray, num_classes: int) -> None:
    wrong = labels[(labels < -1) | (labels >= num_classes)]
    if len(wrong):
        raise InputError(f"{path} has the label {wrong[0]}, but {num_classes} classes are named: name all in order")
