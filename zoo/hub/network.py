"""Networks that are built for the tensors of a file: no time goes into values that would be replaced at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

import zoo.models  # noqa: F401  (registers the architectures)
from zoo.convert import Checkpoint, load_checkpoint
from zoo.hub.sources import class_order
from zoo.registry import find_builder
from zoo.weights import WeightsSpec

DRAWING = frozenset({Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_, init.kaiming_uniform_})
"""What initial values come from."""


class _WithoutRandomValues(TorchFunctionMode):
    """A block in which nobody draws values for tensors, which takes half of the time of building a network."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return (args[0] if args else kwargs["tensor"]) if func in DRAWING else func(*args, **kwargs)


def sketch(architecture: str, **arguments: Any) -> nn.Module:
    """The network without memory for its tensors, to read names and shapes from, or to be given the tensors of a file.

    Raises:
        UnknownNameError: nothing bears the name.
        TypeError: the architecture has no such argument.
    """
    arguments.pop("pretrained_backbone", None)
    with torch.device("meta"), _WithoutRandomValues():
        return find_builder(architecture)(**arguments)


def network(spec: WeightsSpec, checkpoint: Checkpoint) -> nn.Module:
    """The network that ``spec`` describes with the tensors of ``checkpoint``.

    Raises:
        CheckpointError: the checkpoint is of another network; the text lists what does not match.
    """
    model: Any = sketch(spec.architecture, num_classes=spec.num_classes, **spec.model_args)
    load_checkpoint(model, in_order(checkpoint, spec, model.classifier_name))
    model.spec = spec
    return model


def in_order(checkpoint: Checkpoint, spec: WeightsSpec, classifier: str | None) -> Checkpoint:
    """The checkpoint with the logits in the order of the classes of ``spec``, where its project has them in another.

    Args:
        checkpoint: of these weights; one with another number of classes stays as it is.
        spec: of registered weights, or of any.
        classifier: the dotted name of the layer that gives the logits.
    """
    order = class_order(spec.name, checkpoint.origin)
    if order is None:
        return checkpoint
    rows = [order.index(name) for name in spec.class_names]
    state = {
        name: tensor[rows] if name.startswith(f"{classifier}.") and len(tensor) == len(rows) else tensor
        for name, tensor in checkpoint.state_dict.items()
    }
    return dataclasses.replace(checkpoint, state_dict=state, origin=checkpoint.source)
