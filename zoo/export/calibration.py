"""The inputs that show which ranges numbers take in a model, by which int8 is made.

Of an online model that is every step of every clip, with the state that came back from the step before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.create import create_transform
from zoo.data.point_features import usable_features
from zoo.data.point_transforms import scene_extent
from zoo.data.points import POINT_SUFFIXES, read_points
from zoo.data.scene_parts import scene_parts
from zoo.data.video import read_clip
from zoo.data.video_sets.listing import is_video
from zoo.errors import InputError
from zoo.export.signature import DRAWS, Network
from zoo.models.frustum import draw
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput, WeightsSpec

Calibration = Iterable[Any] | str | os.PathLike[str]
MOST_FILES = 64  # of a folder; more show no other ranges
HOW = "pass some tens of inputs as the model gets them in use, of the training part of its data"


def calibration_list(model: Any, calibration: Calibration | None) -> list[Any]:
    """The inputs of a calibration set.

    Args:
        model: that they are for.
        calibration: the inputs, or one tensor of them all, or a folder of video files, of folders of frames, or of
            point clouds, also in folders in it; of many, as many as are enough are taken evenly.

    Raises:
        InputError: there is no set, or nothing in it; or a file cannot be read.
    """
    if calibration is None:
        raise InputError(f"int8 needs calibration=, inputs that show which ranges numbers take: {HOW}")
    if isinstance(calibration, str | os.PathLike):
        return _of_folder(model, Path(calibration))
    inputs = list(calibration.split(1) if isinstance(calibration, Tensor) else calibration)
    if not inputs:
        raise InputError(f"the calibration set is empty: {HOW}")
    for number, given in enumerate(inputs):
        if not all(isinstance(each, Tensor) for each in (given if isinstance(given, tuple | list) else (given,))):
            raise InputError(f"calibration input {number} is no tensor and no tuple of tensors: {HOW}")
    return inputs


def file_input(model: Any, path: str | os.PathLike[str]) -> Tensor:
    """What the network is given of one file, a batch of 1.

    Args:
        model: that it is for.
        path: a video file, a folder of frames, or a point cloud.

    Raises:
        InputError: it cannot be read, or files do not tell all that the model takes.
    """
    _, read, _ = _kind_of(model)
    return read(model, model.spec.input, Path(path))[None]


def _of_folder(model: Any, folder: Path) -> list[Tensor]:
    """What the network is given of the files in a folder, batches of 1."""
    kind, read, is_one = _kind_of(model)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: {HOW}, or a folder of their files")
    files = [path for path in sorted(folder.rglob("*")) if is_one(path)] or [folder] * is_one(folder)
    if not files:
        raise InputError(f"the calibration set is empty: there is no {kind} in {folder}; {HOW}")
    chosen = np.linspace(0, len(files) - 1, min(len(files), MOST_FILES)).round().astype(int)
    return [read(model, model.spec.input, files[number])[None] for number in chosen]


def _kind_of(model: Any) -> tuple[str, Callable[[Any, Any, Path], Tensor], Callable[[Path], bool]]:
    """What files of the model's input are called, what reads one, and what tells them from others."""
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec):
        raise InputError("nothing is known about the input of this model: pass tensors, not files")
    if isinstance(spec.input, VideoInput):
        return "video", _clip, is_video
    if architecture_task(spec.architecture) in ("part_segmentation", "object_detection"):
        raise InputError(f"files do not tell all that {spec.name} takes: pass tuples of tensors, in Python")
    return "point cloud", _cloud, _is_cloud


def _clip(model: Any, about: Any, path: Path) -> Tensor:
    assert isinstance(about, VideoInput)
    clip: Tensor = create_transform(model)(read_clip(path, about.num_frames).frames.permute(0, 3, 1, 2))
    return clip


def _cloud(model: Any, about: Any, path: Path) -> Tensor:
    """The first of the parts in which a cloud is looked at."""
    assert isinstance(about, PointInput)
    cloud = read_points(path, features=about.features)
    points, _, _ = usable_features(cloud, cloud.finite, about.features)
    part = scene_parts(points, about.parts, about.num_points)[0]
    transform: Any = create_transform(model)
    inputs: Tensor = transform(points[part], extent=scene_extent(points))
    return inputs


def _is_cloud(path: Path) -> bool:
    return path.suffix.lower() in POINT_SUFFIXES and path.is_file()


def calibration_inputs(network: Network, calibration: Sequence[Any]) -> list[tuple[Tensor, ...]]:
    """What goes into ``network`` when its model is called with each of ``calibration``.

    Args:
        network: in float32.
        calibration: what the model is called with, tensors or tuples of them; of an online model clips [N, T, C, H, W],
            which are followed from their first frame on, or frames [N, C, H, W], each the first of a stream.

    Raises:
        InputError: the model does not take one of them.
    """
    signature = network.signature
    found: list[tuple[Tensor, ...]] = []
    for number, example in enumerate(calibration):
        given = tuple(example) if isinstance(example, tuple | list) else (example,)
        if DRAWS in signature.inputs and len(given) == 2:
            given = (*given, draw(given[0]))
        try:
            found += _steps(network, given) if signature.is_step and len(given) == 1 else [given]
            signature.check(found[-1])
            signature.check_values(found[-1])
        except InputError as error:
            raise InputError(f"calibration input {number} does not fit: {error}") from error
    return found


@torch.no_grad()
def _steps(network: Network, given: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """A clip or a first frame, as the inputs of its steps."""
    (clip,) = given
    frames = clip.unbind(1) if clip.dim() == 5 else (clip,)
    if not frames:
        raise InputError("the clip has no frames")
    _, *shapes = network.signature.inputs.values()
    state = [frames[0].new_zeros(len(frames[0]), *(int(side) for side in shape[1:])) for shape in shapes]
    steps = []
    for frame in frames:
        steps.append((frame, *state))
        network.signature.check(steps[-1])
        _, *state = network(*steps[-1])
    return steps
