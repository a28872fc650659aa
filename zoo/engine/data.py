"""The data sets that a configuration can name, and how their samples come to the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from zoo.create import create_transform
from zoo.data import fights, fingertip, isprs, kitti, kitti_frustum, object_sets, radhar, s3dis, shapenet_part, tabletop
from zoo.data.bad_files import BadFile, collate_guarded
from zoo.data.class_names import class_names
from zoo.data.kitti_frustum import KittiFrustums
from zoo.data.mirrored_classes import mirrored_classes
from zoo.data.point_dataset import PointArrays
from zoo.data.point_transforms import PointTransform, point_augmentations
from zoo.data.video_augment import VideoAugment
from zoo.data.video_dataset import VideoDataset
from zoo.engine.config import AugmentConfig, DataConfig
from zoo.engine.labelled import labelled_clouds, labelled_scenes, labelled_videos
from zoo.engine.order import Key, Samples
from zoo.errors import InputError
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput

NUM_FRAMES, IMAGE_SIZE = 8, 224  # of videos, where the configuration does not say otherwise
RESIZE_RATIO = 256 / 224  # of a frame's short side to the crop from it
TRACK_SIZE = 64  # of drawn tracks
VAL_SHARE = 10  # of sets without a validation part of their own, every tenth object is kept for it
SCENE_INPUT = PointInput(4096)

Batch = tuple[tuple[Tensor, ...], Any]

TASKS: dict[str, str] = {  # of the models that learn from a set
    **dict.fromkeys(("videos", "fights", "fingertip", "direction"), "video_classification"),
    **dict.fromkeys(("clouds", "radhar", "modelnet40", "scanobjectnn"), "point_classification"),
    **dict.fromkeys(("scenes", "tabletop", "isprs", "s3dis"), "semantic_segmentation"),
    "shapenet_part": "part_segmentation",
    "kitti": "object_detection",
}


@dataclass(frozen=True)
class Sets:
    """What a run learns from.

    Attributes:
        train: the part to learn from.
        val: the part to choose the best epoch by, if there is one.
        class_names: in the order of the labels.
        input: the preprocessing that a model of them has.
        complete: the samples need no preprocessing but to be turned over, [N, C] to [C, N].
    """

    train: Dataset[Any]
    val: Dataset[Any] | None
    class_names: tuple[str, ...]
    input: VideoInput | PointInput
    complete: bool = False


def open_sets(data: DataConfig, model: str) -> Sets:
    """The data sets of ``data`` for an architecture ``model``.

    Raises:
        InputError: they cannot be read, do not suit the model, or the configuration does not say where they are.
    """
    data = named(data, model)
    return _OPENERS[data.name](data)


def named(data: DataConfig, model: str) -> DataConfig:
    """The same with "auto" settled by what ``model`` takes.

    Raises:
        InputError: they do not suit the model, or it is not said where they are.
    """
    task = architecture_task(model)
    if data.name == "auto":
        own: dict[str, Any] = {"video_classification": "videos", "semantic_segmentation": "scenes"}
        data = dataclasses.replace(data, name=own.get(task, "clouds"))
    if TASKS[data.name] != task:
        wanted = ", ".join(name for name, of in TASKS.items() if of == task)
        raise InputError(f"{model} does not take what data.name {data.name!r} gives: take another model, or {wanted}")
    if data.name != "videos" and (data.train_part or data.val_part):
        raise InputError(f"data.train_part and data.val_part are of videos, not of {data.name}: leave them out")
    if data.name not in ("videos", "clouds", "scenes") and not data.path:
        raise InputError(f"data.path is missing: give the file or folder of {data.name}")
    return data


def transforms(model: nn.Module, sets: Sets, augment: AugmentConfig) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The preprocessing of ``model`` for the samples of training, varied at random, and for those of validation.

    Raises:
        InputError: an augmentation does not fit the task.
    """
    spec: Any = model.spec
    if isinstance(spec.input, VideoInput):
        return create_transform(model, training=augment.multi_scale_crop), create_transform(model)
    if "drop" in augment.points and architecture_task(spec.architecture) != "point_classification":
        raise InputError("data.augment.points 'drop' is for whole clouds: the labels of points would not follow")
    if augment.points and architecture_task(spec.architecture) == "object_detection":
        raise InputError("data.augment.points would move points away from their boxes: kitti varies both by itself")
    plain: Any = PointTransform("none", "none") if sets.complete else create_transform(model)
    varied = point_augmentations(augment.points, augment.up, spec.input.features)
    return dataclasses.replace(plain, augmentations=varied), plain


