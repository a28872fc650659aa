"""Where the residual blocks of a timm CNN are, and which convolution begins their residual branch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

SUITABLE = "resnet*, resnext*, seresnet*, regnet*, convnext*, mobilenetv2_*, mobilenetv3_*, efficientnet_*, mnasnet_*"


@dataclass(frozen=True)
class ResidualBlock:
    """A residual block: its name, that of the first convolution of its branch, and its place in the stage."""

    name: str
    first_conv: str
    index: int
    stage_length: int


def find_residual_blocks(backbone: nn.Module) -> list[ResidualBlock]:
    """The residual blocks of ``backbone``, in order.

    Raises:
        ValueError: there are none that this function knows; the text lists backbones that have some.
    """
    blocks = []
    for stage_name, stage in backbone.named_modules():
        members = [(name, child, _first_conv(child)) for name, child in stage.named_children()]
        length = sum(conv is not None for _, _, conv in members)
        for index, (name, child, conv) in enumerate(members):
            if conv is not None and getattr(child, "has_skip", True):
                full_name = f"{stage_name}.{name}".lstrip(".")
                blocks.append(ResidualBlock(full_name, f"{full_name}.{conv}", index, length))
    if not blocks:
        name = type(backbone).__name__
        raise ValueError(f"{name} has no residual blocks of convolutions to shift; suitable backbones are {SUITABLE}")
    return blocks


def _first_conv(module: nn.Module) -> str | None:
    """The name of the convolution that begins the residual branch, if ``module`` is a residual block."""
    from timm.models import _efficientnet_blocks as efficientnet
    from timm.models.convnext import ConvNeXtBlock
    from timm.models.regnet import Bottleneck as RegNetBottleneck
    from timm.models.resnet import BasicBlock, Bottleneck

    match module:
        case BasicBlock() | Bottleneck() | RegNetBottleneck():
            return "conv1"
        case efficientnet.InvertedResidual():
            return "conv_pw"
        case efficientnet.DepthwiseSeparableConv() | ConvNeXtBlock():
            return "conv_dw"
        case efficientnet.EdgeResidual():
            return "conv_exp"
    return None
