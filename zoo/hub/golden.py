"""Golden tensors: an input beside the weights and the output that belongs to it, to see whether all is as it was.

Bundled weights have their outputs alone: the input is drawn by a generator that NumPy has frozen (its NEP 19).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import CheckpointError
from zoo.hub.weights_file import write_weights
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput, channels_of

GOLDEN_FOLDER = "test"
GOLDEN_INPUT = "input.safetensors"
GOLDEN_OUTPUT = "output.safetensors"
MAX_SIDE = 64  # pixels; small, so that the files are small beside the weights
MAX_POINTS = 512
TOLERANCE = 1e-3  # of the largest output: machines add in different orders
SEED = 0
MAX_BYTES = 2**28  # of a file, which may be a stranger's


def write_golden(folder: Path, model: nn.Module) -> None:
    """Write test/input.safetensors and test/output.safetensors.

    Args:
        folder: of the weights.
        model: with its description as ``spec``.

    Raises:
        OSError: they cannot be written.
    """
    inputs = golden_input(model)
    (folder / GOLDEN_FOLDER).mkdir(exist_ok=True)
    write_weights(folder / GOLDEN_FOLDER / GOLDEN_INPUT, inputs)
    write_weights(folder / GOLDEN_FOLDER / GOLDEN_OUTPUT, golden_output(model, inputs))


def check_golden(folder: Path, model: nn.Module) -> None:
    """Compare what ``model`` computes with the golden tensors in ``folder``.

    Args:
        folder: of the weights, as ``save_pretrained`` writes it.
        model: with these weights; wherever it is and in whatever mode, it is computed with in float32 on a CPU.

    Raises:
        CheckpointError: there are none, they are damaged, or the model gives something else.
    """
    inputs = _read(folder / GOLDEN_FOLDER / GOLDEN_INPUT)
    _compare(folder, model, inputs, _read(folder / GOLDEN_FOLDER / GOLDEN_OUTPUT))


def write_golden_output(path: Path, model: nn.Module) -> None:
    """Write what ``model`` gives for the input that is drawn for it.

    Raises:
        OSError: it cannot be written.
    """
    write_weights(path, golden_output(model, golden_input(model)))


def check_golden_output(path: Path, model: nn.Module) -> None:
    """Compare what ``model`` computes with what `write_golden_output` wrote.

    Raises:
        CheckpointError: there is none, it is damaged, or the model gives something else.
    """
    _compare(path, model, golden_input(model), _read(path))


def _compare(folder: Path, model: nn.Module, inputs: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    try:
        outputs = golden_output(model, inputs)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise CheckpointError(f"{folder}: its golden input is not one of its model ({error}); save it again") from error
    if outputs.keys() != expected.keys():
        raise CheckpointError(f"{folder}: its golden outputs have other names than its model's; save it again")
    for name, output in outputs.items():
        wanted = expected[name].float()
        if output.shape != wanted.shape:
            raise CheckpointError(f"{folder}: the golden output {name!r} has another shape; save the model again")
        difference, scale = _largest(output - wanted), _largest(wanted)
        if not difference <= TOLERANCE * scale:  # also where one of them is not a number
            raise CheckpointError(
                f"{folder}: the model does not give the golden output {name!r} (it is off by {difference:.2g}, the "
                f"largest value is {scale:.2g}); get the folder again, or save the model again"
            )


def golden_input(model: Any) -> dict[str, Tensor]:
    """An input of batch 1 for ``model``, the same each time: "input", and "ids" where it takes classes too."""
    generator = np.random.RandomState(SEED)
    preprocessing: VideoInput | PointInput = model.spec.input
    if isinstance(preprocessing, VideoInput):
        side = min(preprocessing.crop_size, MAX_SIDE)
        clip = (1, preprocessing.num_frames, len(preprocessing.mean), side, side)
        return {"input": torch.from_numpy(generator.standard_normal(clip)).float()}
    cloud = (1, channels_of(preprocessing.features), min(preprocessing.num_points, MAX_POINTS))
    inputs = {"input": torch.from_numpy(generator.standard_normal(cloud)).float()}
    if architecture_task(model.spec.architecture) in ("part_segmentation", "object_detection"):
        inputs["ids"] = torch.zeros(1, dtype=torch.int64)
    return inputs


@torch.no_grad()
def golden_output(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ``model`` gives for ``inputs``, in float32 on a CPU; one tensor is called "output"."""
    network = copy.deepcopy(model).cpu().float().eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # frustum networks draw points
        output = network(*(inputs[name] for name in ("input", "ids") if name in inputs))
    outputs = output if isinstance(output, dict) else {"output": output}
    return {name: tensor.float() for name, tensor in outputs.items()}


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError(
            f"{path}: the golden tensors are missing; restore the file, or save the model by zoo.save_pretrained"
        )
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: has more than {MAX_BYTES} bytes, no golden tensors have; get the folder again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: is damaged ({error}); get the folder again") from error


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
