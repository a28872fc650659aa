"""Figures over a whole set from its batches: sums that do not depend on how the samples were split.

Every accumulator holds sums with the group of the samples (recording, scene, site, shape) as first dimension. Batches,
files and processes are put together by adding these sums, and intervals come from drawing the groups anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.engine.metrics import accuracy, confusion_matrix, mean_class_accuracy, mean_iou
from zoo.engine.protocols.intervals import Interval, bootstrap, bootstrap_counts, wilson


class Accumulator(ABC):
    """Sums by group, and the figures that follow from them.

    Args:
        shapes: name and shape of each sum, without the dimension of the groups.
        dtype: of the sums; whole numbers wherever possible, as their sum has no rounding.

    Attributes:
        independent: whether the samples of one group are; the points of one scene are not.
    """

    independent = True

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype = torch.int64):
        self._sums = {name: torch.zeros(0, *shape, dtype=dtype) for name, shape in shapes.items()}

    @property
    def num_groups(self) -> int:
        """G, one more than the highest group so far."""
        return len(next(iter(self._sums.values())))

    def state(self) -> dict[str, Tensor]:
        """The sums by name, [G, ...]; a copy."""
        return {name: value.clone() for name, value in self._sums.items()}

    def merge(self, state: Mapping[str, Tensor], after: bool = False) -> None:
        """Add the ``state`` of another accumulator of the same kind.

        Args:
            state: its sums; equal numbers are the same group.
            after: its groups are others, which follow on the present ones.
        """
        first = self.num_groups if after else 0
        self._grow(first + len(next(iter(state.values()))))
        for name, value in self._sums.items():
            value[first : first + len(state[name])] += state[name].to(value)

    def synchronize(self, device: torch.device | str = "cpu") -> None:
        """Add up the sums of all processes, in every process; nothing happens outside ``torch.distributed``.

        Args:
            device: where the collectives run: "cuda" for NCCL.
        """
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return
        most = torch.tensor(self.num_groups, device=device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        self._grow(int(most))
        for value in self._sums.values():
            total = value.to(device)
            distributed.all_reduce(total)
            value.copy_(total)

    def compute(self) -> dict[str, float]:
        """The figures over all groups; NaN where nothing was counted."""
        return self.figures({name: value.sum(0) for name, value in self._sums.items()})

    def intervals(self, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """95 % intervals of the figures: from the groups where there are several, else Wilson's for proportions."""
        if self.num_groups > 1:
            return bootstrap(self._sums, self.figures, resamples, seed)
        return {name: wilson(*counts) for name, counts in self.proportions().items() if counts[1]}

    @abstractmethod
    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The figures by name, from sums over groups."""

    def proportions(self) -> dict[str, tuple[int, int]]:
        """Successes and trials of those figures that are proportions of independent samples."""
        return {}

    def _grow(self, num_groups: int) -> None:
        missing = num_groups - self.num_groups
        if missing > 0:
            for name, value in self._sums.items():
                self._sums[name] = torch.cat([value, value.new_zeros(missing, *value.shape[1:])])


class TopKAccuracy(Accumulator):
    """The share of samples whose class is among the k likeliest; of equal scores the lower class comes first.

    Args:
        ks: the values of k.
    """

    def __init__(self, ks: Sequence[int] = (1, 5)):
        self.ks = tuple(ks)
        super().__init__({"correct": (len(self.ks),), "count": ()})

    def update(self, scores: Tensor, targets: Tensor, groups: Tensor | int = 0) -> None:
        """Count samples: scores [N, K], targets int64 [N], their groups int64 [N] or one for all."""
        scores, targets = scores.cpu(), targets.cpu()
        groups = torch.as_tensor(groups).cpu().expand(targets.shape)
        if not len(targets):
            return
        order = scores.argsort(dim=1, descending=True, stable=True)
        place = (order == targets.unsqueeze(1)).long().argmax(1, keepdim=True)
        self._grow(int(groups.max()) + 1)
        self._sums["correct"].index_add_(0, groups, (place < torch.tensor(self.ks)).long())
        self._sums["count"].index_add_(0, groups, torch.ones_like(targets))

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """``top_1_accuracy`` and so on."""
        shares = sums["correct"].double() / sums["count"].double()
        return {f"top_{k}_accuracy": share for k, share in zip(self.ks, shares.tolist(), strict=True)}

    def proportions(self) -> dict[str, tuple[int, int]]:
        """All of them."""
        correct, count = self._sums["correct"].sum(0).tolist(), int(self._sums["count"].sum())
        return {f"top_{k}_accuracy": (hits, count) for k, hits in zip(self.ks, correct, strict=True)}


class ConfusionMatrix(Accumulator):
    """Counts of target and prediction, with the accuracies and the mean IoU that follow.

    The sums take ``K * K`` numbers a group: give groups to recordings, scenes or sites, not to single samples.

    Args:
        num_classes: K.
        independent: whether the samples of one group are; points of one scene are not.
    """

    def __init__(self, num_classes: int, independent: bool = True):
        self.num_classes, self.independent = num_classes, independent
        super().__init__({"confusion": (num_classes, num_classes)})

    @property
    def confusion(self) -> Tensor:
        """Counts int64 [K, K] over all groups: row = target, column = prediction."""
        return self._sums["confusion"].sum(0)

    def update(self, predictions: Tensor, targets: Tensor, groups: Tensor | int = 0) -> None:
        """Count samples: predictions and targets int64 of one shape, below zero for targets that do not count.

        Raises:
            ValueError: a class is not in [0, K).
        """
        groups = torch.as_tensor(groups).cpu().expand(targets.shape)
        for group in groups.unique().tolist():
            self._grow(group + 1)
            chosen = groups == group
            counts = confusion_matrix(predictions.cpu()[chosen], targets.cpu()[chosen], self.num_classes)
            self._sums["confusion"][group] += counts

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """``overall_accuracy``, ``mean_class_accuracy`` (the balanced accuracy) and ``mean_iou``."""
        confusion = sums["confusion"].double()
        return {
            "overall_accuracy": accuracy(confusion),
            "mean_class_accuracy": mean_class_accuracy(confusion),
            "mean_iou": mean_iou(confusion),
        }

    def intervals(self, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """From the groups; from one group only if its samples are independent, then from those."""
        if self.num_groups > 1 or not self.independent:
            return bootstrap(self._sums, self.figures, resamples, seed)
        drawn = bootstrap_counts(self.confusion, lambda counts: self.figures({"confusion": counts}), resamples, seed)
        return drawn | super().intervals(resamples, seed)

    def proportions(self) -> dict[str, tuple[int, int]]:
        """The overall accuracy."""
        confusion = self.confusion
        return {"overall_accuracy": (int(confusion.diagonal().sum()), int(confusion.sum()))}
