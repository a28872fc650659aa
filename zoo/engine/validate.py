"""Measuring a model on a part of the data that training never saw, by a protocol of the papers."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from zoo.create import create_model
from zoo.data.kitti import read_frame_ids
from zoo.data.kitti_frustum import KittiFrustums
from zoo.data.outputs import check_output
from zoo.engine import distributed
from zoo.engine.config import ValidateConfig
from zoo.engine.data import named
from zoo.engine.measured import open_measured
from zoo.engine.measured_keys import refuse_unused
from zoo.engine.protocols import Evaluation, evaluate, evaluate_kitti, write_results
from zoo.engine.protocols.confusion_plot import write_confusion
from zoo.engine.protocols.kitti_results import write_kitti_results
from zoo.errors import InputError
from zoo.registry import architecture_task


def validate(config: ValidateConfig) -> tuple[Evaluation, str]:
    """Measure a model; with ``config.out`` the figures are written.

    Beside them come the confusion matrix, as PNG, and the list of the files that were left out, if there are any.
    Of the processes that torchrun started each measures a share of the samples; the figures are those of one process.

    Returns:
        The figures, and on what they were measured.

    Raises:
        InputError: the data cannot be read, do not suit the model, or a key of the configuration has no effect; or the
            figures cannot be written.
        CheckpointError: the weights are damaged.
        UnknownNameError: nothing bears the name of the model.
    """
    device = distributed.local_device(config.device)
    with distributed.joined(device):
        return _validate(config, device)


def _validate(config: ValidateConfig, device: torch.device) -> tuple[Evaluation, str]:
    if config.out and distributed.rank() == 0:
        check_output(config.out, (".json",))
    model: Any = create_model(config.model, pretrained=config.checkpoint is None, checkpoint=config.checkpoint)
    model.to(device)
    if architecture_task(model.spec.architecture) == "object_detection":
        evaluation, measured_on = _detect(config, model)
    else:
        measured = open_measured(config, model.spec)
        measured_on = measured.name
        evaluation = evaluate(model, measured.samples, measured.protocol, **measured.settings)
        evaluation.settings["num_left_out"] = measured.count_left_out()
    evaluation = dataclasses.replace(
        evaluation, settings={"data": measured_on, "command": shlex.join(sys.argv), **evaluation.settings}
    )
    if config.out and distributed.rank() == 0:
        write_results(config.out, evaluation, model.spec.name, model.spec.sha256)
        if evaluation.confusion is not None:
            write_confusion(Path(config.out).with_suffix(".png"), evaluation.confusion, evaluation.class_names)
    return evaluation, measured_on


def _detect(config: ValidateConfig, model: Any) -> tuple[Evaluation, str]:
    """KITTI's average precisions of the boxes that ``model`` finds where a detector saw objects in the pictures."""
    data = named(config.data, model.spec.architecture)
    refuse_unused(dataclasses.replace(config, data=data), "object_detection")
    if not data.val or not data.detections:
        raise InputError(
            "boxes are measured on the frames that data.val lists (such as ImageSets/val.txt), where a detector saw "
            "objects in the pictures: give the folder of its files as data.detections"
        )
    frames = read_frame_ids(data.val)
    frustums = KittiFrustums(data.path, False, model.spec.input.num_points, frames, data.detections)
    with tempfile.TemporaryDirectory() as folder:
        write_kitti_results(model, frustums, frames, Path(folder), config.batch_size)
        evaluation = evaluate_kitti(Path(data.path) / "label_2", folder)
    return evaluation, f"KITTI, {len(frustums)} detections in {len(frames)} frames of {data.val}"
