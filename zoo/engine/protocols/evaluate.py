"""Measuring a model on samples: the one function that tools call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from zoo.engine.protocols.classification import evaluate_classification
from zoo.engine.protocols.evaluation import Evaluation, spec_of
from zoo.engine.protocols.segmentation import evaluate_segmentation
from zoo.errors import InputError
from zoo.registry import architecture_task


def evaluate(model: nn.Module, samples: Iterable[Any], protocol: str, **settings: Any) -> Evaluation:
    """Measure ``model`` by what its task is.

    Args:
        model: one that ``create_model`` made, on the device where it is to run.
        samples: for classification (input, label), see `evaluate_classification`; for segmentation a `Cloud`, or
            (points, labels) or (points, labels, category), see `evaluate_segmentation`. In several processes each
            passes its own share, ``samples[rank::world_size]``, without padding.
        protocol: its name, for the results.
        **settings: of the function for the task.

    Returns:
        The figures over all samples, in every process.

    Raises:
        InputError: there are no samples, one does not fit the model, or the model gives no finite number.
    """
    task = architecture_task(spec_of(model).architecture)
    if task in ("video_classification", "point_classification"):
        return evaluate_classification(model, samples, protocol, **settings)
    if task in ("semantic_segmentation", "part_segmentation"):
        return evaluate_segmentation(model, samples, protocol, **settings)
    raise InputError(f"{spec_of(model).name} finds boxes: write KITTI's result files and call evaluate_kitti")
