"""Whether a runtime computes what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.export.runtimes import Session
from zoo.export.signature import SEED, Network, Signature

# How far an output may be off, as a share of the largest value of the model's: by what the runtime computes in.
# bfloat16 keeps 8 bits of a number and int8 as many; a network of fifty layers adds such roundings up.
TOLERANCES = {"fp32": 1e-3, "bf16": 1e-1, "int8": 3e-1}
FEW = 1e-3  # share of the values that may be off further: a point on the border of two voxels is rounded to either


class DisagreementError(ZooError):
    """A runtime that does not compute what the model does."""


@dataclass(frozen=True)
class Trial:
    """What a runtime is tried with.

    Attributes:
        inputs: of the network.
        expected: what the model gives.
    """

    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]


@torch.no_grad()
def trials_of(model: nn.Module, signature: Signature, inputs: Sequence[Tensor]) -> list[Trial]:
    """The example and noise like it, with what the model itself gives in evaluation mode; the model does not change.

    Noise spans what the example does, class ids stay as they are. An online model follows the example's frame with one
    of noise, since the state before a stream is all zeros, and what is wrong with zeros nobody sees.
    """
    modes = {module: module.training for module in model.modules()}
    network = Network(model, signature).eval()
    try:
        outputs: tuple[Tensor, ...] = network(*inputs)
        generator = torch.Generator().manual_seed(SEED)
        if signature.is_step:
            noise = (_noise(inputs[0], generator), *outputs[1:])
        else:
            noise = tuple(_noise(tensor, generator) if tensor.is_floating_point() else tensor for tensor in inputs)
        return [Trial(tuple(inputs), outputs), Trial(noise, network(*noise))]
    finally:
        for module, mode in modes.items():
            module.training = mode


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    low, high = like.aminmax()
    noise = torch.rand(like.shape, generator=generator).to(like)
    return low + noise * (high - low if high > low else 1)


def check_trials(what: str, session: Session, names: Sequence[str], trials: Sequence[Trial]) -> None:
    """Compare what a runtime gives with what the model gives, in every trial.

    Raises:
        DisagreementError: see :func:`check_agreement`.
    """
    for trial in trials:
        check_agreement(what, names, session(*trial.inputs), trial.expected, session.precision)


def check_agreement(
    what: str, names: Sequence[str], outputs: Sequence[Tensor], expected: Sequence[Tensor], precision: str
) -> None:
    """Compare what a runtime gives with what the model gives.

    Args:
        what: the runtime, for the error.
        names: of the outputs.
        outputs: of the runtime.
        expected: of the model, in float32.
        precision: what the runtime computes in, a key of ``TOLERANCES``.

    Raises:
        DisagreementError: an output has another shape, or more than a few of its values are too far off.
    """
    for name, output, wanted in zip(names, outputs, expected, strict=True):
        if output.shape != wanted.shape:
            raise DisagreementError(
                f"{what} gives {name} of the shape {list(output.shape)}, the model {list(wanted.shape)}: "
                "use another runtime"
            )
        off = difference(output, wanted)
        if not off <= TOLERANCES[precision]:  # also where one of them is not a number
            raise DisagreementError(
                f"{what} disagrees with the model: {name} is off by {off:.2g} of its largest value, and "
                f"{TOLERANCES[precision]:g} is allowed in {precision}; use another runtime or precision"
            )


def difference(output: Tensor, expected: Tensor) -> float:
    """How far ``output`` is off but for a few of its values, as a share of the largest of ``expected``."""
    if not expected.numel():
        return 0.0
    wanted = expected.double().flatten()
    off = (output.to(expected.device).double().flatten() - wanted).abs()
    kept = max(1, round(off.numel() * (1 - FEW)))
    worst = off.kthvalue(kept).values if off.isfinite().all() else torch.tensor(torch.inf)
    return float(worst / wanted.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
