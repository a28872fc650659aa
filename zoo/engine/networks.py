"""The networks of a run: made as the configuration says, with the weights that training starts from."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from zoo.create import create_model
from zoo.data.point_transforms import channels_of
from zoo.engine import distributed
from zoo.engine.config import TrainConfig
from zoo.engine.data import Sets
from zoo.engine.init import init_weights
from zoo.engine.optim import freeze, freeze_batch_norms
from zoo.errors import InputError
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput, WeightsSpec

log = logging.getLogger("zoo.train")


class MutualNetworks(nn.Module):
    """Networks that learn from each other.

    Args:
        networks: of the same inputs and classes.
    """

    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The logits of all, [M, ...]."""
        return torch.stack([network(*inputs) for network in self.networks])


def create_network(config: TrainConfig, sets: Sets, device: torch.device, start: bool) -> Any:
    """The model of ``config``; with ``start`` it gets the weights that training starts from.

    Raises:
        InputError: it does not fit the data, or its weights cannot be had.
    """
    num_classes = len(sets.class_names)
    if config.num_classes not in (None, num_classes):
        raise InputError(f"num_classes is {config.num_classes}, but the data have {num_classes}: leave it out")
    task = architecture_task(config.model)
    if num_classes < 2 and task != "object_detection":
        raise InputError(f"the data have the class {', '.join(sets.class_names)} alone: give two or more to tell apart")
    is_video = task == "video_classification"
    arguments, weights = dict(config.model_args), config.init.weights
    if start and weights == "auto" and is_video:
        arguments["pretrained_backbone"] = True
    if isinstance(sets.input, PointInput):
        channels = channels_of(sets.input.features)
        if arguments.setdefault("in_channels", channels) != channels:
            raise InputError(
                f"model_args.in_channels is {arguments['in_channels']}, but xyz and the features of the data are "
                f"{channels}: leave it out"
            )
    try:
        model: Any = create_model(config.model, num_classes=num_classes, **arguments)
    except OSError as error:  # of the Hub
        raise InputError(
            f"ImageNet weights cannot be had from the Hub ({' '.join(str(error).split())[:90]}...): start from a "
            "checkpoint by --init.weights FILE, or from nothing by --init.weights none"
        ) from error
    if isinstance(sets.input, VideoInput) and sets.input.frame_differences and hasattr(model, "initial_state"):
        raise InputError(
            f"data.frame_differences is not for {config.model}: their scale over a clip knows its future, which an "
            "online model has not seen when it answers; leave it out, or take a model of whole clips as tsm_mobilenetv2"
        )
    arguments.pop("pretrained_backbone", None)
    model.spec = describe(config, sets, arguments)
    if start and weights not in ("auto", "none"):
        log.info("%d tensors loaded from %s", init_weights(model, weights, config.init.batch_norms), weights)
        if weights.endswith(".npz") and not (
            arguments.get("tf_padding") and {*config.data.mean, *config.data.std} == {0.5}
        ):
            log.warning(
                "%s learnt from pictures in -1 to 1 with TensorFlow's padding: --model_args.tf_padding true "
                "--data.mean '[0.5, 0.5, 0.5]' --data.std '[0.5, 0.5, 0.5]' start from what it knew",
                weights,
            )
    if config.system.grad_checkpointing:
        if not is_video:
            raise InputError("system.grad_checkpointing is for video models")
        model.backbone.set_grad_checkpointing(True)
    freeze(model, config.optim.freeze)
    freeze_batch_norms(model, config.optim.batch_norm)
    if config.system.sync_bn and distributed.world_size() > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model.to(device, memory_format=torch.channels_last if is_video else torch.preserve_format)


def describe(config: TrainConfig, sets: Sets, arguments: dict[str, Any]) -> WeightsSpec:
    """The description that the trained weights will bear."""
    return WeightsSpec(
        architecture=config.model,
        tag=config.tag,
        num_classes=len(sets.class_names),
        model_args=arguments,
        class_names=sets.class_names,
        input=sets.input,
        origin=f"trained by tools/train.py on {config.data.name} for {config.epochs} epochs",
    )
