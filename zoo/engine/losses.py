"""What training lowers: sums over what is judged, each beside the weight of that; means are made over all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.kitti import SIZE_TEMPLATES
from zoo.engine.config import OptimConfig
from zoo.engine.frustum_loss import frustum_loss
from zoo.errors import InputError

Loss = Callable[[Any, Any], tuple[Tensor, Tensor]]
"""From what a network gives, in float32, and the target to the sum of the losses and its weight."""


class ClassLoss:
    """The cross entropy of classes.

    Args:
        num_classes: K.
        class_weights: how much each class counts; by default all count the same.
        label_smoothing: the share of a target that is spread over all classes.
        device: of the weights.

    Raises:
        InputError: there are not as many weights as classes.
    """

    def __init__(
        self,
        num_classes: int,
        class_weights: list[float] | None = None,
        label_smoothing: float = 0.0,
        device: torch.device | str = "cpu",
    ):
        if class_weights is not None and len(class_weights) != num_classes:
            raise InputError(f"optim.class_weights: {len(class_weights)} weights for {num_classes} classes")
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, device=device)
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of logits [B, K] or [B, K, N].

        Args:
            logits: of K classes.
            target: int64 [B] or [B, N], of which -1 does not count; or, where clips are mixed, shares float [B, K].
        """
        weight = self.weights_of(target).sum(dtype=torch.float64)
        if logits.dim() == 3:  # of which a GPU's cross entropy has no deterministic form
            logits, target = logits.transpose(1, 2).flatten(0, 1), target.flatten()
        loss = F.cross_entropy(
            logits,
            target,
            self.class_weights,
            ignore_index=-1,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return loss, weight

    def weights_of(self, target: Tensor) -> Tensor:
        """How much each element of ``target`` counts, [B] or [B, N]."""
        if target.is_floating_point():
            return target.sum(1) if self.class_weights is None else target @ self.class_weights
        judged = (target >= 0).float()
        return judged if self.class_weights is None else judged * self.class_weights[target.clamp(min=0)]


class MutualLoss:
    """Deep mutual learning (Zhang et al. 2018, equations 5 and 8, https://arxiv.org/abs/1706.00384).

    Each network learns from the target and from what the others answer, as PVCNN's authors trained pairs of theirs.

    Args:
        loss: of each alone.
    """

    def __init__(self, loss: ClassLoss):
        self.loss = loss

    def __call__(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over M networks; logits [M, B, K] or [M, B, K, N], ``target`` as for one."""
        answers = logits.log_softmax(2)
        counts, total = self.loss.weights_of(target), logits.new_zeros(())
        for index, own in enumerate(answers):
            others = [other.detach() for place, other in enumerate(answers) if place != index]
            apart = [F.kl_div(own, other, reduction="none", log_target=True).sum(1) for other in others]
            total = total + self.loss(logits[index], target)[0] + (torch.stack(apart).mean(0) * counts).sum()
        return total, counts.sum(dtype=torch.float64)


def create_loss(optim: OptimConfig, task: str, model: Any, device: torch.device) -> Loss:
    """What ``model`` learns by.

    Raises:
        InputError: a setting does not fit the model.
    """
    if task == "object_detection":
        if optim.class_weights is not None or optim.label_smoothing or optim.mutual > 1:
            raise InputError(
                "optim.class_weights, label_smoothing and mutual are for classes, not boxes: leave them out"
            )
        if not torch.equal(model.size_templates[0].cpu(), torch.tensor(SIZE_TEMPLATES)):
            raise InputError("model_args.size_templates are not those of the targets: leave them out")
        return frustum_loss
    loss = ClassLoss(model.num_classes, optim.class_weights, optim.label_smoothing, device)
    return MutualLoss(loss) if optim.mutual > 1 else loss
