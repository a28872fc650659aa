"""Optimisers, the groups of parameters that they treat differently, and how the learning rate moves."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo.engine.config import OptimConfig
from zoo.errors import InputError

Groups = list[dict[str, Any]]
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def create_optimizer(networks: Sequence[Any], config: OptimConfig, batch_size: int) -> torch.optim.Optimizer:
    """The optimiser of ``config`` over the trained parameters of ``networks``, by timm.

    Every group has a ``lr_scale``, by which ``set_learning_rate`` multiplies.

    Raises:
        InputError: timm knows no optimiser of that name, LARS has nothing to adapt, or nothing is left to train.
    """
    from timm.optim import create_optimizer_v2, list_optimizers

    if config.name not in list_optimizers():
        raise InputError(f"optim.name {config.name!r} is no optimizer of timm: take 'adamw', 'sgd', 'adam' or 'lars'")
    if config.name.removeprefix("n") in ("lars", "larc") and not config.weight_decay:
        raise InputError(
            f"optim.name {config.name} adapts the rate of what decays: give optim.weight_decay, such as 1e-4"
        )
    groups = [group for network in networks for group in parameter_groups(network, config)]
    if not any(group["params"] for group in groups):
        raise InputError("optim.freeze leaves nothing to train: freeze less")
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=config.name, lr=config.lr, weight_decay=config.weight_decay, momentum=config.momentum
    )
    scale = batch_size / config.lr_batch_size if config.lr_batch_size else 1.0
    for group in optimizer.param_groups:
        group["lr_scale"] = group.get("lr_scale", 1.0) * scale
    return optimizer


def parameter_groups(model: Any, config: OptimConfig) -> Groups:
    """The trained parameters of ``model``, in groups."""
    if config.groups == "tsm":
        return tsm_groups(model, config.weight_decay)
    if config.layer_decay != 1.0:
        return layer_groups(model, config.weight_decay, config.layer_decay)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def layer_groups(model: Any, weight_decay: float, layer_decay: float) -> Groups:
    """Groups by depth: the classifier learns at the full rate, every block before it by ``layer_decay`` slower.

    Weights decay; biases and normalisations do not.

    Raises:
        InputError: the model has no backbone of timm, which says where its blocks begin.
    """
    from timm.models import group_parameters

    if not hasattr(getattr(model, "backbone", None), "group_matcher"):
        raise InputError("optim.layer_decay is for video models: leave it at 1")
    depths = group_parameters(model.backbone, model.backbone.group_matcher(coarse=False), reverse=True)
    last = max(depths.values()) + 1
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((depths.get(name.removeprefix("backbone."), last), decay), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": layer_decay ** (last - depth), "weight_decay": decay}
        for (depth, decay), parameters in groups.items()
    ]


def tsm_groups(model: Any, weight_decay: float) -> Groups:
    """The groups of TSM's authors: biases learn at twice the rate, the classifier at five times, its bias at ten.

    The first convolution of a model of flow learns as the classifier does. Weights decay; biases and normalisations do
    not.
    """
    classifier = model.classifier_name
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    of_flow = next(convolutions, None) if model.in_channels != 3 else None
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, module in model.named_modules():
        is_fast = name == classifier or name.startswith(f"{classifier}.") or module is of_flow
        for kind, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if isinstance(module, _NORMS):
                lr_scale, decay = 1.0, 0.0
            elif kind == "bias":
                lr_scale, decay = 10.0 if is_fast else 2.0, 0.0
            else:
                lr_scale, decay = 5.0 if is_fast else 1.0, weight_decay
            groups.setdefault((lr_scale, decay), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": lr_scale, "weight_decay": decay}
        for (lr_scale, decay), parameters in groups.items()
    ]


def learning_rate(config: OptimConfig, step: int, num_steps: int) -> float:
    """The rate in step ``step`` of ``num_steps``, before the scale of a group."""
    rising = max(1, round(num_steps * config.warmup))
    factor = min(1.0, (step + 1) / rising)
    done = step / max(num_steps, 1)
    if config.schedule == "cosine":
        factor = min(factor, 0.5 * (1 + math.cos(math.pi * done)))
    elif config.schedule == "step":
        factor *= config.gamma ** sum(done >= milestone for milestone in config.milestones)
    return config.lr * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let every group learn at ``rate``, times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """What `AveragedModel` averages by: it forgets its beginning, untrained statistics above all, as fast as it can.

    After n steps the decay is (1 + n) / (10 + n), until that is as large as ``decay`` (as TensorFlow and timm have it).
    """

    def update(averaged: Any, current: Any, count: Any) -> None:
        warm = (1 + int(count)) / (10 + int(count))
        get_ema_multi_avg_fn(min(decay, warm))(averaged, current, count)

    return update


def freeze(model: nn.Module, beginnings: list[str]) -> None:
    """Keep the parameters whose names begin so as they are.

    Raises:
        InputError: no name begins so.
    """
    for beginning in beginnings:
        chosen = [parameter for name, parameter in model.named_parameters() if name.startswith(beginning)]
        if not chosen:
            near = sorted({".".join(name.split(".")[:2]) for name, _ in model.named_parameters()})
            raise InputError(
                f"optim.freeze: no parameter's name begins with {beginning!r}: they begin {', '.join(near)}"
            )
        for parameter in chosen:
            parameter.requires_grad_(False)


def freeze_batch_norms(model: nn.Module, which: Literal["train", "partial", "frozen"]) -> None:
    """Keep the weights of all batch normalisations ("frozen"), or of all but the first ("partial"), as they are."""
    for norm in _batch_norms(model)[{"train": sys.maxsize, "partial": 1, "frozen": 0}[which] :]:
        norm.requires_grad_(False)


def train_mode(model: nn.Module) -> None:
    """Training mode, but for batch normalisations that are frozen: their statistics stay too."""
    model.train()
    for norm in _batch_norms(model):
        if norm.weight is not None and not norm.weight.requires_grad:
            norm.eval()


@contextlib.contextmanager
def first_statistics(model: nn.Module) -> Iterator[None]:
    """Within it, batch normalisations that have seen nothing yet take the statistics of a batch as they are.

    Else a run of a few dozen steps would be measured with what is left of the zeros and ones that they begin with,
    which in a deep network is enough to answer with one class alone.
    """
    fresh = [norm for norm in _batch_norms(model) if norm.momentum and not norm.num_batches_tracked]
    usual = [norm.momentum for norm in fresh]
    for norm in fresh:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(fresh, usual, strict=True):
            norm.momentum = momentum


def _batch_norms(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
