"""ShapeNet Part: the mean IoU over shapes and over categories (Yi et al. 2016), as PointNet and PVCNN report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from zoo.data.shapenet_part import NUM_PARTS
from zoo.engine.protocols.accumulators import Accumulator

PARTS_PER_CATEGORY = tuple(NUM_PARTS.values())


def parts_of(category: int, parts_per_category: Sequence[int] = PARTS_PER_CATEGORY) -> range:
    """The part classes of a category, which follow one another.

    Raises:
        ValueError: there is no such category.
    """
    if not 0 <= category < len(parts_per_category):
        raise ValueError(f"categories are numbers in [0, {len(parts_per_category)}), not {category}")
    first = sum(parts_per_category[:category])
    return range(first, first + parts_per_category[category])


def shape_iou(predictions: Tensor, targets: Tensor, parts: range) -> float:
    """The IoU of one shape, averaged over all ``parts``; a part that neither has counts 1.

    Args:
        predictions: int64 [N].
        targets: int64 [N].
        parts: the classes of the shape's category.

    Raises:
        ValueError: a class is not one of ``parts``.
    """
    classes = torch.tensor(list(parts))
    if not (torch.isin(predictions, classes).all() and torch.isin(targets, classes).all()):
        raise ValueError(f"the parts of this shape are the classes {parts.start} to {parts.stop - 1}; others are there")
    is_predicted, is_target = (values == classes.unsqueeze(1) for values in (predictions, targets))
    both, either = (is_predicted & is_target).sum(1), (is_predicted | is_target).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).double().mean().item()


class PartIoU(Accumulator):
    """``instance_miou``, the mean over shapes, and ``class_miou``, the mean over categories of their shapes' means.

    Every shape is a group of its own: figures do not depend on the order of sums, and intervals draw shapes.

    Args:
        parts_per_category: how many parts each category has.
    """

    independent = False

    def __init__(self, parts_per_category: Sequence[int] = PARTS_PER_CATEGORY):
        self.parts_per_category = tuple(parts_per_category)
        categories = len(self.parts_per_category)
        super().__init__({"iou": (categories,), "count": (categories,)}, torch.float64)

    def update(self, predictions: Tensor, targets: Tensor, category: int, group: int | None = None) -> None:
        """Count one shape.

        Args:
            predictions: int64 [N], classes of the category's parts alone.
            targets: int64 [N].
            category: of the shape.
            group: the number of the shape; by default the next one, for a set in one piece.
        """
        parts = parts_of(category, self.parts_per_category)
        iou = shape_iou(predictions.cpu(), targets.cpu(), parts)
        group = self.num_groups if group is None else group
        self._grow(group + 1)
        self._sums["iou"][group, category] += iou
        self._sums["count"][group, category] += 1

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Both means over what there is; NaN for no shape."""
        occurs = sums["count"] > 0
        means = sums["iou"][occurs] / sums["count"][occurs]
        return {
            "instance_miou": (sums["iou"].sum() / sums["count"].sum()).item(),
            "class_miou": means.mean().item(),
        }

    def by_category(self) -> list[float]:
        """The mean of each category's shapes, NaN for a category without any."""
        return (self._sums["iou"].sum(0) / self._sums["count"].sum(0)).tolist()
