"""The networks of a run: made as the configuration says, with the weights that training starts from."""

from __future__ import annotations

import difflib
import inspect
import logging
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from zoo.create import create_model
from zoo.data.point_transforms import channels_of
from zoo.engine import distributed
from zoo.engine.config import TrainConfig
from zoo.engine.data import Sets
from zoo.engine.init import init_weights
from zoo.engine.optim import freeze, freeze_batch_norms
from zoo.errors import InputError, SourceError, ZooError
from zoo.registry import architecture_task, find_builder
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
    if config.system.sync_bn and device.type != "cuda":
        raise InputError("PyTorch synchronises batch norms on GPUs alone: leave out system.sync_bn here")
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
    except SourceError as error:
        raise InputError(
            f"ImageNet weights cannot be had; {error}, or start from a checkpoint by --init.weights FILE, or from "
            "nothing by --init.weights none"
        ) from error
    except ZooError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        if not config.model_args:
            raise
        raise InputError(_refused_arguments(config, error)) from error
    if isinstance(sets.input, VideoInput) and sets.input.frame_differences and hasattr(model, "initial_state"):
        raise InputError(
            f"data.frame_differences is not for {config.model}: their scale over a clip knows its future, which an "
            "online model has not seen when it answers; leave it out, or take a model of whole clips as tsm_mobilenetv2"
        )
    arguments.pop("pretrained_backbone", None)
    model.spec = describe(config, sets, arguments)
    if start and weights not in ("auto", "none"):
        loaded = init_weights(model, weights, config.init.batch_norms)
        log.info("%d of %d tensors loaded from %s", loaded, len(model.state_dict()), weights)
        ranges_fit = config.data.frame_differences or {*config.data.mean, *config.data.std} == {0.5}
        # All that the norms do is add a bias, so that with the statistics of a batch they would undo what was learnt.
        fits = arguments.get("tf_padding") and ranges_fit and config.optim.batch_norm == "frozen"
        if weights.endswith(".npz") and config.init.batch_norms and not fits:
            raise InputError(
                f"{weights} learnt from pictures in -1 to 1 with TensorFlow's padding, and its batch norms are part of "
                "its convolutions: add --model_args.tf_padding true --data.mean '[0.5, 0.5, 0.5]' --data.std '[0.5, "
                "0.5, 0.5]' --optim.batch_norm frozen, or for pictures unlike those --init.batch_norms false"
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


def _refused_arguments(config: TrainConfig, error: Exception) -> str:
    """What is wrong with ``config.model_args``, by which no model can be made."""
    builder = find_builder(config.model)
    made: Any = get_type_hints(builder)["return"]
    functions = [builder, *(vars(kind)["__init__"] for kind in made.__mro__ if "__init__" in vars(kind))]
    known = {name for function in functions for name in inspect.signature(function).parameters}
    for name in config.model_args:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            return f"model_args.{name} is no argument of {config.model}{hint}"
    return f"{config.model} cannot be made with model_args {config.model_args}: {' '.join(str(error).split())}"


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
