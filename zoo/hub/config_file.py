"""config.json: what a folder or a repository says of its model, in timm's shape and with a block of our own.

timm's keys are for those who know them. What is read back is the block "zoo" alone, and that may come from anyone: it
names a registered architecture and holds plain values within bounds, nothing that could be run or followed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.data.outputs import replacing
from zoo.errors import CheckpointError, UnknownNameError, ZooError
from zoo.registry import architecture_task
from zoo.weights import VideoInput, WeightsSpec, channels_of

CONFIG_NAME = "config.json"
OUR_BLOCK = "zoo"
MAX_BYTES = 2**24


def read_description(folder: Path) -> WeightsSpec:
    """The description in a folder that ``save_pretrained`` wrote.

    Raises:
        CheckpointError: there is none, or none that can be trusted.
    """
    path = folder / CONFIG_NAME
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder")
    if not path.is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_NAME}"))
        within = f", such as {folder / inside[0]}" if inside else " that tools/train.py or zoo.save_pretrained wrote"
        raise CheckpointError(f"{folder}: there is no {CONFIG_NAME}; pass a folder{within}")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: has more than {MAX_BYTES} bytes, no description has; save the model again")
    try:
        entry = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); save the model again") from error
    if not isinstance(entry, dict) or not isinstance(entry.get(OUR_BLOCK), dict):
        raise CheckpointError(
            f"{path}: not a description of weights (no block {OUR_BLOCK!r}); save the model by zoo.save_pretrained"
        )
    spec = WeightsSpec.from_json(entry[OUR_BLOCK], str(path))
    try:
        architecture_task(spec.architecture)
    except UnknownNameError as error:
        raise CheckpointError(f"{path}: is of a model that is not known here: {error}") from error
    return spec


def write_description(folder: Path, spec: WeightsSpec, model: Any, further: Mapping[str, Any]) -> None:
    """Write config.json.

    Args:
        folder: where.
        spec: of the weights.
        model: of which they are.
        further: entries beside our own.

    Raises:
        ZooError: one of ``further`` has the name of an entry, or is nothing that JSON can hold.
        OSError: the file cannot be written.
    """
    entries = _timm_entries(spec, model)
    taken = sorted(entries.keys() & further.keys())
    if taken:
        raise ZooError(f"config={{{taken[0]!r}: ...}} would replace what {CONFIG_NAME} says itself: name it otherwise")
    try:
        text = json.dumps(entries | dict(further), indent=2)
    except (TypeError, ValueError) as error:
        raise ZooError(f"config= cannot be written as JSON ({error}): pass plain numbers, texts and lists") from error
    with replacing(folder / CONFIG_NAME) as part:
        part.write_text(text + "\n")


def _timm_entries(spec: WeightsSpec, model: Any) -> dict[str, Any]:
    """The description under timm's keys, with our own block behind them."""
    if isinstance(spec.input, VideoInput):
        side = spec.input.crop_size
        shape = [len(spec.input.mean), side, side]
        crop = {"crop_pct": round(side / spec.input.resize_size, 4), "crop_mode": spec.input.crop_mode}
    else:
        shape, crop = [channels_of(spec.input.features), spec.input.num_points], {}
    pretrained = {
        "tag": spec.tag,
        "num_classes": spec.num_classes,
        "input_size": shape,
        **crop,
        "mean": list(spec.input.mean),
        "std": list(spec.input.std),
        "first_conv": getattr(model, "first_conv", None),
        "classifier": getattr(model, "classifier_name", None),
        "license": spec.licence,
    }
    return {
        "architecture": spec.architecture,
        "num_classes": spec.num_classes,
        "num_features": getattr(model, "num_features", None),
        **({"label_names": list(spec.class_names)} if spec.class_names else {}),
        "pretrained_cfg": pretrained,
        OUR_BLOCK: spec.to_json(),
    }


def plain_config(config: Any) -> dict[str, Any]:
    """The mixin's ``config=``, a dict or a dataclass, as a dict.

    Raises:
        TypeError: it is neither.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(f"config is a dict or a dataclass, not {type(config).__name__}")
    return dict(config or {})
