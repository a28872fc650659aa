"""Checkpoints of a run: folders that ``zoo.load("local-dir:...")`` takes, with what is needed to go on beside it.

A folder holds model.safetensors and config.json as ``zoo.save_pretrained`` writes them (card and golden tensors are
left to ``zoo push``), training.safetensors with the tensors of the optimiser and of the weights as they are trained,
and training.json with the rest, the configuration of the run, and the hash of every other file. It is written
elsewhere, synced and renamed, so that under its own name nothing half-written is ever found. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import CheckpointError, InputError
from zoo.hub import WEIGHTS_NAME, write_model, write_weights
from zoo.weights import file_sha256

TENSORS_NAME = "training.safetensors"
STATE_NAME = "training.json"
_WRITTEN = f"[!.]*/{STATE_NAME}"  # not what was left of one that was never whole

log = logging.getLogger("zoo.train")


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: steps done, over all epochs.
        epoch: whole epochs done.
        best: the best score so far.
    """

    step: int = 0
    epoch: int = 0
    best: float | None = None


def save_checkpoint(
    folder: Path, published: nn.Module, state: dict[str, Any], progress: Progress, config: dict[str, Any]
) -> None:
    """Write a checkpoint, in the place of the one that is there.

    Args:
        folder: its name.
        published: the model that is to be loaded from it, with its description.
        state: what going on needs, of tensors, numbers, strings, lists and dicts; "model" only where the weights that
            are trained are not those of ``published``.
        progress: where the run is.
        config: of the run.

    Raises:
        InputError: it cannot be written; what was there before is as it was.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_model(published, part)
        tensors: dict[str, Tensor] = {}
        plain = _take_tensors(state, "", tensors)
        write_weights(part / TENSORS_NAME, tensors)
        files = {file.name: file_sha256(file) for file in sorted(part.iterdir())}
        entry = {"progress": vars(progress), "state": plain, "config": config, "files": files}
        (part / STATE_NAME).write_text(json.dumps(entry, indent=1) + "\n")
        for file in part.iterdir():
            _sync(file)
        _sync(part)
        _put_in_place(part, folder)
    except (OSError, InputError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{folder}: the checkpoint cannot be written ({reason}); the one before it is whole"
        ) from error


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], Progress]:
    """The state and the place of the checkpoint in ``folder``.

    Of the state, "model" are the weights that are trained, "published" those that ``zoo.load`` takes, and "config" is
    the configuration of the run.

    Raises:
        CheckpointError: it is not whole.
    """
    from safetensors.torch import load_file

    try:
        entry = json.loads((folder / STATE_NAME).read_text())
        for name, sha256 in entry["files"].items():
            if file_sha256(folder / name) != sha256:
                raise CheckpointError(f"{folder / name} is not what was written; take another checkpoint")
        state = _put_tensors(entry["state"], load_file(folder / TENSORS_NAME))
        state["published"] = load_file(folder / WEIGHTS_NAME)
        state = {"model": state["published"], "config": entry["config"], **state}
        return state, Progress(**entry["progress"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder}: no whole checkpoint ({error}); take another one") from error


def newest_checkpoint(out: Path) -> tuple[dict[str, Any], Progress] | None:
    """The whole checkpoint in the run's folder ``out`` that is furthest on; damaged ones are skipped with a warning.

    Of equals it is the one from before the epoch was measured: what was to be written after that is written anew.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    found = []
    for path in out.glob(_WRITTEN):
        try:
            progress = Progress(**json.loads(path.read_text())["progress"])
            found.append((progress.step, -progress.epoch, path.parent))
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("%s is damaged and passed over", path)
    for *_, folder in sorted(found, reverse=True):
        try:
            return load_checkpoint(folder)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
    if holds_run(out):
        raise InputError(f"no checkpoint in {out} is whole: take them away to begin anew, or name another in --out")
    return None


def holds_run(out: Path) -> bool:
    """Whether there are checkpoints in ``out``, whole or not."""
    return any(out.glob(_WRITTEN))


def _take_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` with the name of each tensor in its place; the tensors go to ``tensors``."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _take_tensors(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_take_tensors(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The reverse of ``_take_tensors``; tuples have become lists."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_tensors(item, tensors) for key, item in content}
    return [_put_tensors(item, tensors) for item in content]


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename ``part`` to ``folder``; between two renames the checkpoint before goes by another name, not away."""
    before = folder.with_name(f"{folder.name}.before")
    if folder.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.rename(folder, before)
    os.rename(part, folder)
    _sync(folder.parent)
    shutil.rmtree(before, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have the disk take what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What the optimiser remembers of every parameter; the groups come from the configuration."""
    return optimizer.state_dict()["state"]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The reverse of ``optimizer_state``."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
