"""Many streams through one online model: batched, reset one by one, saved and restored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.outputs import check_output, replacing
from zoo.errors import InputError
from zoo.export.signature import is_online
from zoo.live.smoothing import PRESETS, Decision, Rules, Smoother
from zoo.weights import VideoInput, WeightsSpec

STATE_SUFFIXES = (".safetensors",)
STATE_KEY = "zoo.streams"  # of the metadata


class Streams:
    """The streams of several cameras, which share a model and nothing else.

    A step takes the frames of the streams that have one, as one batch; the others wait as they are.

    Args:
        model: an online model, or what ``zoo.optimize`` made of one.
        num_streams: how many cameras.
        image_size: of the frames, in pixels: a side or (height, width); by default what the model was trained for.
        rules: how decisions follow from logits.

    Raises:
        InputError: the model or its preprocessing takes whole clips, or the rules name classes that it does not have.
    """

    def __init__(
        self,
        model: Any,
        num_streams: int = 1,
        image_size: int | tuple[int, int] | None = None,
        rules: Rules = PRESETS["plain"],
    ) -> None:
        spec = spec_of(model)
        if num_streams < 1:
            raise InputError(f"num_streams is at least 1, not {num_streams}")
        if not is_online(model):
            raise InputError(
                f"{spec.name} sees whole clips and cannot follow a stream frame by frame: take an online model, "
                "see `zoo list '*_online' --pretrained`"
            )
        assert isinstance(spec.input, VideoInput)
        if spec.input.frame_differences:
            raise InputError(f"{spec.name} scales differences of frames by a whole clip, which no stream has")
        self.model, self.spec = model, spec
        self._fresh = model.initial_state(1, spec.input.crop_size if image_size is None else image_size)
        self._state = [tensor.expand(num_streams, *tensor.shape[1:]).clone() for tensor in self._fresh]
        names = spec.class_names or tuple(str(index) for index in range(spec.num_classes))
        self.smoother = Smoother(names, rules, num_streams)

    def __len__(self) -> int:
        return len(self.smoother.steps)

    @torch.inference_mode()
    def step(self, frames: Mapping[int, Tensor]) -> dict[int, Decision]:
        """Go one frame further on some of the streams.

        Args:
            frames: by the number of the stream, from 0, its next frame [C, H, W] as the model's transform gives it.

        Returns:
            What is decided for each of them.

        Raises:
            InputError: there is no such stream, or the frames are no tensors of one size.
            ValueError: the frames have another size than the streams.
        """
        if not frames:
            return {}
        self._check(*frames)
        numbers = sorted(frames)
        shapes = {str(list(getattr(frames[number], "shape", ()))) for number in numbers}
        if len(shapes) > 1 or not all(isinstance(frame, Tensor) for frame in frames.values()):
            raise InputError(
                f"frames are tensors [C, H, W] of one size, as the transform gives, not {', '.join(sorted(shapes))}"
            )
        batch = torch.stack([frames[number] for number in numbers])
        if not batch.is_floating_point():
            raise InputError(f"frames are floating point numbers, as the transform gives, not {batch.dtype}")
        if self._state:
            batch = batch.to(self._state[0].device)
        everyone = numbers == list(range(len(self)))
        state = tuple(self._state if everyone else (tensor[numbers] for tensor in self._state))
        logits, state = self.model.step(batch, state)
        self._state = list(state) if everyone else self._with(numbers, state)
        return dict(zip(numbers, self.smoother.update(logits, numbers), strict=True))

    @torch.inference_mode()
    def reset(self, stream: int) -> None:
        """Begin one stream afresh, as after a cut or a camera that was away.

        Raises:
            InputError: there is no such stream.
        """
        self._check(stream)
        self._state = self._with([stream], self._fresh)
        self.smoother.reset(stream)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that is remembered of the streams to a safetensors file, as a whole or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        from safetensors.torch import save_file

        target = check_output(path, STATE_SUFFIXES)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._tensors().items()}
        try:
            with replacing(target) as part:
                save_file(tensors, part, metadata={"format": "pt", STATE_KEY: json.dumps(self._identity())})
        except OSError as error:
            raise InputError(f"{target} cannot be written ({error.strerror}): give another path") from error

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on where ``save`` was called, in this runtime or another. After an error nothing has changed.

        Raises:
            InputError: the file is missing, damaged, or of streams of another model, number, size or rules.
        """
        tensors, identity = _read(Path(path))
        for what, value in self._identity().items():
            if identity.get(what) != value:
                raise InputError(f"{path} is of streams with {what} {identity.get(what)!r}, these have {value!r}")
        own = self._tensors()
        for name, tensor in own.items():
            given = tensors.get(name)
            if given is None or given.shape != tensor.shape or given.dtype != tensor.dtype:
                what = "nothing" if given is None else f"{given.dtype} {list(given.shape)}"
                raise InputError(
                    f"{path} has {what} as {name!r}, these streams need {tensor.dtype} {list(tensor.shape)}: "
                    "make them with the image size, precision and rules of those that were saved"
                )
        decided = tensors["smoothing.decided"]
        if (
            decided.min() < -1
            or decided.max() >= len(self.smoother.class_names)
            or tensors["smoothing.steps"].min() < 0
        ):
            raise InputError(f"{path} is damaged (it holds decisions for no class): save the streams again")
        self._state = [tensors[f"state.{index}"].to(old.device) for index, old in enumerate(self._state)]
        for name, tensor in self.smoother.tensors.items():
            tensor.copy_(tensors[f"smoothing.{name}"])

    def _with(self, numbers: list[int], new: Iterable[Tensor]) -> list[Tensor]:
        """The state with that of some streams replaced; copies, as what a runtime gave may be its own memory."""
        return [
            old.index_copy(0, torch.tensor(numbers, device=old.device), part)
            for old, part in zip(self._state, new, strict=True)
        ]

    def _tensors(self) -> dict[str, Tensor]:
        state = {f"state.{index}": tensor for index, tensor in enumerate(self._state)}
        return state | {f"smoothing.{name}": tensor for name, tensor in self.smoother.tensors.items()}

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.spec.name,
            "weights": self.spec.sha256,
            "number": len(self),
            "nothing": self.smoother.rules.nothing,
        }

    def _check(self, *numbers: int) -> None:
        if not all(isinstance(number, int) and 0 <= number < len(self) for number in numbers):
            raise InputError(f"the streams are numbered from 0 to {len(self) - 1}, not {list(numbers)}")


def spec_of(model: Any) -> WeightsSpec:
    """The description of an online model, or of the model that an optimised one was made of.

    Raises:
        InputError: there is none.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec) or not isinstance(spec.input, VideoInput):
        raise InputError("a stream needs a video model with its description: make it with zoo.create_model")
    return spec


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file that ``Streams.save`` wrote, and of which streams they are."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            identity = json.loads((file.metadata() or {})[STATE_KEY])
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there: give the path of a file that Streams.save wrote") from error
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no state of streams, or is damaged: save the streams again") from error
    if not isinstance(identity, dict):
        raise InputError(f"{path} holds no state of streams: give the path of a file that Streams.save wrote")
    return tensors, identity
