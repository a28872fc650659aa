"""What goes into a model and comes out of it, as flat lists of named tensors: what every runtime understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.models.frustum import FrustumNet, draw
from zoo.registry import architecture_task
from zoo.weights import VideoInput, WeightsSpec, channels_of

Size = int | str  # of a dimension; one that has a name may be any
SEED = 0
DRAWS = "draws"  # the random numbers of a frustum network, which no runtime has to draw itself


@dataclass(frozen=True)
class Signature:
    """Names and shapes of the tensors of a network.

    Attributes:
        inputs: by name, in order; of an online model "frame" and the tensors of the state.
        outputs: names, in order; of an online model "logits" and the tensors of the new state.
        gives_dict: the model gives its outputs by name, not one tensor.
        num_ids: of the shapes or classes that ids number from 0; None where the model takes none.
    """

    inputs: dict[str, tuple[Size, ...]]
    outputs: tuple[str, ...]
    gives_dict: bool = False
    num_ids: int | None = None

    @property
    def is_step(self) -> bool:
        """Whether this is one step of an online model."""
        return "frame" in self.inputs

    def check(self, given: Sequence[Tensor]) -> None:
        """Refuse tensors whose sizes or types the network does not take.

        Raises:
            InputError: there are more or fewer, one has another shape or type, or their batches differ.
        """
        if len(given) != len(self.inputs):
            raise InputError(f"the model takes {', '.join(self.inputs)}: {len(self.inputs)} tensors, not {len(given)}")
        sizes: dict[Size, int] = {}  # of dimensions that have names, which are the same in all tensors
        for (name, shape), tensor in zip(self.inputs.items(), given, strict=True):
            if not isinstance(tensor, Tensor):
                raise InputError(f"{name} must be a tensor, not {type(tensor).__name__}")
            wanted = [sizes.get(size, size) for size in shape]
            if len(shape) != tensor.dim() or not all(
                there and (isinstance(size, str) or size == there)
                for size, there in zip(wanted, tensor.shape, strict=True)
            ):
                raise InputError(
                    f"{name} must have the shape [{', '.join(map(str, wanted))}], not {list(tensor.shape)}"
                )
            sizes |= {size: there for size, there in zip(shape, tensor.shape, strict=True) if isinstance(size, str)}
            if tensor.is_floating_point() == name.endswith("_ids"):
                kind = "integers" if name.endswith("_ids") else "floating point numbers"
                raise InputError(f"{name} must hold {kind}, not {tensor.dtype}")

    def check_values(self, given: Sequence[Tensor]) -> None:
        """Refuse numbers that the network does not take.

        Raises:
            InputError: an id is none of the model's, or a point lies nowhere.
        """
        for name, tensor in zip(self.inputs, given, strict=True):
            if name.endswith("_ids") and self.num_ids and not ((tensor >= 0) & (tensor < self.num_ids)).all():
                raise InputError(f"{name} must lie in 0..{self.num_ids - 1}")
            if name == "points" and not tensor[:, :3].isfinite().all():
                raise InputError("points has coordinates that are not finite: remove such points")


class Network(nn.Module):
    """A model as a function of a flat list of tensors; of an online model, one step.

    Args:
        model: the model.
        signature: what goes in and comes out.

    Attributes:
        calibration: inputs by which runtimes choose the ranges of int8.
    """

    def __init__(self, model: nn.Module, signature: Signature):
        super().__init__()
        self.model: Any = model
        self.signature = signature
        self.calibration: Sequence[tuple[Tensor, ...]] = ()
        self._onnx: bytes | None = None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of the signature."""
        if self.signature.is_step:
            logits, state = self.model.step(inputs[0], inputs[1:])
            return (logits, *state)
        if DRAWS in self.signature.inputs:
            *inputs_of_model, draws = inputs
            out = self.model(*inputs_of_model, draws=draws)
        else:
            out = self.model(*inputs)
        return tuple(out.values()) if isinstance(out, dict) else (out,)

    def onnx(self, example: Sequence[Tensor]) -> bytes:
        """The network as an ONNX file, made once.

        Raises:
            ZooError: it cannot be exported; the text names the operator that stands in the way.
        """
        from zoo.export.graph import onnx_bytes

        if self._onnx is None:
            self._onnx = onnx_bytes(self, example)
        return self._onnx