def video_input(data: DataConfig) -> VideoInput:
    """The preprocessing of videos: the authors' ratio of resizing to cropping, at any size."""
    side = data.image_size or IMAGE_SIZE
    mode: Any = "squash" if data.whole_frame else "center"
    colours = tuple(data.mean), tuple(data.std), data.frame_differences
    return VideoInput(data.num_frames or NUM_FRAMES, round(side * RESIZE_RATIO), side, mode, *colours)


def track_renderer(data: DataConfig) -> fingertip.GestureRenderer:
    """What draws the tracks of fingertips."""
    draw = data.draw
    return fingertip.GestureRenderer(data.image_size or TRACK_SIZE, tuple(draw.styles), draw.scale, draw.plain)


def fold_parts(data: DataConfig, parts: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Which of ``parts`` to train, validate and test on: fold k tests on the k-th and validates on the next.

    Raises:
        InputError: there is no such fold.
    """
    if not 0 <= data.fold <= len(parts):
        raise InputError(f"data.fold is {data.fold}: {data.name} has the folds 1 to {len(parts)}, and 0 for none")
    test = [parts[data.fold - 1]] if data.fold else []
    val = [parts[data.fold % len(parts)]] if data.hold_out_val else []
    return [part for part in parts if part not in (*test, *val)], val, test


def objects_of(
    data: DataConfig, split: Literal["train", "val", "train+val", "test"], num_points: int
) -> PointArrays | Subset[Any]:
    """A part of "modelnet40" or "scanobjectnn"; for "val" every tenth object of the training part is kept.

    ScanObjectNN's variants move an object several times: some of its copies may be trained on and others kept.
    """
    opener: Any = object_sets.modelnet40 if data.name == "modelnet40" else object_sets.scanobjectnn
    objects: PointArrays = opener(data.path, "test" if split == "test" else "train", num_points=num_points)
    objects.training = split.startswith("train")
    if split in ("train+val", "test"):
        return objects
    return Subset(objects, [index for index in range(len(objects)) if (index % VAL_SHARE == 0) == (split == "val")])


def _videos(data: DataConfig) -> Sets:
    if not data.train:
        raise InputError("data.train is missing: give the folder or list of the videos to learn from")
    if data.val_part and not data.val:
        raise InputError(f"data.val is missing: give the folder or list of which {data.val_part!r} is the part")
    found = labelled_videos(data, data.train, data.train_part)
    val = labelled_videos(data, data.val, data.val_part, found.class_names).samples if data.val else None
    return _video_sets(data, found.samples, val, found.class_names)


def _fights(data: DataConfig) -> Sets:
    train, val, _ = fights.clips_of(fights.read_clips(data.path), data.fold, data.hold_out_val)
    samples = [[(clip.path, clip.label) for clip in clips] for clips in (train, val)]
    return _video_sets(data, samples[0], samples[1] or None, fights.CLASS_NAMES)


def _video_sets(data: DataConfig, train: Any, val: Any, class_names: tuple[str, ...]) -> Sets:
    preprocessing, augment = video_input(data), data.augment
    mirror = mirrored_classes(class_names) if augment.mirror else None
    changes = VideoAugment(mirror, augment.color_jitter, augment.randaugment)

    def part(samples: Any, training: bool) -> VideoDataset:
        return VideoDataset(
            samples,
            class_names,
            preprocessing.num_frames,
            data.sampling,
            training=training,
            decoder=data.decoder,
            augment=changes,
        )

    return Sets(part(train, True), None if val is None else part(val, False), class_names, preprocessing)


def _clouds(data: DataConfig) -> Sets:
    if not data.train:
        raise InputError("data.train is missing: give the folder of the clouds to learn from")
    preprocessing = _with_points(dataclasses.replace(object_sets.INPUT, features=tuple(data.features)), data)
    train = labelled_clouds(data, data.train, preprocessing, training=True)
    val = labelled_clouds(data, data.val, preprocessing, False, train.class_names) if data.val else None
    return Sets(train, val, train.class_names, preprocessing)


def _scenes(data: DataConfig) -> Sets:
    if not data.train:
        raise InputError("data.train is missing: give the file or folder of the scenes to learn from")
    preprocessing = _with_points(
        dataclasses.replace(SCENE_INPUT, features=tuple(data.features), parts=data.parts), data
    )
    train = labelled_scenes(data, data.train, preprocessing, training=True)
    val = labelled_scenes(data, data.val, preprocessing, training=False) if data.val else None
    if val and val.class_names != train.class_names:
        raise InputError(f"the classes beside {data.val} are not those beside {data.train}: number them alike")
    return Sets(train, val, train.class_names, preprocessing)


def _fingertip(data: DataConfig) -> Sets:
    renderer, num_frames = track_renderer(data), data.num_frames or fingertip.NUM_STEPS
    names = fingertip.CLASS_NAMES if data.name == "fingertip" else fingertip.DIRECTIONS

    def part(split: Any) -> Dataset[Any]:
        if data.name == "direction":
            return fingertip.DirectionDataset(data.path, split, renderer, num_frames)
        return fingertip.FingertipDataset(data.path, split, renderer)

    return Sets(*_by_split(data, part), names, VideoInput(num_frames, renderer.size, renderer.size, "squash"))


def _tabletop(data: DataConfig) -> Sets:
    preprocessing = _with_points(tabletop.INPUT, data)

    def part(split: Any) -> Dataset[Any]:
        return tabletop.TabletopDataset(data.path, split, preprocessing.num_points, data.samples_per_scene)

    return Sets(*_by_split(data, part), tabletop.CLASS_NAMES, preprocessing)


def _radhar(data: DataConfig) -> Sets:
    preprocessing = _with_points(radhar.INPUT, data)

    def part(split: Any) -> Dataset[Any]:
        return radhar.RadharDataset(data.path, split, preprocessing.num_points, data.samples_per_scene)

    return Sets(*_by_split(data, part), radhar.CLASS_NAMES, preprocessing)


def _isprs(data: DataConfig) -> Sets:
    preprocessing = _with_points(isprs.INPUT, data)
    _, val, test = fold_parts(data, isprs.SITES)

    def part(split: Literal["train", "val"], held_out: list[str]) -> isprs.IsprsDataset:
        return isprs.IsprsDataset(data.path, split, held_out, preprocessing.num_points, data.samples_per_scene)

    train = part("train", [*val, *test])
    return Sets(train, part("val", val) if val else None, isprs.CLASS_NAMES, preprocessing)


def _objects(data: DataConfig) -> Sets:
    preprocessing = _with_points(object_sets.INPUT, data)

    def part(split: Any) -> Dataset[Any]:
        return objects_of(data, split, preprocessing.num_points)

    names = class_names("modelnet40") if data.name == "modelnet40" else object_sets.SCANOBJECTNN_CLASSES
    return Sets(*_by_split(data, part), names, preprocessing)


def _shapenet_part(data: DataConfig) -> Sets:
    preprocessing = _with_points(shapenet_part.INPUT, data)

    def part(split: Any) -> Dataset[Any]:
        return shapenet_part.ShapeNetPart(data.path, split, preprocessing.num_points)

    return Sets(*_by_split(data, part), shapenet_part.PART_NAMES, preprocessing, complete=True)


def _s3dis(data: DataConfig) -> Sets:
    preprocessing = _with_points(s3dis.INPUT, data)
    train, val, _ = fold_parts(data, s3dis.AREAS)
    return Sets(
        s3dis.S3dis(data.path, train, True, preprocessing.num_points),
        s3dis.S3dis(data.path, val, False, preprocessing.num_points) if val else None,
        s3dis.CLASS_NAMES,
        preprocessing,
        complete=True,
    )


def _kitti(data: DataConfig) -> Sets:
    preprocessing = _with_points(kitti_frustum.INPUT, data)

    def part(listing: str, training: bool) -> KittiFrustums:
        return KittiFrustums(data.path, training, preprocessing.num_points, kitti.read_frame_ids(listing))

    if not data.train:
        raise InputError("data.train is missing: give the list of the frames to learn from, as ImageSets/train.txt")
    train, val = part(data.train, True), part(data.val, False) if data.val else None
    return Sets(train, val, train.class_names, preprocessing)


_OPENERS: dict[str, Callable[[DataConfig], Sets]] = {
    "videos": _videos,
    "clouds": _clouds,
    "scenes": _scenes,
    "fights": _fights,
    "fingertip": _fingertip,
    "direction": _fingertip,
    "tabletop": _tabletop,
    "isprs": _isprs,
    "radhar": _radhar,
    "modelnet40": _objects,
    "scanobjectnn": _objects,
    "shapenet_part": _shapenet_part,
    "s3dis": _s3dis,
    "kitti": _kitti,
}


def _with_points(usual: PointInput, data: DataConfig) -> PointInput:
    return dataclasses.replace(usual, num_points=data.num_points or usual.num_points)


def _by_split(data: DataConfig, part: Callable[[str], Dataset[Any]]) -> tuple[Dataset[Any], Dataset[Any] | None]:
    """The parts to train and to validate on, of a set that knows both."""
    return (part("train"), part("val")) if data.hold_out_val else (part("train+val"), None)


def make_loader(
    samples: Samples, keys: Iterable[list[Key]], workers: int, device: torch.device
) -> DataLoader[tuple[Batch | None, list[BadFile]]]:
    """Batches of ``samples``, one for each list of ``keys``, and beside each the files that could not be read."""
    return DataLoader(
        samples,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate_guarded,
        pin_memory=device.type == "cuda",
        persistent_workers=False,
    )
