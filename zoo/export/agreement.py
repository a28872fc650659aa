"""Whether a runtime computes what the model does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.errors import ZooError

# How far an output may be off, as a share of the largest value of the model's: by what the runtime computes in.
# bfloat16 keeps 8 bits of a number and int8 as many; a network of fifty layers adds such roundings up.
TOLERANCES = {"fp32": 1e-3, "bf16": 1e-1, "int8": 3e-1}
FEW = 1e-3  # share of the values that may be off further: a point on the border of two voxels is rounded to either


class DisagreementError(ZooError):
    """A runtime that does not compute what the model does."""


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
