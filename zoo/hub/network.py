"""Networks that are built for the tensors of a file: no time goes into values that would be replaced at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import zoo.models  # noqa: F401  (registers the architectures)
from zoo.convert import Checkpoint, load_checkpoint
from zoo.registry import find_builder
from zoo.weights import WeightsSpec


def sketch(architecture: str, **arguments: Any) -> nn.Module:
    """The network without memory for its tensors, to read names and shapes from, or to be given the tensors of a file.

    Raises:
        UnknownNameError: nothing bears the name.
        TypeError: the architecture has no such argument.
    """
    arguments.pop("pretrained_backbone", None)
    with torch.device("meta"):
        return find_builder(architecture)(**arguments)


def network(spec: WeightsSpec, checkpoint: Checkpoint) -> nn.Module:
    """The network that ``spec`` describes with the tensors of ``checkpoint``.

    Raises:
        CheckpointError: the checkpoint is of another network; the text lists what does not match.
    """
    model: Any = sketch(spec.architecture, num_classes=spec.num_classes, **spec.model_args)
    load_checkpoint(model, checkpoint)
    model.spec = spec
    return model
