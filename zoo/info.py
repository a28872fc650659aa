"""What is known about a model, for people: size, cost, input, classes, licence, origin, figures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo import hub
from zoo.create import create_model
from zoo.hub.card import input_text
from zoo.registry import architecture_task, list_models
from zoo.weights import VideoInput, WeightsSpec, channels_of


def describe_model(name: str) -> dict[str, str]:
    """Labels and values about the model called ``name``, in the order in which a person wants them.

    Raises:
        UnknownNameError: nothing bears the name.
    """
    resolved = hub.resolve(name, pretrained=False)
    architecture, spec = resolved.architecture, resolved.spec
    model: Any = create_model(name)
    task = architecture_task(architecture)
    inputs = example_input(model, task)
    described: WeightsSpec = model.spec
    tags = list_models(architecture + ".*", pretrained=True)
    lines = {
        "name": spec.name if spec else architecture,
        "task": task.replace("_", " "),
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.2f} M",
        "MACs": f"{count_macs(model, inputs) / 1e9:.3f} G for one input {list(inputs[0].shape)}",
        "input": input_text(described.input),
        "classes": _classes_line(described),
    }
    if spec is None:
        lines["weights"] = ", ".join(tags) if tags else "none; create_model(..., checkpoint=PATH) takes your own"
        return lines
    lines["licence"] = spec.licence or "none is given"
    lines["weights"] = hub.whereabouts(resolved)
    lines["origin"] = spec.origin or "not said"
    for metric in spec.metrics:
        line = f"{metric.value:.4f} on {metric.dataset} ({metric.protocol}); {metric.source}"
        lines[metric.name] = f"{lines[metric.name]} | {line}" if metric.name in lines else line
    return lines


def example_input(model: Any, task: str) -> tuple[Tensor, ...]:
    """Inputs of batch 1 on the meta device, of the sizes that the model's preprocessing gives."""
    preprocessing = model.spec.input
    with torch.device("meta"):
        if isinstance(preprocessing, VideoInput):
            side = preprocessing.crop_size
            return (torch.empty(1, preprocessing.num_frames, model.in_channels, side, side),)
        points = torch.empty(1, channels_of(preprocessing.features), preprocessing.num_points)
        needs_id = task in ("part_segmentation", "object_detection")
        return (points, torch.zeros(1, dtype=torch.int64)) if needs_id else (points,)


@torch.no_grad()
def count_macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulate operations of one forward pass: half the floating-point operations that PyTorch counts."""
    with FlopCounterMode(display=False) as counter:
        model.to("meta").eval()(*inputs)
    return counter.get_total_flops() // 2


def _classes_line(spec: WeightsSpec) -> str:
    names = spec.class_names
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{spec.num_classes}: {shown}" if names else str(spec.num_classes)
