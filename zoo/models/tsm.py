"""Temporal Shift Module networks (Lin et al. 2019, https://arxiv.org/abs/1811.08383) on timm's backbones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.layers.temporal_shift import ClipContext, Direction, NonLocal, TemporalShift
from zoo.models.residual_blocks import find_residual_blocks
from zoo.registry import register_model

register_video_model = register_model(task="video_classification")
CHANNELS = {"rgb": 3, "flow": 10}  # flow: the two components of five consecutive fields


class TSM(nn.Module):
    """A 2D CNN over the frames of a clip, whose residual blocks shift channels along time; logits are averaged.

    Args:
        backbone: a timm CNN with residual blocks.
        num_classes: 0 gives features.
        num_frames: how many frames to sample; the forward pass takes any number, from the shape of its input.
        shift_div: d; 1/d of the channels move each way.
        shift_place: "blockres" shifts the input of the residual branch, "block" that of the whole block
            (figure 3 of the paper), ``None`` nothing: then this is a TSN.
        modality: "rgb", or "flow" with 10 channels.
        non_local: add non-local blocks to stages 2 and 3 of a ResNet-50.
        dropout: before the classifier.
        pretrained_backbone: start from timm's ImageNet weights, which timm fetches, or from a file of them.
        tf_padding: pad as TensorFlow's "SAME", which at stride 2 lies one pixel off from PyTorch's: for weights that
            were trained so. Of MobileNets and EfficientNets.

    Raises:
        ValueError: the backbone has no residual blocks that can be shifted or no such padding, or an argument is none
            of the above.
    """

    direction: Direction = "bidirectional"
    classifier_name = "head"

    def __init__(
        self,
        backbone: str = "resnet50",
        num_classes: int = 400,
        num_frames: int = 8,
        shift_div: int = 8,
        shift_place: Literal["blockres", "block"] | None = "blockres",
        modality: Literal["rgb", "flow"] = "rgb",
        non_local: bool = False,
        dropout: float = 0.5,
        pretrained_backbone: bool | str = False,
        tf_padding: bool = False,
    ):
        super().__init__()
        import timm

        if modality not in CHANNELS:
            raise ValueError(f"modality is 'rgb' or 'flow', not {modality!r}")
        if shift_place not in ("blockres", "block", None):
            raise ValueError(f"shift_place is 'blockres' or 'block', not {shift_place!r}")
        if num_frames < 1:
            raise ValueError(f"num_frames is at least 1, not {num_frames}")
        self.num_frames = num_frames
        self.in_channels = CHANNELS[modality]
        padding: dict[str, Any] = {"pad_type": "same"} if tf_padding else {}
        weights: dict[str, Any] = {"pretrained": bool(pretrained_backbone)}
        if isinstance(pretrained_backbone, str):
            weights["pretrained_cfg_overlay"] = {"file": pretrained_backbone}
        try:
            network: Any = timm.create_model(backbone, num_classes=0, **weights, **padding)
        except TypeError as error:
            raise ValueError(f"tf_padding is for MobileNets and EfficientNets of timm, not for {backbone}") from error
        self.backbone = network
        self.num_features: int = getattr(network, "head_hidden_size", network.num_features)
        self.first_conv = "backbone." + _first_conv(self.backbone)
        self.context = ClipContext()
        self.shifts = [] if shift_place is None else self._add_shifts(shift_place, shift_div)
        if non_local:
            self._add_non_local()
        if modality == "flow":
            _wrap(self.backbone, _first_conv(self.backbone), _flow_conv)
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def _add_shifts(self, place: str, shift_div: int) -> list[str]:
        """Wrap what is to be shifted; returns the names of the wrapped modules of the backbone."""
        blocks = find_residual_blocks(self.backbone)
        if place == "block":
            names = [block.name for block in blocks]
        else:  # in a network as deep as ResNet-101 every second block of a stage
            every = 2 if max(block.stage_length for block in blocks) >= 23 else 1
            names = [block.first_conv for block in blocks if block.index % every == 0]
        for index, name in enumerate(names):
            shift = partial(
                TemporalShift, context=self.context, index=index, shift_div=shift_div, direction=self.direction
            )
            _wrap(self.backbone, name, shift)
        return names

    def _add_non_local(self) -> None:
        """Put a non-local block behind every second block of stages 2 and 3."""
        network: Any = self.backbone
        stages: list[Any] = [getattr(network, name, ()) for name in ("layer2", "layer3")]
        for stage in stages:
            for index in range(0, len(stage), 2):
                block = stage[index].net if isinstance(stage[index], TemporalShift) else stage[index]
                if not hasattr(block, "bn3"):
                    raise ValueError("non_local is for ResNets with bottleneck blocks, such as resnet50")
                stage[index] = NonLocal(stage[index], block.bn3.num_features, self.context)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in place, drawn as the authors do; with 0 the model gives features."""
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, not {num_classes}")
        self.num_classes = num_classes
        self.head: nn.Module = nn.Identity()
        if num_classes > 0:
            like = next(self.backbone.parameters())
            self.head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            nn.init.normal_(self.head.weight, std=0.001)
            nn.init.zeros_(self.head.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Clips [N, T, C, H, W] to feature maps [N, T, num_features, H', W'].

        Raises:
            ValueError: the shape is another, or T is zero.
        """
        if x.dim() != 5 or x.shape[2] != self.in_channels:
            raise ValueError(f"the model takes clips [N, T, {self.in_channels}, H, W], not {list(x.shape)}")
        if x.shape[1] < 1:
            raise ValueError("the clip has no frames: pass at least one, [N, T >= 1, C, H, W]")
        self.context.num_frames = x.shape[1]
        return self.backbone.forward_features(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature maps [N, T, num_features, H', W'] to logits [N, num_classes], the mean over the frames.

        With ``pre_logits``, or without a classifier: pooled features [N, num_features].
        """
        frames = self.backbone.forward_head(features.flatten(0, 1), pre_logits=True)
        if not pre_logits:
            frames = self.head(self.dropout(frames))
        return frames.unflatten(0, features.shape[:2]).mean(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Clips [N, T, C, H, W] to logits [N, num_classes]."""
        return self.forward_head(self.forward_features(x))


class OnlineTSM(TSM):
    """A TSM that shifts from the past alone, so that it can also follow a stream frame by frame (section 3.4).

    ``state = model.initial_state(...)``, then ``logits, state = model.step(frame, state)``. Called on a clip, it gives
    the mean of the logits of its steps: the clip and the stream are one network, whose shifts take what came before
    from the clip or from the state.

    Raises:
        ValueError: as for ``TSM``; or non-local blocks are wanted, which look at all frames of a clip.
    """

    direction: Direction = "online"

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        if any(isinstance(module, NonLocal) for module in self.modules()):
            raise ValueError("non_local blocks look at all frames of a clip, which a stream does not have: leave them")
        self._state_shapes: dict[tuple[int, ...], list[torch.Size]] = {}  # by the size of the frames

    @torch.no_grad()
    def initial_state(self, batch_size: int = 1, image_size: int | tuple[int, int] | None = None) -> tuple[Tensor, ...]:
        """The state before the first frame, zeros: a tensor [batch_size, C/d, H', W'] for every shift.

        Args:
            batch_size: how many streams are followed at once.
            image_size: of the frames, in pixels: a side or (height, width); by default as the preprocessing gives them.
        """
        if image_size is None:
            spec: Any = getattr(self, "spec", None)
            image_size = 224 if spec is None else int(spec.input.crop_size)
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        like = next(self.parameters())
        if size not in self._state_shapes:
            sketch = copy.deepcopy(self).to("meta").eval()  # shapes without arithmetic
            nothing: tuple[None, ...] = (None,) * len(self.shifts)
            state = sketch._step(like.new_empty(1, self.in_channels, *size, device="meta"), nothing)[1]
            self._state_shapes[size] = [tensor.shape[1:] for tensor in state]
        return tuple(like.new_zeros(batch_size, *shape) for shape in self._state_shapes[size])

    def step(self, frame: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits after one more frame, and the state for the next.

        Args:
            frame: the next frames of B streams, [B, C, H, W].
            state: what ``initial_state`` or the last step gave.

        Returns:
            Logits [B, num_classes], and the new state.

        Raises:
            ValueError: the frame or the state has another shape or dtype.
        """
        if frame.dim() != 4:
            raise ValueError(f"step takes one frame a stream, [B, {self.in_channels}, H, W], not {list(frame.shape)}")
        if len(state) != len(self.shifts):
            raise ValueError(f"the state has {len(state)} tensors, not {len(self.shifts)}: begin with initial_state")
        return self._step(frame, state)

    def _step(self, frame: Tensor, state: Sequence[Tensor | None]) -> tuple[Tensor, tuple[Tensor, ...]]:
        past = list(state)
        self.context.past = past
        try:
            logits = self.forward(frame.unsqueeze(1))
        finally:
            self.context.past = None
        return logits, tuple(tensor for tensor in past if tensor is not None)


def _first_conv(backbone: nn.Module) -> str:
    return next(name for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d))


def _flow_conv(conv: nn.Module) -> nn.Conv2d:
    """The first layer for flow: every channel has the mean of the RGB weights."""
    assert isinstance(conv, nn.Conv2d)
    flow = copy.deepcopy(conv)
    flow.in_channels = CHANNELS["flow"]
    flow.weight = nn.Parameter(conv.weight.detach().mean(dim=1, keepdim=True).repeat(1, flow.in_channels, 1, 1))
    return flow


def _wrap(root: nn.Module, name: str, wrapper: Callable[[Any], nn.Module]) -> None:
    """Put ``wrapper(module)`` in the place of the module called ``name``."""
    parent, _, child = name.rpartition(".")
    setattr(root.get_submodule(parent), child, wrapper(root.get_submodule(name)))


@register_video_model
def tsm(backbone: str = "resnet50", **arguments: Any) -> TSM:
    """TSM on any timm CNN with residual blocks; ``model.shifts`` says where the shifts are."""
    return TSM(backbone, **arguments)


@register_video_model
def tsm_online(backbone: str = "resnet50", **arguments: Any) -> OnlineTSM:
    """Online TSM on any timm CNN with residual blocks; ``model.shifts`` says where the shifts are."""
    return OnlineTSM(backbone, **arguments)


@register_video_model
def tsm_resnet18(**arguments: Any) -> TSM:
    """TSM on ResNet-18."""
    return TSM("resnet18", **arguments)


@register_video_model
def tsm_resnet34(**arguments: Any) -> TSM:
    """TSM on ResNet-34."""
    return TSM("resnet34", **arguments)


@register_video_model
def tsm_resnet50(**arguments: Any) -> TSM:
    """TSM on ResNet-50, the paper's main network."""
    return TSM("resnet50", **arguments)


@register_video_model
def tsm_resnet50_nl(**arguments: Any) -> TSM:
    """TSM on ResNet-50 with five non-local blocks."""
    return TSM("resnet50", non_local=True, **arguments)


@register_video_model
def tsm_resnet101(**arguments: Any) -> TSM:
    """TSM on ResNet-101, every second block shifted."""
    return TSM("resnet101", **arguments)


@register_video_model
def tsm_mobilenetv2(**arguments: Any) -> TSM:
    """TSM on MobileNetV2, its ten residual blocks shifted."""
    return TSM("mobilenetv2_100", **arguments)


@register_video_model
def tsm_resnet18_online(**arguments: Any) -> OnlineTSM:
    """Online TSM on ResNet-18."""
    return OnlineTSM("resnet18", **arguments)


@register_video_model
def tsm_resnet50_online(**arguments: Any) -> OnlineTSM:
    """Online TSM on ResNet-50."""
    return OnlineTSM("resnet50", **arguments)


@register_video_model
def tsm_mobilenetv2_online(**arguments: Any) -> OnlineTSM:
    """Online TSM on MobileNetV2: follows a stream frame by frame."""
    return OnlineTSM("mobilenetv2_100", **arguments)


@register_video_model
def tsn_resnet50(**arguments: Any) -> TSM:
    """TSN on ResNet-50: the same frames, no shift."""
    return TSM("resnet50", shift_place=None, **arguments)


@register_video_model
def tsn_mobilenetv2(**arguments: Any) -> TSM:
    """TSN on MobileNetV2: the same frames, no shift."""
    return TSM("mobilenetv2_100", shift_place=None, **arguments)
