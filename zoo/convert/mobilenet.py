"""MobileNetV2 of width 1, block by block: what ties several namings of it together (Sandler et al. 2018, table 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Inverted residual blocks in each stage; all blocks of a stage but its first have a residual connection."""


@dataclass(frozen=True)
class ConvNorm:
    """A convolution and the batch normalisation behind it.

    Attributes:
        block: index of the inverted residual block in the whole network; -1 for the stem, 17 for the last convolution.
        position: place of the convolution in its block.
        conv: timm's name of the convolution, such as ``blocks.1.0.conv_pw``.
        norm: timm's name of the normalisation, such as ``blocks.1.0.bn1``.
        residual: whether the block has a residual connection, so that its first convolution may be shifted.
    """

    block: int
    position: int
    conv: str
    norm: str
    residual: bool


def conv_norms() -> Iterator[ConvNorm]:
    """The 52 convolutions of the backbone in the order in which they run."""
    yield ConvNorm(-1, 0, "conv_stem", "bn1", False)
    block = 0
    for stage, repeats in enumerate(STAGES):
        convs = (
            ("conv_dw", "conv_pw") if stage == 0 else ("conv_pw", "conv_dw", "conv_pwl")
        )  # the first has no expansion
        for index in range(repeats):
            for position, conv in enumerate(convs):
                name = f"blocks.{stage}.{index}"
                yield ConvNorm(block, position, f"{name}.{conv}", f"{name}.bn{position + 1}", index > 0)
            block += 1
    yield ConvNorm(block, 0, "conv_head", "bn2", False)