def signature_of(model: Any, example: Sequence[Tensor]) -> Signature:
    """The signature of ``model``, which is run once on ``example``: its batch and its number of points may be any."""
    if is_online(model):
        frame, *state = example
        inputs = {"frame": frame} | {f"state_{index}": tensor for index, tensor in enumerate(state)}
        outputs = ("logits", *(f"new_state_{index}" for index in range(len(state))))
        return Signature({name: ("B", *tensor.shape[1:]) for name, tensor in inputs.items()}, outputs)
    if example[0].dim() == 5:
        return Signature({"clip": ("B", *example[0].shape[1:])}, ("logits",))
    if example[0].dim() != 3:
        raise InputError(f"models take clips [B, T, C, H, W] or points [B, C, N], not {list(example[0].shape)}")
    shapes: dict[str, tuple[Size, ...]] = {"points": ("B", example[0].shape[1], "N")}
    if len(example) == 1:
        return Signature(shapes, ("logits",))
    if len(example) == 2:
        return Signature(shapes | {"shape_ids": ("B",)}, ("logits",), num_ids=model.num_shapes)
    with torch.no_grad():
        names = tuple(model(*example[:2]))
    shapes |= {"class_ids": ("B",), DRAWS: ("B", "N")}
    return Signature(shapes, names, gives_dict=True, num_ids=model.num_classes)


def is_online(model: object) -> bool:
    """Whether ``model``, or what it was made of, follows streams frame by frame."""
    signature = getattr(model, "signature", None)
    return signature.is_step if isinstance(signature, Signature) else hasattr(model, "initial_state")


def draws_points(model: object) -> bool:
    """Whether ``model`` chooses points at random."""
    return isinstance(model, FrustumNet)


def example_inputs(model: Any, example: Any = None) -> tuple[Tensor, ...]:
    """The tensors for the network of ``model``: those of ``example``, or random ones of batch 1.

    Args:
        model: one that ``create_model`` made; any where there is an example.
        example: what the model is called with, a tensor or a tuple of them; of an online model a frame [B, C, H, W] or
            a clip, whose first frame is taken.

    Raises:
        InputError: there is no example, and nothing is known about the model's input; or it is no such example.
    """
    inputs = _random_inputs(model) if example is None else example
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    strange = [type(each).__name__ for each in given if not isinstance(each, Tensor)]
    if strange or not given:
        raise InputError(f"an example is what the model is called with, tensors, not {', '.join(strange) or 'nothing'}")
    if draws_points(model) and len(given) == 2:
        return (*given, draw(given[0]))
    if not is_online(model) or len(given) > 1:
        return given
    if given[0].dim() not in (4, 5):
        raise InputError(f"an example is a frame [B, C, H, W] or a clip [B, T, C, H, W], not {list(given[0].shape)}")
    frame = given[0][:, 0] if given[0].dim() == 5 else given[0]
    height, width = frame.shape[2:]
    return (frame, *model.initial_state(frame.shape[0], (height, width)))


def _random_inputs(model: Any) -> tuple[Tensor, ...]:
    """Noise of the size that the model's preprocessing gives."""
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec):
        raise InputError("nothing is known about the input of this model: pass an example of it")
    generator = torch.Generator().manual_seed(SEED)
    like = next(model.parameters())
    if isinstance(spec.input, VideoInput):
        side, channels = spec.input.crop_size, len(spec.input.mean)
        shape = (1, channels, side, side) if is_online(model) else (1, spec.input.num_frames, channels, side, side)
        return (torch.randn(shape, generator=generator).to(like),)
    size = (1, channels_of(spec.input.features), spec.input.num_points)
    points = (torch.rand(size, generator=generator) * 2 - 1).to(like)
    if architecture_task(spec.architecture) in ("part_segmentation", "object_detection"):
        return points, torch.zeros(1, dtype=torch.int64, device=like.device)
    return (points,)
