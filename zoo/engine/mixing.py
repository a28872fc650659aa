"""Mixing the clips of a batch, by torchvision. Chance is torch's own generator, which every step seeds.

mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019, https://arxiv.org/abs/1905.04899.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zoo.engine.config import OptimConfig
from zoo.errors import InputError

Mixing = Callable[[Any, Any], tuple[Any, Any]]
"""From the inputs of a network and the target to mixed ones."""


def create_mixing(optim: OptimConfig, task: str, num_classes: int) -> Mixing:
    """What ``optim.mixup`` and ``optim.cutmix`` ask for; a target becomes the shares [B, K] of the classes.

    Raises:
        InputError: something else than videos would be mixed.
    """
    if not optim.mixup and not optim.cutmix:
        return lambda inputs, target: (inputs, target)
    if task != "video_classification":
        raise InputError("optim.mixup and optim.cutmix are for videos: leave them out")
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    kinds = [(v2.MixUp, optim.mixup), (v2.CutMix, optim.cutmix)]
    mix = v2.RandomChoice([kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha])

    def mix_clips(inputs: tuple[Tensor, ...], target: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """One share, and one rectangle in all frames, for the whole batch."""
        clips, shares = mix(tv_tensors.Video(inputs[0]), target)
        return (clips.as_subclass(Tensor), *inputs[1:]), shares

    return mix_clips
