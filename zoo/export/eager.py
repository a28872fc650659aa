"""A copy of a model that computes the same faster in PyTorch itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from zoo.export.signature import Network, example_inputs, signature_of
from zoo.export.uses import sole_followers
from zoo.layers.shifted_conv import ACTIVATIONS, ShiftedPointwiseConv, use_shifted_convs

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fast_copy(model: nn.Module, example: Any = None) -> nn.Module:
    """A copy of ``model`` in evaluation mode: batch norms folded into the layers before them, images channels-last.

    Shifts of 1x1 convolutions move nothing, see :mod:`zoo.layers.shifted_conv`, and compute the activation as well.

    Args:
        model: which does not change.
        example: what it is called with, see :func:`zoo.optimize`; by default noise of the size that its preprocessing
            gives.

    Raises:
        InputError: there is no example, and nothing is known about the model's input.
    """
    fast: Any = copy.deepcopy(model).eval().requires_grad_(False)
    inputs = example_inputs(fast, example)
    network = Network(fast, signature_of(fast, inputs))
    fold_batch_norms(fast, network, inputs)
    if use_shifted_convs(fast):
        fuse_activations(fast, network, inputs)
    for module in fast.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return fast


@torch.no_grad()
def fold_batch_norms(model: nn.Module, network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Fold every batch norm that sees nothing but the output of one layer into that layer.

    Where that is so is found by running the network, so that nothing depends on how a library calls its modules.

    Args:
        model: in evaluation mode; its layers change.
        network: what runs it.
        inputs: of the network.

    Returns:
        how many were folded.
    """
    folded = sole_followers(model, network, inputs, LAYERS, NORMS, _can_fold)
    for layer, name, norm in folded:
        fused: Any = (fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval)(layer, norm)
        layer.weight, layer.bias = fused.weight, fused.bias
        # A norm of timm has its activation with it.
        model.set_submodule(name, norm.act if hasattr(norm, "act") else nn.Identity())
    return len(folded)


def _can_fold(layer: nn.Module, norm: Any, x: Tensor) -> bool:
    channels_second = x.dim() == 2 or not isinstance(layer, nn.Linear)
    return bool(norm.track_running_stats and channels_second and x.shape[1] == norm.num_features)


@torch.no_grad()
def fuse_activations(model: nn.Module, network: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Let shifted convolutions compute the activation behind them, where nothing else sees what they give.

    Args:
        model: in evaluation mode; its activations change.
        network: what runs it.
        inputs: of the network.

    Returns:
        how many activations were fused.
    """
    fused = sole_followers(model, network, inputs, (ShiftedPointwiseConv,), tuple(ACTIVATIONS), _can_fuse)
    for conv, name, activation in fused:
        conv.activation = ACTIVATIONS[type(activation)]
        model.set_submodule(name, nn.Identity())
    return len(fused)


def _can_fuse(_: nn.Module, activation: nn.Module, x: Tensor) -> bool:
    return type(activation) in ACTIVATIONS  # one that is derived from it may compute something else
