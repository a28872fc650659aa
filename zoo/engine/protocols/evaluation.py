"""What a measurement gives, and what all measurements of models share."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine import distributed
from zoo.engine.protocols.accumulators import Accumulator, ConfusionMatrix
from zoo.engine.protocols.intervals import Interval
from zoo.errors import InputError


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        protocol: its name.
        num_samples: videos, clouds or scenes.
        figures: by name, in 0..1.
        intervals: of 95 % confidence, for the figures that have one.
        settings: views, votes and what else the figures depend on.
        class_names: in the order of the confusion matrix.
        confusion: counts int64 [K, K], row = target.
        accumulators: from which the figures follow, for `merge_folds`.
    """

    protocol: str
    num_samples: int
    figures: dict[str, float]
    intervals: dict[str, Interval]
    settings: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    confusion: Tensor | None = None
    accumulators: tuple[Accumulator, ...] = field(default=(), repr=False)


def finish(
    protocol: str,
    count: int,
    accumulators: Sequence[Accumulator],
    settings: dict[str, Any],
    class_names: tuple[str, ...],
    device: torch.device,
) -> Evaluation:
    """The figures of all processes, in every one of them.

    Raises:
        InputError: no process had a sample.
    """
    total = distributed.sum_over_all(torch.tensor(count, device=device))
    if not int(total):
        raise InputError("there is nothing to evaluate on: the part of the data is empty")
    for accumulator in accumulators:
        accumulator.synchronize(device)
    return _summary(protocol, int(total), accumulators, settings, class_names)


def merge_folds(protocol: str, evaluations: Sequence[Evaluation]) -> Evaluation:
    """The figures over several sets, each measured with a model of its own, from their summed counts.

    So the six folds of S3DIS become one figure: the confusion matrices of the areas are summed, not their figures
    averaged.

    Args:
        protocol: the name of the whole, such as "s3dis_6fold".
        evaluations: of the same task, each on samples and groups that the others do not have.

    Raises:
        InputError: there are none, or they are of different kinds.
    """
    kinds = {tuple(type(each) for each in evaluation.accumulators) for evaluation in evaluations}
    if len(kinds) != 1 or kinds == {()}:
        raise InputError("folds that are merged are one or more evaluations of the same task by evaluate()")
    merged = copy.deepcopy(evaluations[0].accumulators)
    grouped = any(each.num_groups > 1 for evaluation in evaluations for each in evaluation.accumulators)
    for evaluation in evaluations[1:]:
        for total, part in zip(merged, evaluation.accumulators, strict=True):
            total.merge(part.state(), after=grouped or not total.independent)
    count = sum(evaluation.num_samples for evaluation in evaluations)
    settings = {"folds": [{"protocol": each.protocol, **each.settings} for each in evaluations]}
    return _summary(protocol, count, merged, settings, evaluations[0].class_names)


def _summary(
    protocol: str,
    count: int,
    accumulators: Sequence[Accumulator],
    settings: dict[str, Any],
    class_names: tuple[str, ...],
) -> Evaluation:
    figures: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    confusion = None
    for accumulator in accumulators:
        figures |= accumulator.compute()
        intervals |= accumulator.intervals()
        if isinstance(accumulator, ConfusionMatrix):
            confusion = accumulator.confusion
    return Evaluation(
        protocol, count, figures, intervals, settings, class_names, confusion, accumulators=tuple(accumulators)
    )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No gradients, and every layer in evaluation mode; afterwards each is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def finite(logits: Tensor) -> Tensor:
    """The logits in float32.

    Raises:
        InputError: one is not a finite number.
    """
    logits = logits.float()
    if not logits.isfinite().all():
        raise InputError(
            "the model gives numbers that are not finite; its weights are damaged, or train with a lower lr"
        )
    return logits


def spec_of(model: Any) -> Any:
    """The description of the weights.

    Raises:
        InputError: the model has none.
    """
    spec = getattr(model, "spec", None)
    if spec is None:
        raise InputError("the model has no description: make it with zoo.create_model")
    return spec


def device_of(model: nn.Module) -> torch.device:
    """Where the model runs."""
    return next(model.parameters()).device


def own_number(count: int) -> int:
    """The number of a sample among those of all processes, where each takes every world-size-th."""
    return count * distributed.world_size() + distributed.rank()
