"""What validation counts: sums over samples that add up over batches and processes, and the figures made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from zoo.engine.boxes import boxes_of, target_boxes
from zoo.engine.metrics import accuracy, confusion_matrix, mean_iou
from zoo.engine.nested import map_tensors
from zoo.engine.protocols.evaluation import device_of, evaluation_mode
from zoo.engine.protocols.rotated_iou import box_iou


class Scores(Protocol):
    """What is counted for one kind of task.

    Attributes:
        nothing: the counts of no sample.
    """

    nothing: Tensor

    def count(self, outputs: Any, target: Any) -> Tensor:
        """The counts of a batch."""

    def figures(self, counts: Tensor) -> dict[str, float]:
        """The figures of all; by the last one the best epoch is chosen."""


class ClassScores:
    """A confusion matrix int64 [K, K], row = target.

    Args:
        num_classes: K.
        segmentation: whether points are classified, whose figure is the mean IoU.
    """

    def __init__(self, num_classes: int, segmentation: bool):
        self.nothing = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.segmentation = segmentation

    def count(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Of logits [B, K] or [B, K, N] and classes int64 [B] or [B, N]."""
        return confusion_matrix(outputs.argmax(1), target, len(self.nothing))

    def figures(self, counts: Tensor) -> dict[str, float]:
        """The accuracy, and that by which segmentations are compared."""
        figures = {"val_accuracy": accuracy(counts)}
        return figures | {"val_mean_iou": mean_iou(counts)} if self.segmentation else figures


class BoxScores:
    """Of frustums: boxes, the sum of their overlaps with those of the targets, points, and points masked rightly."""

    nothing = torch.zeros(4, dtype=torch.float64)

    def count(self, outputs: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        """Of what a frustum network gives, and the targets of ``KittiFrustums``."""
        found, true = boxes_of(outputs).on_ground().numpy(), target_boxes(target).on_ground().numpy()
        overlap = sum(float(box_iou(a[None], b[None])[0, 0]) for a, b in zip(found, true, strict=True))
        mask = target["mask_logits"]
        right = (outputs["mask_logits"].argmax(1) == mask).sum()
        return torch.tensor([len(found), overlap, mask.numel(), float(right)], dtype=torch.float64)

    def figures(self, counts: Tensor) -> dict[str, float]:
        """The accuracy of the mask, and the mean intersection over union of the boxes in space."""
        boxes, overlap, points, right = counts.tolist()
        return {"val_mask_accuracy": right / max(points, 1), "val_box_iou": overlap / max(boxes, 1)}


def create_scores(task: str, num_classes: int) -> Scores:
    """What is counted for models of ``task``."""
    if task == "object_detection":
        return BoxScores()
    return ClassScores(num_classes, task in ("semantic_segmentation", "part_segmentation"))


def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    scores: Scores,
    autocast: Callable[[], Any] = contextlib.nullcontext,
) -> Tensor:
    """The counts of ``model`` on batches of inputs and targets."""
    counts, device = scores.nothing, device_of(model)
    with evaluation_mode(model):
        for batch in batches:
            inputs, target = map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch)
            with autocast():
                outputs = model(*inputs)
            counts = counts + scores.count(map_tensors(Tensor.float, outputs), target).cpu()
    return counts
