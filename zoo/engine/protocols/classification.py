"""Measuring a model that gives one label for an input, a video or a cloud, from one or several views of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.create import create_transform
from zoo.data.video_transforms import VideoTransform
from zoo.data.video_views import average_views
from zoo.engine.protocols.accumulators import ConfusionMatrix, TopKAccuracy
from zoo.engine.protocols.evaluation import Evaluation, device_of, evaluation_mode, finish, finite, spec_of
from zoo.errors import InputError

Transform = Callable[[Tensor], Tensor]


def evaluate_classification(
    model: nn.Module,
    samples: Iterable[tuple[Any, Any]],
    protocol: str = "center",
    *,
    groups: Sequence[int] | None = None,
    batch_size: int = 16,
    views: dict[str, Any] | None = None,
    transform: Transform | None = None,
) -> Evaluation:
    """Measure a model that gives one label for an input; its logits are averaged over the views of the input.

    Args:
        model: of videos or clouds.
        samples: (views, label): uint8 [V, T, C, S, S] as ``cut_views`` gives them, or uint8 [T, C, H, W] for one view;
            float [V, N, C] or [N, C] for points, xyz first.
        protocol: its name, for the results.
        groups: the group (recording, source, site) of each of these samples; intervals then draw groups, not samples.
        batch_size: views that go through the network together.
        views: their description, for the results.
        transform: of one view; the model's own by default. Views that were cut already are only normalised.

    Raises:
        InputError: as `evaluate` says.
    """
    spec = spec_of(model)
    num_classes = spec.num_classes
    top, confusion = TopKAccuracy((1, 5) if num_classes > 5 else (1,)), ConfusionMatrix(num_classes)
    transform = transform or create_transform(model)
    count = 0
    with evaluation_mode(model):
        for logits, label in _averaged(model, samples, transform, batch_size):
            target = torch.as_tensor(label).reshape(1).long()
            if not 0 <= int(target) < num_classes:
                raise InputError(
                    f"sample {count} is of class {int(target)}: {spec.name} knows {num_classes}; relabel it"
                )
            group = 0 if groups is None else groups[count]
            top.update(logits[None], target, group)
            confusion.update(_argmax(logits[None]), target, group)
            count += 1
    settings = {"views": views or {}, "averaged": "logits"}
    return finish(protocol, count, [top, confusion], settings, spec.class_names, device_of(model))


def _averaged(
    model: nn.Module, samples: Iterable[tuple[Any, Any]], transform: Transform, batch_size: int
) -> Iterator[tuple[Tensor, Any]]:
    """The logits [K] of every sample, averaged over its views, and its label; samples of one shape go together."""
    waiting: list[tuple[Tensor, Any]] = []
    for number, (views, label) in enumerate(itertools.chain(samples, [(None, None)])):
        inputs = None if views is None else _prepared(torch.as_tensor(views), transform, number)
        full = sum(len(each) for each, _ in waiting) + (0 if inputs is None else len(inputs)) > batch_size
        if waiting and (inputs is None or full or inputs.shape[1:] != waiting[0][0].shape[1:]):
            batch = torch.cat([each for each, _ in waiting])
            parts = [finite(model(part.to(device_of(model)))) for part in batch.split(batch_size)]
            logits = torch.cat(parts).cpu()
            for own, (_, its_label) in zip(logits.split([len(each) for each, _ in waiting]), waiting, strict=True):
                yield average_views(own), its_label
            waiting = []
        if inputs is not None:
            waiting.append((inputs, label))


def _prepared(views: Tensor, transform: Transform, number: int) -> Tensor:
    """A sample as the batch [V, ...] of its views that the network takes."""
    if isinstance(transform, VideoTransform):
        if views.dim() == 4:
            return transform(views)[None]
        if views.dim() != 5 or views.shape[3] != views.shape[4]:
            raise InputError(
                f"sample {number}: views are uint8 [V, T, C, S, S], not {list(views.shape)}; see cut_views"
            )
        size = views.shape[-1]
        normalise = dataclasses.replace(transform, resize_size=size, crop_size=size, crop_mode="center", training=False)
        return torch.stack([normalise(view) for view in views])
    return torch.stack([transform(view) for view in (views if views.dim() == 3 else views[None])])


def _argmax(scores: Tensor) -> Tensor:
    """The likeliest class, the lower one of equals."""
    return (scores == scores.amax(1, keepdim=True)).long().argmax(1)
