"""A model in the fastest runtime that agrees with it, called as before."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.errors import InputError, ZooError
from zoo.export.agreement import check_agreement
from zoo.export.calibration import Calibration, calibration_inputs, calibration_list
from zoo.export.eager import fast_copy
from zoo.export.runtimes import RUNTIMES, Session, find_runtime, missing
from zoo.export.signature import DRAWS, Network, Signature, example_inputs, signature_of
from zoo.models.frustum import draw

log = logging.getLogger("zoo")
Precision = Literal["fp32", "bf16", "int8"]
RUNS = 15  # of each runtime, in turn, when the fastest is looked for
WARM_UP = 3


class OptimizedModel:
    """A model in a runtime, called as the model itself.

    Attributes:
        model: the original, with its class names and preprocessing as ``model.spec``.
        runtime: its name.
        precision: what it really computes in.
        prepare_seconds: how long it took to be made.
    """

    def __init__(self, model: Any, session: Session, signature: Signature, runtime: str, prepare_seconds: float):
        self.model = model
        self.session = session
        self.signature = signature
        self.runtime = runtime
        self.precision = session.precision
        self.prepare_seconds = prepare_seconds

    def __repr__(self) -> str:
        return f"<OptimizedModel {type(self.model).__name__}, {self.runtime}, {self.precision}>"

    def __call__(self, *inputs: Tensor) -> Any:
        """What the model gives; an online model takes a clip [N, T, C, H, W] here, and its steps' logits are averaged.

        Raises:
            InputError: the model does not take these inputs.
        """
        if not self.signature.is_step:
            if DRAWS in self.signature.inputs and len(inputs) == 2:
                inputs = (*inputs, draw(inputs[0]))  # as the model itself would
            outputs = self._run(inputs)
            return dict(zip(self.signature.outputs, outputs, strict=True)) if self.signature.gives_dict else outputs[0]
        if len(inputs) != 1 or inputs[0].dim() != 5 or not inputs[0].shape[1]:
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
        if not self.signature.is_step:
            raise InputError(f"{type(self.model).__name__} has no state: it takes clips, not streams")
        frame, *state = self.signature.inputs.values()
        own = tuple(frame[2:])
        size = own if image_size is None else (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        if size != own:
            raise InputError(f"this model was optimised for frames of {own[0]} x {own[1]} pixels: optimise it again")
        like = self._device()
        return tuple(torch.zeros(batch_size, *(int(side) for side in shape[1:]), device=like) for shape in state)

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, num_classes] after one more frame [B, C, H, W], and the state for the next.

        Raises:
            InputError: the frame or the state has another shape, or the model has no state.
        """
        if not self.signature.is_step:
            raise InputError(f"{type(self.model).__name__} has no state: it takes clips, not streams")
        logits, *new = self._run((frame, *state))
        return logits, tuple(new)

    def _run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        self.signature.check(inputs)
        return self.session(*inputs)

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def optimize(
    model: nn.Module,
    example: Any = None,
    runtime: str = "auto",
    precision: Precision = "fp32",
    num_threads: int | None = None,
    calibration: Calibration | None = None,
) -> OptimizedModel:
    """Make ``model`` fast; it does not change itself.

    Args:
        model: of any kind that the zoo makes.
        example: what it is called with, a tensor or a tuple of them; for an online model a frame or a clip. By default
            noise of the size that the model's preprocessing gives; of int8, the first of ``calibration``.
        runtime: one of ``zoo.export.RUNTIMES``, or "auto" for the fastest here that agrees with the model.
        precision: "fp32", "bf16" to compute in half the bits, or "int8" in a quarter.
        num_threads: that the runtime computes with; by default its own choice.
        calibration: of int8, inputs that show which ranges numbers take, like ``example``; of an online model clips,
            which are followed step by step. Some tens of them, as the model gets them in use; or a folder of files.

    Returns:
        what is called like the model: its outputs are float32 and, but for the rounding, the model's.

    Raises:
        ZooError: there is no such runtime, it is not installed, or it cannot run this model.
        DisagreementError: it gives something else than the model.
        InputError: there is no example, and nothing is known about the model's input; or, of int8, ``calibration`` is
            empty, or the model does not take what is in it.
    """
    samples = calibration_list(model, calibration) if precision == "int8" else []
    if example is None and samples:
        example = samples[0]
    names = list(RUNTIMES) if runtime == "auto" else [runtime]
    if runtime != "auto":
        lack = missing(runtime)
        if lack is not None:
            raise ZooError(lack)
    inputs = example_inputs(model, example)
    started = time.perf_counter()
    fast = fast_copy(model, example)
    network = Network(fast, signature_of(fast, inputs))
    network.calibration = calibration_inputs(network, samples)
    if network.calibration:
        inputs = network.calibration[-1]  # numbers far from the calibration set are cut off, and would not agree
    seconds = time.perf_counter() - started
    expected = expected_of(model, network.signature, inputs)
    ready: list[OptimizedModel] = []
    failures: list[ZooError] = []
    for name in names:
        if runtime == "auto" and missing(name) is not None:
            continue
        try:
            started = time.perf_counter()
            session = find_runtime(name).prepare(network, inputs, precision, num_threads)
            check_agreement(name, network.signature.outputs, session(*inputs), expected, precision)
            spent = seconds + time.perf_counter() - started
            ready.append(OptimizedModel(model, session, network.signature, name, spent))
        except ZooError as error:
            log.info("%s", error)
            failures.append(error)
    if not ready:
        raise failures[0]
    return _fastest(ready, inputs)


@torch.no_grad()
def expected_of(model: nn.Module, signature: Signature, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """What the model itself gives, in evaluation mode."""
    was_training = model.training
    try:
        outputs: Sequence[Tensor] = Network(model, signature).eval()(*inputs)
    finally:
        model.train(was_training)
    return outputs


def _fastest(ready: list[OptimizedModel], inputs: Sequence[Tensor]) -> OptimizedModel:
    """The one whose median time is the least; they run in turn, so that what disturbs one disturbs all."""
    if len(ready) == 1:
        return ready[0]
    times: dict[str, list[float]] = {each.runtime: [] for each in ready}
    for run in range(WARM_UP + RUNS):
        for each in ready:
            started = time.perf_counter()
            each.session(*inputs)[0].cpu()  # which waits for a GPU
            if run >= WARM_UP:
                times[each.runtime].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    log.info("%s", ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in medians.items()))
    return min(ready, key=lambda each: medians[each.runtime])
