"""From a name to a model and its preprocessing."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo import hub
from zoo.convert import Checkpoint, Report, infer_arguments, load_checkpoint, read_checkpoint, stored_shift
from zoo.data import kitti_frustum, object_sets, shapenet_part
from zoo.data.point_transforms import Augmentation, PointAugmentation, PointTransform, point_augmentations
from zoo.data.video_transforms import VideoTransform
from zoo.errors import CheckpointError, ZooError
from zoo.registry import architecture_task, find_builder, list_models
from zoo.weights import PointFeature, PointInput, VideoInput, WeightsSpec, channels_of, plain_arguments

log = logging.getLogger("zoo")
hub.register_bundled()  # first, so that bare names take them
hub.register_video()
hub.register_points()

POINT_INPUTS = {  # what a model of a task takes where its weights do not say otherwise
    "part_segmentation": shapenet_part.INPUT,
    "semantic_segmentation": PointInput(4096, ("rgb", "normalized_xyz"), "mean", "none"),
    "point_classification": object_sets.INPUT,
    "object_detection": kitti_frustum.INPUT,
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
        name: "arch", "arch.tag", "hf-hub:owner/repo[@revision]" for a repository on the Hub, or "local-dir:PATH" for a
            folder that ``save_pretrained`` wrote.
        pretrained: load the weights of the tag, of the first tag for a bare "arch", of the repository or of the folder.
            They are downloaded once, from the first of their sources that answers.
        checkpoint: load this file instead, in any layout that ``zoo.convert`` knows. Classes, channels and the place of
            the shifts that are not given are read from it. Every tensor must match, but the classifier's where
            ``num_classes`` differs. With "arch.tag" it is a file of these weights: preprocessing and class names are
            the tag's, and logits that its project has in another order come into that of the names.
        num_classes: of the classifier; 0 gives features.
        **model_args: further arguments of the architecture.

    Returns:
        The module, in training mode; ``module.spec`` describes its weights and preprocessing, ``module.load_report``
        says what was loaded and from where, None where nothing was.

    Raises:
        UnknownNameError: nothing bears the name; the text lists the nearest.
        CheckpointError: the file is damaged, or of another network; the text lists what did not match.
        SourceError: no source gives the weights; the text lists what was tried, and what to do.
        TypeError: the architecture has no such argument.
    """
    if pretrained and checkpoint is not None:
        raise ZooError("pass pretrained=True or checkpoint=PATH, not both")
    resolved = hub.resolve(name, pretrained)
    architecture, spec = resolved.architecture, resolved.spec
    arguments = {**(spec.model_args if spec else {}), **model_args}
    source, found, found_at = None, {}, ""
    if checkpoint is not None:
        source, found_at = read_checkpoint(checkpoint), os.fspath(checkpoint)
        found = _infer(architecture, arguments, source)
    elif spec is not None:
        found = {"num_classes": spec.num_classes}
        if pretrained:
            weights = hub.load(resolved)
            spec, found_at = weights.spec, weights.found_at
            source = Checkpoint(str(weights.path), "zoo", weights.tensors, stored_shift(weights.path))
    arguments = {**found, **arguments}
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    try:
        if arguments.get("pretrained_backbone") is True and source is None:
            arguments["pretrained_backbone"] = _imagenet_weights(architecture, arguments)
        build = find_builder(architecture) if source is None else partial(hub.sketch, architecture)
        model: Any = build(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        if spec is None or model_args or num_classes is not None:
            raise
        raise CheckpointError(f"{name!r} describes no model ({error}); export it again") from error
    model.load_report = None
    if source is not None:
        reset_head = arguments.get("num_classes") != found.get("num_classes")
        if spec is not None:
            source = hub.in_order(source, spec, model.classifier_name)
        report = load_checkpoint(model, source, reset_head=reset_head)
        model.load_report = dataclasses.replace(report, found_at=found_at)
        if checkpoint is not None and source.shift is None and getattr(model, "shifts", None):
            warnings.warn(
                f"{source.path!r} does not say in which direction its network shifts, and is taken for one with "
                f"{model.direction} shifts, as this model's: zoo.save_pretrained writes files that say it",
                stacklevel=2,
            )
        if reset_head and model.classifier_name:
            model.reset_classifier(model.num_classes)  # one with values
    if architecture in ("tsm", "tsm_online"):
        log.warning("%s: shifts before %s", architecture, ", ".join(model.shifts))
    model.spec = _describe(model, architecture, spec, arguments, pretrained)
    return model


def _imagenet_weights(architecture: str, arguments: dict[str, Any]) -> str | bool:
    """The file of timm's ImageNet weights, asked for with our patience; true for a backbone that is not on the Hub."""
    network: Any = hub.sketch(architecture, **arguments)
    repo_id = network.backbone.pretrained_cfg.get("hf_hub_id") if hasattr(network, "backbone") else None
    return str(hub.download_from_hub(hub.HubFile(repo_id))) if repo_id else True


def matching_architectures(checkpoint: Checkpoint) -> list[tuple[str, Report]]:
    """The architectures in which every tensor of ``checkpoint`` finds its place, with the report of each.

    Raises:
        CheckpointError: there are none.
    """
    matches = []
    for architecture in list_models():
        try:
            network = hub.sketch(architecture, **_infer(architecture, {}, checkpoint))
            matches.append((architecture, load_checkpoint(network, checkpoint)))
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
    known: list[tuple[PointFeature, ...]] = [usual.features, (), ("intensity",), ("rgb",), ("rgb", "normalized_xyz")]
    features = next((each for each in known if channels_of(each) == channels), ())
    return dataclasses.replace(usual, features=features)


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
            video.resize_size,
            video.crop_size,
            video.crop_mode,
            video.mean,
            video.std,
            training=training,
            frame_differences=video.frame_differences,
        )
    task = architecture_task(spec.architecture)
    augmentations = _augmentations(task, spec.input.features) if training else ()
    points, normalized = spec.input, "normalized_xyz" in spec.input.features
    return PointTransform(points.center, points.scale, normalized, points.mean, points.std, augmentations)


