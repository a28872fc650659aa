"""Folders of one model: its weights as safetensors, and the description that ``zoo.load`` needs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.data.outputs import replacing
from zoo.errors import CheckpointError, InputError, ZooError
from zoo.weights import WeightsSpec, file_sha256, verify

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"


def read_description(folder: Path) -> WeightsSpec:
    """The description in a folder that ``save_pretrained`` wrote.

    Raises:
        CheckpointError: there is none.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder}: there is no {CONFIG_NAME}; pass a folder that zoo.save_pretrained wrote")
    try:
        entry = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); save the model again") from error
    return WeightsSpec.from_json(entry, str(path))


def load_weights(path: Path, spec: WeightsSpec) -> dict[str, Tensor]:
    """The tensors of the file at ``path`` after its hash was found right.

    Raises:
        CheckpointError: the file is missing or is another.
    """
    from safetensors.torch import load_file

    verify(path, spec)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def save_pretrained(model: nn.Module, folder: str | Path) -> Path:
    """Write ``model`` to ``folder``: the weights as safetensors, and the description that ``zoo.load`` needs.

    The description is of the model as it is: of its classes, and without tag, origin and figures where its weights are
    no longer those that it was loaded with.

    Args:
        model: one that ``zoo.create_model`` or ``zoo.load`` made, or that has a ``WeightsSpec`` as its ``spec``.
        folder: is made where it is missing; ``zoo.load("local-dir:FOLDER")`` takes it.

    Returns:
        The folder.

    Raises:
        ZooError: nothing is known about the model.
        InputError: the folder cannot be written.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec):
        raise ZooError(
            "the model has no description: make it with zoo.create_model, or set model.spec = WeightsSpec(...)"
        )
    folder = Path(folder)
    path = folder / WEIGHTS_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(path, model.state_dict())
        sha256 = file_sha256(path)
        if spec.sha256 not in ("", sha256):
            spec = spec.for_other_weights()
        spec = spec.with_classes(int(getattr(model, "num_classes", spec.num_classes)))
        spec = dataclasses.replace(spec, file=WEIGHTS_NAME, size=path.stat().st_size, sha256=sha256)
        with replacing(folder / CONFIG_NAME) as part:
            part.write_text(json.dumps(spec.to_json(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return folder


def write_weights(path: Path, state_dict: dict[str, Tensor]) -> None:
    """Write tensors to the safetensors file ``path``, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    # Copies: safetensors takes no tensors that share memory.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state_dict.items()
    }
    with replacing(path) as part:
        part.write_bytes(save(state, metadata={"format": "pt"}))
