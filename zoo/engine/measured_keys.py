"""Which keys of a configuration a measurement looks at; another one would be without effect, and is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

from zoo.engine.config import DataConfig, ValidateConfig
from zoo.errors import InputError

_READING = {"name", "bad_files", "timeout", "workers"}
_GROUPED = _READING - {"bad_files"}  # intervals draw sources or recordings, so no sample of one may be missing
_FOLDS = {"path", "fold", "hold_out_val", "num_points"}

LOOKED_AT: dict[str, set[str]] = {
    "videos": _READING | {"val", "val_part", "layout", "videos", "num_frames", "decoder"},
    "fights": _GROUPED | {"path", "fold", "hold_out_val", "num_frames", "decoder"},
    "fingertip": _READING | {"path", "image_size", "draw"},
    "clouds": _READING | {"val", "layout", "num_points"},
    "scenes": _READING | {"val", "layout", "num_points"},
    "tabletop": _READING | {"path", "num_points"},
    "isprs": _READING | _FOLDS,
    "s3dis": _READING | _FOLDS,
    "radhar": _GROUPED | {"path", "num_points"},
    **dict.fromkeys(("modelnet40", "scanobjectnn", "shapenet_part"), _READING | {"path", "num_points"}),
    "kitti": {"name", "path", "val", "detections"},
}
"""The keys of `data`, for every set on which anything is measured."""

_OF_MODEL = ("image_size", "whole_frame", "mean", "std", "frame_differences", "features", "parts")
_DECIDED = {
    "sampling": "--protocol decides which frames of a video are seen",
    **dict.fromkeys(_OF_MODEL, "the model brings its own preprocessing"),
    **dict.fromkeys(("train", "train_part", "augment", "samples_per_scene"), "it is for training"),
}


def refuse_unused(config: ValidateConfig, task: str) -> None:
    """See that all that ``config`` says has an effect on a measurement of a model of ``task``.

    Args:
        config: with a `data.name` that is not "auto".
        task: such as "video_classification".

    Raises:
        InputError: a key would have none; the text says what decides instead.
    """
    name = config.data.name
    for key in _given(config.data, DataConfig()):
        if key not in LOOKED_AT[name]:
            reason = _DECIDED.get(key, f"nothing is decided by it on data.name {name!r}")
            raise InputError(f"data.{key} has no effect on a measurement: {reason}; leave it out")
    if config.data.bad_files == "resample":
        raise InputError(
            "data.bad_files resample is for training: here another sample, in the place of a bad one, would count "
            "twice; take skip"
        )
    given = _given(config, ValidateConfig(config.model))
    if "split" in given and "val" in LOOKED_AT[name]:
        raise InputError("split has no effect here: data.val says what is measured on; leave it out")
    if "protocol" in given and task != "video_classification":
        raise InputError("protocol has no effect here: it is for videos; leave it out")
    if "votes" in given and task not in ("semantic_segmentation", "part_segmentation"):
        raise InputError("votes has no effect here: it is for models that label every point; leave it out")


def _given(config: Any, usual: Any) -> list[str]:
    """The keys that are not as usual."""
    return [each.name for each in dataclasses.fields(config) if getattr(config, each.name) != getattr(usual, each.name)]