def _augmentations(task: str, features: tuple[str, ...]) -> tuple[Augmentation, ...]:
    """How clouds vary in training: scenes stand on z, ShapeNet's objects on y; frustums are left as they are."""
    if task == "object_detection":
        return ()
    names: tuple[PointAugmentation, ...] = ("rotate", "scale", "jitter", "drop_color")
    return point_augmentations(names, "z" if task == "semantic_segmentation" else "y", features)


def _infer(architecture: str, arguments: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """What ``checkpoint`` tells of its network's arguments."""
    sketch: Any = hub.sketch(architecture, **arguments)
    found: dict[str, Any] = {**infer_arguments(sketch, checkpoint)}
    if architecture_task(architecture) == "video_classification":
        if found.pop("in_channels", None) == 10:
            found["modality"] = "flow"
        if sketch.shifts and any(".layer1.0.net." in name for name in checkpoint.state_dict):
            found["shift_place"] = "block"
    return found


def _describe(
    model: Any, architecture: str, spec: WeightsSpec | None, arguments: dict[str, Any], pretrained: bool
) -> WeightsSpec:
    """What is known about a model: all of ``spec``, or what still holds where classes, arguments or weights differ."""
    model_args = plain_arguments(arguments)
    if spec is None:
        return WeightsSpec(
            architecture, "", model.num_classes, default_input(model, architecture), model_args=model_args
        )
    fits = _fits(spec.input, model, architecture)
    if pretrained and (model.num_classes, model_args) == (spec.num_classes, spec.model_args):
        if not fits:
            raise CheckpointError(f"{spec.name!r} describes an input that the model does not take; export it again")
        return spec
    preprocessing = spec.input if fits else default_input(model, architecture)
    if isinstance(preprocessing, VideoInput) and "num_frames" in model_args:
        preprocessing = dataclasses.replace(preprocessing, num_frames=model.num_frames)
    described = spec.for_other_weights().with_classes(model.num_classes)
    return dataclasses.replace(described, input=preprocessing, model_args=model_args)


def _fits(preprocessing: VideoInput | PointInput, model: Any, architecture: str) -> bool:
    """Whether the preprocessing gives what the model takes."""
    is_video = architecture_task(architecture) == "video_classification"
    if isinstance(preprocessing, VideoInput):
        return is_video and len(preprocessing.mean) == model.in_channels
    return not is_video and channels_of(preprocessing.features) == model.in_channels
