"""Every set that a configuration can name, in small: written into a folder, with a model that learns from it."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import zoo
from tests.data import test_isprs, test_kitti, test_radhar, test_s3dis, test_shapenet_part, test_training_sets
from zoo.data import isprs, radhar, s3dis
from zoo.data.point_transforms import channels_of
from zoo.data.video_writer import write_video
from zoo.engine.config import DataConfig
from zoo.weights import PointInput, VideoInput, WeightsSpec


@dataclass(frozen=True)
class SmallSet:
    """A set.

    Attributes:
        data: its part of a configuration.
        model: an architecture that learns from it.
        input: the preprocessing of that model.
        classes: how many.
        arguments: of the model.
    """

    data: DataConfig
    model: str
    input: Any
    classes: int
    arguments: dict[str, Any]

    @property
    def measured(self) -> DataConfig:
        """The same of a measurement, in which nothing is learnt and the model says how its input is made."""
        return replace(self.data, train="", image_size=None, features=[], samples_per_scene=8)


def small_set(name: str, folder) -> SmallSet:
    """The set ``name``, written into ``folder``."""
    data, model, preprocessing, classes = globals()[f"_{name}"](folder)
    arguments: dict[str, Any] = {}
    if isinstance(preprocessing, PointInput):
        arguments = {"in_channels": channels_of(preprocessing.features), "width_multiplier": 0.125}
        data = replace(data, num_points=preprocessing.num_points)
    return SmallSet(replace(data, name=name), model, preprocessing, classes, arguments)


def untrained(small: SmallSet, folder) -> str:
    """The name of an untrained model of the set, saved in ``folder`` as training saves it."""
    model: Any = zoo.create_model(small.model, num_classes=small.classes, **small.arguments)
    model.spec = WeightsSpec(small.model, "untrained", small.classes, small.input, model_args=small.arguments)
    return f"local-dir:{zoo.save_pretrained(model, folder)}"


def write_moving(root, names=("left", "right"), count=1, num_frames=12):
    """Folders of frames by class: a bright square that moves to one side."""
    for label, name in enumerate(names):
        for number in range(count):
            _write_clip(root / name / f"clip{number}", label, num_frames)
    return root


def _write_clip(folder, label, num_frames):
    folder.mkdir(parents=True)
    for t in range(num_frames):
        frame = np.zeros((36, 48, 3), np.uint8)
        x = 2 + 3 * t if label else 36 - 3 * t
        frame[12:24, max(x, 0) : max(x, 0) + 8] = 255
        Image.fromarray(frame).save(folder / f"{t:02}.jpg")


def _videos(folder):
    train, val = (str(write_moving(folder / part)) for part in ("train", "val"))
    return DataConfig(train=train, val=val, num_frames=4, image_size=32), "tsm_resnet18", VideoInput(4, 37, 32), 2


def _clouds(folder):
    rng = np.random.default_rng(0)
    for part, name in itertools.product(("train", "val"), ("flat", "round")):
        (folder / part / name).mkdir(parents=True)
        for number in range(2):
            np.save(folder / part / name / f"{number}.npy", rng.normal(size=(80, 3)).astype(np.float32))
    data = DataConfig(train=str(folder / "train"), val=str(folder / "val"))
    return data, "pointnet_cls", PointInput(64, (), "mean", "unit_sphere"), 2


def _scenes(folder):
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        (folder / part).mkdir()
        (folder / part / "classes.txt").write_text("floor\nthing\n")
        for number in range(2):
            points = rng.uniform(size=(150, 6)).astype(np.float32)
            np.savez(folder / part / f"{number}.npz", points=points, labels=(points[:, 2] > 0.5).astype(np.int64))
    data = DataConfig(train=str(folder / "train"), val=str(folder / "val"), features=["rgb"], samples_per_scene=2)
    return data, "pointnet_sem", PointInput(64, ("rgb",)), 2


def _fights(folder):
    """Twelve sources, each with a fight and with peace."""
    rows = ["clip,label,source_id"]
    for source in range(12):
        for label in (0, 1):
            name = f"s{source}_{label}"
            _write_clip(folder / "frames" / name, label, 4)
            rows.append(f"{name},{label},source{source}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    data = DataConfig(path=str(folder), fold=1, num_frames=4, image_size=32)
    return data, "tsn_mobilenetv2", VideoInput(4, 37, 32), 2


def _radhar(folder):
    path = test_radhar.write_recordings(folder / "radar.npz", per_series=5, seconds=2.5)
    data = DataConfig(path=str(path), samples_per_scene=2)
    return data, "pointnet_cls", replace(radhar.INPUT, num_points=64), 5


def _isprs(folder):
    path = test_isprs.write_scenes(folder / "scenes.npz", [f"{site}1" for site in isprs.SITES], 150)
    data = DataConfig(path=str(path), fold=5, samples_per_scene=2)
    return data, "pointnet_sem", replace(isprs.INPUT, num_points=64), 2


def _tabletop(folder):
    path = test_training_sets.write_scenes(folder / "tables.npz")
    data = DataConfig(path=str(path), samples_per_scene=1)
    return data, "pointnet_sem", PointInput(64, ("rgb",)), 2


def _s3dis(folder):
    for area in s3dis.AREAS:
        test_s3dis.write_room(folder / f"raw/Area_{area}/office_1", seed=area, size=1.6, num_points=900)
    list(s3dis.prepare(folder / "raw", folder / "rooms"))
    preprocessing = PointInput(256, ("rgb", "normalized_xyz"), "floor", "none", "blocks")
    return DataConfig(path=str(folder / "rooms"), fold=5), "pointnet_sem", preprocessing, 13


def _modelnet40(folder):
    _write_objects(folder / "ply_data_train0.h5", 20)
    _write_objects(folder / "ply_data_test0.h5", 3)
    for part in ("train", "test"):
        (folder / f"{part}_files.txt").write_text(f"data/modelnet40_ply_hdf5_2048/ply_data_{part}0.h5\n")
    return DataConfig(path=str(folder)), "pointnet_cls", PointInput(64, (), "mean", "unit_sphere"), 40


def _scanobjectnn(folder):
    (folder / "main_split").mkdir()
    for part, count in (("training", 20), ("test", 3)):
        _write_objects(folder / f"main_split/{part}_objectdataset_augmentedrot_scale75.h5", count)
    return DataConfig(path=str(folder)), "pointnet_cls", PointInput(64, (), "mean", "unit_sphere"), 15


def _write_objects(path, count):
    import h5py

    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["data"] = rng.normal(size=(count, 2048, 3)).astype(np.float32)
        file["label"] = np.arange(count, dtype=np.uint8).reshape(-1, 1) % 15


def _shapenet_part(folder):
    test_shapenet_part.write_release(folder)
    return DataConfig(path=str(folder)), "pointnet_part", PointInput(64, ("normals",), "mean", "unit_sphere"), 50


def _kitti(folder):
    test_kitti.write_frame(folder)
    (folder / "train.txt").write_text("000007\n")
    listing = str(folder / "train.txt")
    data = DataConfig(path=str(folder), train=listing, val=listing)
    return data, "frustum_pointnet", PointInput(64, ("intensity",), "none", "none"), 3


def official_set(folder: Path) -> DataConfig:
    """A video to train on and one to test on, as HMDB51 is given out; which part is wanted is left open."""
    videos, splits = folder / "hmdb51", folder / "splits"
    splits.mkdir()
    for mark, name in enumerate(("wave", "clap"), start=1):
        (videos / name).mkdir(parents=True)
        write_video(videos / name / "a.mp4", np.zeros((6, 32, 48, 3), dtype=np.uint8), fps=8)
        (splits / f"{name}_test_split2.txt").write_text(f"a.mp4 {mark} \n")
    return DataConfig(layout="hmdb51", train=str(splits), val=str(splits), videos=str(videos), num_frames=4)
