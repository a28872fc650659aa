"""A model in a runtime, called as before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import InputError
from zoo.export.runtimes import Session
from zoo.export.signature import DRAWS, Signature
from zoo.models.frustum import draw


class OptimizedModel:
    """A model in a runtime, called as the model itself.

    Attributes:
        model: the original, with its class names and preprocessing as ``model.spec``; of a file the description alone.
        runtime: its name.
        precision: what it really computes in.
        prepare_seconds: how long it took to be made.
        device: where its state is.
    """

    def __init__(
        self,
        model: Any,
        session: Session,
        signature: Signature,
        runtime: str,
        prepare_seconds: float,
        device: torch.device,
    ):
        self.model = model
        self.session = session
        self.signature = signature
        self.runtime = runtime
        self.precision = session.precision
        self.prepare_seconds = prepare_seconds
        self.device = device
        self._taken: list[object] | None = None  # sizes and types that were found right the last time

    def __repr__(self) -> str:
        return f"<OptimizedModel {self._name()}, {self.runtime}, {self.precision}>"

    @property
    def spec(self) -> Any:
        """The description of the original, as far as there is one."""
        return getattr(self.model, "spec", None)

    def __call__(self, *inputs: Tensor) -> Any:
        """What the model gives; an online model takes a clip [N, T, C, H, W] here, and its steps' logits are averaged.

        Raises:
            InputError: the model does not take these inputs.
        """
        if not self.signature.is_step:
            if DRAWS in self.signature.inputs and len(inputs) == 2 and _dims(inputs[0]) == 3:
                inputs = (*inputs, draw(inputs[0]))  # as the model itself would
            outputs = self._run(inputs)
            return dict(zip(self.signature.outputs, outputs, strict=True)) if self.signature.gives_dict else outputs[0]
        if len(inputs) != 1 or _dims(inputs[0]) != 5 or not inputs[0].shape[1]:
            raise InputError("an online model takes a clip [N, T, C, H, W], or frame by frame step(frame, state)")
        clip = inputs[0]
        state = self.initial_state(clip.shape[0])
        total = torch.zeros(())
        for frame in clip.unbind(1):
            logits, state = self.step(frame, state)
            total = logits + total.to(logits.device)
        return total / clip.shape[1]

    def initial_state(self, batch_size: int = 1, image_size: int | tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """The state before the first frame, as of the model itself; the size is the one it was optimised for.

        Raises:
            InputError: the model has no state, or the frames of another size.
        """
        self._check_is_step()
        frame, *state = self.signature.inputs.values()
        own = tuple(frame[2:])
        size = own if image_size is None else (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        if size != own:
            raise InputError(f"this model was made for frames of {own[0]} x {own[1]} pixels: make it again for yours")
        shapes = [[int(side) for side in shape[1:]] for shape in state]
        return tuple(torch.zeros(batch_size, *shape, device=self.device) for shape in shapes)

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, num_classes] after one more frame [B, C, H, W], and the state for the next.

        Raises:
            InputError: the frame or the state has another shape, or the model has no state.
        """
        self._check_is_step()
        logits, *new = self._run((frame, *state))
        return logits, tuple(new)

    def _run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        kinds: list[object] = [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs]
        if kinds != self._taken:
            self.signature.check(inputs)
            self._taken = kinds
        self.signature.check_values(inputs)
        return self.session(*inputs)

    def _check_is_step(self) -> None:
        if not self.signature.is_step:
            raise InputError(f"{self._name()} has no state: it takes clips, not streams")

    def _name(self) -> str:
        return str(getattr(self.spec, "name", type(self.model).__name__))


def _dims(x: object) -> int | None:
    """How many dimensions a tensor has; what is none has none."""
    return x.dim() if isinstance(x, Tensor) else None
