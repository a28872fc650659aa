"""Measuring a model on a part of the data that training never saw, by a protocol of the papers."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from zoo.create import create_model
from zoo.engine.config import ValidateConfig
from zoo.engine.distributed import local_device
from zoo.engine.measured import open_measured
from zoo.engine.protocols import Evaluation, evaluate, write_results
from zoo.engine.protocols.confusion_plot import write_confusion
from zoo.errors import InputError


def validate(config: ValidateConfig) -> tuple[Evaluation, str]:
    """Measure a model; with ``config.out`` the figures are written, and the confusion matrix beside them as PNG.

    Returns:
        The figures, and on what they were measured.

    Raises:
        InputError: the data cannot be read, or do not suit the model.
        CheckpointError: the weights are damaged.
        UnknownNameError: nothing bears the name of the model.
    """
    if config.out and Path(config.out).suffix != ".json":
        raise InputError(f"--out {config.out} does not end in .json: the figures are written as JSON")
    model: Any = create_model(config.model, pretrained=config.checkpoint is None, checkpoint=config.checkpoint)
    model.to(local_device(config.device))
    measured = open_measured(config, model.spec)
    evaluation = evaluate(model, measured.samples, measured.protocol, **measured.settings)
    evaluation = dataclasses.replace(
        evaluation, settings={"data": measured.name, "command": shlex.join(sys.argv), **evaluation.settings}
    )
    if config.out:
        write_results(config.out, evaluation, model.spec.name, model.spec.sha256)
        if evaluation.confusion is not None:
            write_confusion(Path(config.out).with_suffix(".png"), evaluation.confusion, evaluation.class_names)
    return evaluation, measured.name
