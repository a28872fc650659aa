"""The data sets that a configuration can name, and how their samples come to the network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data import fingertip, tabletop
from zoo.engine.config import DataConfig
from zoo.engine.order import Key, Samples
from zoo.weights import PointInput, VideoInput

CLASS_NAMES = {
    "fingertip": fingertip.CLASS_NAMES,
    "direction": fingertip.DIRECTIONS,
    "tabletop": tabletop.CLASS_NAMES,
}

Batch = tuple[tuple[Tensor, ...], Tensor]


def make_dataset(data: DataConfig, split: Any) -> Dataset[Any]:
    """The data set of ``data``, its part ``split``.

    Raises:
        InputError: it cannot be read.
    """
    if data.name == "tabletop":
        return tabletop.TabletopDataset(data.path, split, data.num_points, data.samples_per_scene)
    renderer = fingertip.GestureRenderer(data.image_size, tuple(data.styles), data.scale, data.plain)
    if data.name == "direction":
        return fingertip.DirectionDataset(data.path, split, renderer, data.num_frames)
    return fingertip.FingertipDataset(data.path, split, renderer)


def input_of(data: DataConfig) -> VideoInput | PointInput:
    """The preprocessing that goes with ``data``."""
    if data.name == "tabletop":
        return PointInput(data.num_points, features=("rgb",))
    return VideoInput(data.num_frames, data.image_size, data.image_size, "squash")


def make_loader(samples: Samples, keys: Iterable[list[Key]], workers: int, device: torch.device) -> DataLoader[Batch]:
    """Batches of ``samples``, one for each list of ``keys``."""
    return DataLoader(
        samples,
        batch_sampler=keys,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=False,
    )
