"""PVCNN++: PointNet++ with point-voxel convolutions (Liu et al. 2019, https://arxiv.org/abs/1907.03739)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo.layers.set_abstraction import abstract, propagate
from zoo.layers.stacks import (
    Abstraction,
    Ball,
    Block,
    Propagation,
    Scale,
    abstraction_layers,
    propagation_layers,
    shared_layers,
)
from zoo.models.point_network import PointNetwork, check_points, first_conv_of
from zoo.registry import register_model

ABSTRACTION = (
    Abstraction(1024, [Ball(0.1, 32, (32, 64))], before=Block(32, 2, 32)),
    Abstraction(256, [Ball(0.2, 32, (64, 128))], before=Block(64, 3, 16)),
    Abstraction(64, [Ball(0.4, 32, (128, 256))], before=Block(128, 3, 8)),
    Abstraction(16, [Ball(0.8, 32, (256, 256, 512))]),
)
PROPAGATION = (
    Propagation((256, 256), after=Block(256, 1, 8)),
    Propagation((256, 256), after=Block(256, 1, 8)),
    Propagation((256, 128), after=Block(128, 2, 16)),
    Propagation((128, 128, 64), after=Block(64, 1, 32)),
)


class PVCNN2(PointNetwork):
    """PVCNN++ for scenes.

    Args:
        num_classes: labels.
        in_channels: C.
        scale: factors on widths and resolutions.
    """

    def __init__(self, num_classes: int, in_channels: int, scale: Scale):
        super().__init__(num_classes, in_channels)
        self.sa_layers, (*skips, deepest) = abstraction_layers(ABSTRACTION, in_channels, scale)
        skips[0] = in_channels - 3  # the last stage sees the points' features without their coordinates
        self.fp_layers, width = propagation_layers(PROPAGATION, deepest, skips[::-1], scale)
        self._set_classifier(*shared_layers(width, [128, 0.5], scale))
        self.first_conv = first_conv_of("sa_layers.0", self.sa_layers[0])

    def forward_features(self, points: Tensor) -> Tensor:
        """Points [B, C, N] to [B, num_features, N]."""
        check_points(points, self.in_channels)
        levels = abstract(self.sa_layers, points, points[:, :3])
        levels[0] = points[:, 3:], levels[0][1]
        return self._before_last(propagate(self.fp_layers, levels))


def pvcnnpp_sem(
    num_classes: int = 13,
    in_channels: int = 9,
    width_multiplier: float = 1.0,
    voxel_resolution_multiplier: float = 1.0,
) -> PVCNN2:
    """PVCNN++ for indoor scenes: called with points [B, C, N] in metres.

    Args:
        num_classes: labels; 0 gives features.
        in_channels: C: x, y, z and, in the paper, colour and the position in the room.
        width_multiplier: on all channels.
        voxel_resolution_multiplier: on the voxels along one side.
    """
    return PVCNN2(num_classes, in_channels, Scale(width_multiplier, voxel_resolution_multiplier, with_se=True))


@register_model(task="semantic_segmentation")
def pvcnnpp_sem_c1(width_multiplier: float = 1.0, **arguments: Any) -> PVCNN2:
    """PVCNN++ at the paper's width; the arguments are those of :func:`pvcnnpp_sem`."""
    return pvcnnpp_sem(width_multiplier=width_multiplier, **arguments)


@register_model(task="semantic_segmentation")
def pvcnnpp_sem_c0p5(width_multiplier: float = 0.5, **arguments: Any) -> PVCNN2:
    """PVCNN++ at half the width; the arguments are those of :func:`pvcnnpp_sem`."""
    return pvcnnpp_sem(width_multiplier=width_multiplier, **arguments)
