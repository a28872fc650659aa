"""Figures of merit from a confusion matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion_matrix(predictions: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Counts int64 [K, K]: row = target, column = prediction; targets below zero are left out.

    Raises:
        ValueError: a class of a sample that counts is not in [0, K).
    """
    known = targets >= 0
    targets, predictions = targets[known].long(), predictions[known].long()
    if (
        targets.numel()
        and not 0 <= int(predictions.min()) <= int(torch.maximum(predictions, targets).max()) < num_classes
    ):
        raise ValueError(f"predictions and targets are classes in [0, {num_classes}); another number is among them")
    cells = targets * num_classes + predictions
    return torch.bincount(cells.flatten(), minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(confusion: Tensor) -> float:
    """The share of the predictions that are right."""
    return (confusion.diagonal().sum() / confusion.sum().clamp(min=1)).item()


def mean_class_accuracy(confusion: Tensor) -> float:
    """The recall averaged over the classes that occur among the targets; also known as balanced accuracy."""
    occurs = confusion.sum(1) > 0
    return (confusion.diagonal()[occurs] / confusion.sum(1)[occurs]).mean().item()


def mean_iou(confusion: Tensor) -> float:
    """Intersection over union of target and prediction, averaged over the classes that occur in either."""
    intersection = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return (intersection[union > 0] / union[union > 0]).mean().item()
