"""From a name to a model and its preprocessing."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import zoo.models  # noqa: F401  (registers the architectures)
from zoo import hub
from zoo.convert import Checkpoint, Report, infer_arguments, load_checkpoint, read_checkpoint
from zoo.data.point_transforms import ColorDrop, Jitter, PointTransform, RandomRotation, RandomScale
from zoo.data.video_transforms import VideoTransform
from zoo.errors import CheckpointError, ZooError
from zoo.registry import architecture_task, find_builder, list_models
from zoo.weights import PointInput, VideoInput, WeightsSpec

hub.register_bundled()

POINT_INPUTS = {  # what a model of a task takes where its weights do not say otherwise
    "part_segmentation": PointInput(2048, ("normals",), "mean", "unit_sphere"),
    "semantic_segmentation": PointInput(4096, ("rgb", "normalized_xyz"), "mean", "none"),
    "point_classification": PointInput(1024, (), "mean", "unit_sphere"),
    "object_detection": PointInput(1024, ("intensity",), "none", "none"),
}


def create_model(
    name: str,
    pretrained: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    **model_args: Any,
) -> nn.Module:
    """Build a model by name.

    Args:
        name: "arch", "arch.tag", or "local-dir:PATH" for a folder that ``save_pretrained`` wrote.
        pretrained: load the weights of the tag, of the first tag for a bare "arch", or of the folder.
        checkpoint: load this file instead, in any layout that ``zoo.convert`` knows. Classes and channels that are not
            given are read from it. Every tensor must match, but the classifier's where ``num_classes`` differs.
        num_classes: of the classifier; 0 gives features.
        **model_args: further arguments of the architecture.

    Returns:
        The module, in training mode; ``module.spec`` describes its weights and preprocessing.

    Raises:
        UnknownNameError: nothing bears the name; the text lists the nearest.
        CheckpointError: the file is damaged, or of another network; the text lists what did not match.
        TypeError: the architecture has no such argument.
    """
    if pretrained and checkpoint is not None:
        raise ZooError("pass pretrained=True or checkpoint=PATH, not both")
    architecture, spec, path = hub.resolve(name, pretrained)
    arguments = {**(spec.model_args if spec else {}), **model_args}
    source = None
    if checkpoint is not None:
        source = read_checkpoint(checkpoint)
        found = infer_arguments(_sketch(architecture, arguments), source)
    elif spec is not None:
        found = {"num_classes": spec.num_classes}
        if pretrained and path is not None:
            source = Checkpoint(str(path), "zoo", hub.load_weights(path, spec))
    else:
        found = {}
    classes = found.get("num_classes") if num_classes is None else num_classes
    if classes is not None:
        arguments["num_classes"] = classes
    if "in_channels" in found and architecture_task(architecture) != "video_classification":
        arguments.setdefault("in_channels", found["in_channels"])
    model: Any = find_builder(architecture)(**arguments)
    if source is not None:
        load_checkpoint(model, source, reset_head=classes != found.get("num_classes"))
    if architecture == "tsm":
        print(f"tsm: shifts before {', '.join(model.shifts)}", file=sys.stderr)
    model.spec = _describe(model, architecture, spec, arguments, pretrained)
    return model


def matching_architectures(checkpoint: Checkpoint) -> list[tuple[str, Report]]:
    """The architectures in which every tensor of ``checkpoint`` finds its place, with the report of each.

    Raises:
        CheckpointError: there are none.
    """
    matches = []
    for architecture in list_models():
        sketch = _sketch(architecture, {})
        found = infer_arguments(sketch, checkpoint)
        if architecture_task(architecture) == "video_classification":
            found.pop("in_channels", None)
        try:
            matches.append((architecture, load_checkpoint(_sketch(architecture, found), checkpoint)))
        except (CheckpointError, ValueError):
            continue
    if not matches:
        raise CheckpointError(
            f"{checkpoint.path!r}: no architecture has a place for all of its {len(checkpoint.state_dict)} tensors; "
            "name the one that it is of, to see what does not match"
        )
    return matches


def default_input(model: Any, architecture: str) -> VideoInput | PointInput:
    """The preprocessing of a model whose weights do not say any."""
    channels = int(model.in_channels)
    task = architecture_task(architecture)
    if task == "video_classification":
        if channels == 3:
            return VideoInput(num_frames=int(model.num_frames))
        return VideoInput(num_frames=int(model.num_frames), mean=(0.5,) * channels, std=(0.226,) * channels)
    usual = POINT_INPUTS[task]
    known = {channels_of(features): features for features in ((), ("intensity",), ("rgb",), ("rgb", "normalized_xyz"))}
    features = usual.features if channels_of(usual.features) == channels else known.get(channels, ())
    return dataclasses.replace(usual, features=features)


def channels_of(features: tuple[str, ...]) -> int:
    """How many channels xyz and ``features`` are together."""
    return 3 + sum(1 if feature == "intensity" else 3 for feature in features)


def create_transform(model: nn.Module, training: bool = False) -> Callable[[Tensor], Tensor]:
    """The preprocessing of ``model``.

    Args:
        model: one that ``create_model`` made.
        training: vary the input at random too.

    Returns:
        For video models, a function of uint8 [T, C, H, W] that gives float32 [T, C, crop_size, crop_size]; for point
        models, of float [N, C], xyz first, that gives float32 [C', N].

    Raises:
        ZooError: nothing is known about the model.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec):
        raise ZooError("the model has no description: make it with zoo.create_model")
    if isinstance(spec.input, VideoInput):
        video = spec.input
        return VideoTransform(
            video.resize_size, video.crop_size, video.crop_mode, video.mean, video.std, training=training
        )
    augmentations = (RandomRotation("y"), RandomScale(), Jitter(0.002)) if training else ()
    if training and "rgb" in spec.input.features:
        augmentations = (*augmentations, ColorDrop())
    return PointTransform(spec.input.center, spec.input.scale, "normalized_xyz" in spec.input.features, augmentations)


def _sketch(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """The model without memory for its tensors, to read names and shapes from."""
    arguments = {name: value for name, value in arguments.items() if name != "pretrained_backbone"}
    with torch.device("meta"):
        return find_builder(architecture)(**arguments)


def _describe(
    model: Any, architecture: str, spec: WeightsSpec | None, arguments: dict[str, Any], pretrained: bool
) -> WeightsSpec:
    """What is known about a model: all of ``spec``, or only what its construction says."""
    model_args = {
        name: value for name, value in arguments.items() if name not in ("num_classes", "pretrained_backbone")
    }
    num_classes = int(model.num_classes)
    if spec is not None and spec.num_classes == num_classes:
        if pretrained:
            return spec
        return dataclasses.replace(spec, tag="", sha256="", size=0, origin="", metrics=(), model_args=model_args)
    preprocessing = spec.input if spec else default_input(model, architecture)
    return WeightsSpec(architecture, "", num_classes, preprocessing, model_args=model_args)
