"""Measuring a model that labels points, on every point of scenes or shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.create import create_transform
from zoo.data.point_transforms import PointTransform, scene_extent
from zoo.engine.protocols.accumulators import Accumulator, ConfusionMatrix
from zoo.engine.protocols.evaluation import (
    Evaluation,
    device_of,
    evaluation_mode,
    finish,
    finite,
    own_number,
    spec_of,
)
from zoo.engine.protocols.part_iou import PARTS_PER_CATEGORY, PartIoU, parts_of
from zoo.engine.protocols.votes import Merge, PointVotes, vote_indices
from zoo.errors import InputError
from zoo.registry import architecture_task

Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class Cloud:
    """A scene or a shape, to be labelled point by point.

    Attributes:
        points: float [N, C], xyz first.
        labels: int64 [N]; points below zero do not count.
        category: of a shape for part segmentation.
        blocks: the parts of the scene that go through the network one by one, each as the numbers int64 [P] of its
            points in the scene and the points float [P, C]; blocks may overlap. By default all points are one.
    """

    points: Any
    labels: Any
    category: int | None = None
    blocks: Sequence[tuple[Any, Any]] = ()


def evaluate_segmentation(
    model: nn.Module,
    samples: Iterable[Any],
    protocol: str = "scenes",
    *,
    num_votes: int = 1,
    merge: Merge = "confident",
    points_per_pass: int | None = None,
    parts_per_category: Sequence[int] = PARTS_PER_CATEGORY,
    groups: Sequence[int] | None = None,
    batch_size: int = 8,
    seed: int = 0,
    transform: Transform | None = None,
) -> Evaluation:
    """Measure a model that labels points, on all points of every scene or shape.

    For S3DIS the samples are the rooms of one area, each with its blocks; `merge_folds` makes one figure of six areas.
    A class that occurs neither among labels nor predictions is left out of the means; in every area of S3DIS all occur.

    Every block is transformed, then its points are repeated, shuffled and cut into passes, as
    ``zoo.engine.protocols.votes`` says.

    Args:
        model: for semantic or part segmentation.
        samples: `Cloud`, or the tuple of its first attributes.
        protocol: its name, for the results.
        num_votes: how often every point is seen, at least.
        merge: what counts of several votes: the most "confident" one or their "mean".
        points_per_pass: that the network sees at once; by default as its weights say.
        parts_per_category: for part segmentation.
        groups: the group (site, room) of each of these samples; by default each is one of its own.
        batch_size: passes that go through the network together.
        seed: of the shuffling.
        transform: of the points float [P, C] of a block to [C', P]; the model's own by default, with the extent of the
            whole scene.

    Raises:
        InputError: as `evaluate` says.
    """
    spec = spec_of(model)
    of_parts = architecture_task(spec.architecture) == "part_segmentation"
    points_per_pass = points_per_pass or spec.input.num_points
    transform = transform or create_transform(model)
    confusion, iou = ConfusionMatrix(spec.num_classes, independent=False), PartIoU(parts_per_category)
    count = 0
    with evaluation_mode(model):
        for sample in samples:
            cloud = sample if isinstance(sample, Cloud) else Cloud(*sample)
            labels = torch.as_tensor(cloud.labels).long()
            if len(cloud.points) != len(labels):
                raise InputError(
                    f"sample {count} has {len(cloud.points)} points and {len(labels)} labels; give one each"
                )
            if of_parts and cloud.category is None:
                raise InputError(
                    f"sample {count} has no category, which {spec.name} needs; give points, labels, category"
                )
            classes = parts_of(int(cloud.category or 0), parts_per_category) if of_parts else range(spec.num_classes)
            votes = PointVotes(len(labels), classes, merge)
            number = own_number(count)
            generator = np.random.default_rng((seed, number))
            for numbers, inputs in _blocks(cloud, transform):
                passes = vote_indices(len(numbers), points_per_pass, num_votes, generator)
                for chosen in torch.from_numpy(passes).split(batch_size):
                    probabilities = _probabilities(model, inputs[:, chosen], cloud.category if of_parts else None)
                    votes.add(numbers[chosen.flatten()], probabilities)
            predictions, counts = votes.labels(), labels >= 0
            if (predictions[counts] < 0).any():
                raise InputError(f"sample {count} has points that are in none of its blocks; put every point into one")
            group = number if groups is None else groups[count]
            if of_parts:
                iou.update(predictions[counts], labels[counts], int(cloud.category or 0), group)
            else:
                confusion.update(predictions, labels, group)
            count += 1
    settings = {"num_votes": num_votes, "merge": merge, "points_per_pass": points_per_pass, "seed": seed}
    accumulator: Accumulator = iou if of_parts else confusion
    return finish(protocol, count, [accumulator], settings, spec.class_names, device_of(model))


def _blocks(cloud: Cloud, transform: Transform) -> Iterator[tuple[Tensor, Tensor]]:
    """The numbers int64 [P] and the network's input [C', P] of each block."""
    extent = scene_extent(np.asarray(cloud.points))
    for numbers, points in cloud.blocks or [(np.arange(len(cloud.points)), cloud.points)]:
        points = np.asarray(points)
        inputs = transform(points, extent=extent) if isinstance(transform, PointTransform) else transform(points)
        yield torch.as_tensor(numbers), inputs


def _probabilities(model: nn.Module, inputs: Tensor, category: int | None) -> Tensor:
    """Softmax [B * P, K] of passes [C', B, P], the points of one pass after another."""
    batch = inputs.permute(1, 0, 2).to(device_of(model))
    extra = () if category is None else (torch.full((len(batch),), category, device=batch.device),)
    return finite(model(batch, *extra)).softmax(1).transpose(1, 2).flatten(0, 1).cpu()
