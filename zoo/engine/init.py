"""Starting a backbone from weights that were trained on pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.convert import read_checkpoint
from zoo.convert.tflite_mobilenet import read_quantized_mobilenet
from zoo.errors import CheckpointError


def init_backbone(model: nn.Module, path: str) -> None:
    """Load the backbone's tensors from ``path``; shifts do not matter, the head keeps its own values.

    Raises:
        CheckpointError: a tensor of the backbone is not in the file, or has another shape.
    """
    loaded = read_quantized_mobilenet(path) if path.endswith(".npz") else read_checkpoint(path).state_dict
    source = {name.replace(".net.", "."): tensor for name, tensor in loaded.items()}
    for name, tensor in model.state_dict().items():
        plain = name.replace(".net.", ".")
        if not name.startswith("backbone.") or name.endswith("num_batches_tracked"):
            continue
        if plain not in source or source[plain].shape != tensor.shape:
            raise CheckpointError(f"{path}: has no {plain} of shape {list(tensor.shape)}; it is of another backbone")
        tensor.copy_(source[plain])


@torch.no_grad()
def calibrate_batch_norm(model: nn.Module, batch: Tensor) -> None:
    """Take the statistics of every batch normalisation from ``batch``, and keep the function of the model as it is.

    Weights in which the normalisation was folded come with mean 0 and variance 1, which training would overturn in its
    first step. Here mean and variance become those of the data, and scale and bias make up for it.
    """
    was_training = model.training
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(partial(_calibrate)) for norm in norms]
    model(batch)
    for hook in hooks:
        hook.remove()
    model.train(was_training)


def _calibrate(norm: Any, inputs: tuple[Tensor]) -> None:
    """Make the statistics of ``norm`` those of its input, without changing what it computes."""
    variance, mean = torch.var_mean(inputs[0].transpose(0, 1).flatten(1), dim=1)
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    norm.bias.copy_(norm.bias + gain * (mean - norm.running_mean))
    norm.weight.copy_(gain * torch.sqrt(variance + norm.eps))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
