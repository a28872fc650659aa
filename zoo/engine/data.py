"""The data sets that a configuration can name, and how their samples come to the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data import fingertip, tabletop
from zoo.data.bad_files import BadFile, collate_guarded
from zoo.data.mirrored_classes import mirrored_classes
from zoo.data.point_dataset import PointFolder
from zoo.data.video_augment import VideoAugment
from zoo.data.video_dataset import VideoDataset
from zoo.data.video_sets import Layout, find_videos
from zoo.engine.config import DataConfig
from zoo.engine.order import Key, Samples
from zoo.errors import InputError
from zoo.weights import PointInput, VideoInput

NUM_FRAMES, IMAGE_SIZE = 8, 224  # of videos, where the configuration does not say otherwise
TRACK_SIZE = 64  # of drawn tracks

Batch = tuple[tuple[Tensor, ...], Tensor]


@dataclass(frozen=True)
class Sets:
    """What a run learns from.

    Attributes:
        train: the part to learn from.
        val: the part to choose the best epoch by, if there is one.
        class_names: in the order of the labels.
        input: the preprocessing that a model of them has.
    """

    train: Dataset[Any]
    val: Dataset[Any] | None
    class_names: tuple[str, ...]
    input: VideoInput | PointInput


def open_sets(data: DataConfig) -> Sets:
    """The data sets of ``data``.

    Raises:
        InputError: they cannot be read, or the configuration does not say where they are.
    """
    if data.name in ("videos", "clouds"):
        if not data.train:
            raise InputError(f"data.train is missing: give the folder of the {data.name} to learn from")
        return _videos(data) if data.name == "videos" else _clouds(data)
    if not data.path:
        raise InputError(f"data.path is missing: give the file of {data.name}")
    split: Any = "train" if data.hold_out_val else "train+val"
    train = _one_file(data, split)
    val = _one_file(data, "val") if data.hold_out_val else None
    if data.name == "tabletop":
        return Sets(train, val, tabletop.CLASS_NAMES, PointInput(data.num_points, features=("rgb",)))
    names = fingertip.CLASS_NAMES if data.name == "fingertip" else fingertip.DIRECTIONS
    side, num_frames = data.image_size or TRACK_SIZE, data.num_frames or fingertip.NUM_STEPS
    return Sets(train, val, names, VideoInput(num_frames, side, side, "squash"))


def _videos(data: DataConfig) -> Sets:
    num_frames, side = data.num_frames or NUM_FRAMES, data.image_size or IMAGE_SIZE
    layout = cast(Layout, data.layout)
    found = find_videos(data.train, layout, data.videos)
    mirror = mirrored_classes(found.class_names) if data.mirror else None
    augment = VideoAugment(mirror, data.color_jitter, data.randaugment)
    train = VideoDataset(
        found.samples,
        found.class_names,
        num_frames,
        data.sampling,
        training=True,
        decoder=data.decoder,
        augment=augment,
    )
    val = None
    if data.val:
        samples = find_videos(data.val, layout, data.videos, class_names=found.class_names).samples
        val = VideoDataset(samples, found.class_names, num_frames, data.sampling, training=False, decoder=data.decoder)
    return Sets(train, val, found.class_names, VideoInput(num_frames, round(side * 256 / 224), side))


def _clouds(data: DataConfig) -> Sets:
    train = PointFolder(data.train, data.num_points, data.features)
    val = None
    if data.val:
        val = PointFolder(data.val, data.num_points, data.features, training=False, class_names=train.class_names)
    return Sets(train, val, train.class_names, PointInput(data.num_points, tuple(data.features)))


def _one_file(data: DataConfig, split: Any) -> Dataset[Any]:
    if data.name == "tabletop":
        return tabletop.TabletopDataset(data.path, split, data.num_points, data.samples_per_scene)
    renderer = fingertip.GestureRenderer(data.image_size or TRACK_SIZE, tuple(data.styles), data.scale, data.plain)
    if data.name == "direction":
        return fingertip.DirectionDataset(data.path, split, renderer, data.num_frames or fingertip.NUM_STEPS)
    return fingertip.FingertipDataset(data.path, split, renderer)


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
