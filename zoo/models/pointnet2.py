"""PointNet++ (Qi et al. 2017, https://arxiv.org/abs/1706.02413) for parts, in one scale and in several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.layers.set_abstraction import abstract, propagate
from zoo.layers.stacks import (
    Abstraction,
    Ball,
    Propagation,
    Scale,
    abstraction_layers,
    propagation_layers,
    shared_layers,
)
from zoo.models.point_network import PointNetwork, check_points, first_conv_of, one_hot, over_points
from zoo.registry import register_model

SINGLE_SCALE = (
    Abstraction(512, [Ball(0.2, 64, (64, 64, 128))]),
    Abstraction(128, [Ball(0.4, 64, (128, 128, 256))]),
    (256, 512, 1024),
)
MULTI_SCALE = (
    Abstraction(512, [Ball(0.1, 32, (32, 32, 64)), Ball(0.2, 64, (64, 64, 128)), Ball(0.4, 128, (64, 96, 128))]),
    Abstraction(128, [Ball(0.4, 64, (128, 128, 256)), Ball(0.8, 128, (128, 196, 256))]),
    (256, 512, 1024),
)
PROPAGATION = (Propagation((256, 256)), Propagation((256, 128)), Propagation((128, 128, 128)))


class PointNet2Part(PointNetwork):
    """PointNet++ for the parts of a shape.

    Args:
        stages: of the encoder.
        with_shapes: join the shape's category to the points in the last stage; without it, shape_ids are not looked at.
        num_classes: parts of all shapes together.
        in_channels: C.
        num_shapes: S, categories.
        scale: factors on widths.
    """

    def __init__(
        self,
        stages: Sequence[Abstraction | Sequence[int]],
        with_shapes: bool,
        num_classes: int,
        in_channels: int,
        num_shapes: int,
        scale: Scale,
    ):
        super().__init__(num_classes, in_channels)
        self.num_shapes = num_shapes
        self.with_shapes = with_shapes
        self.sa_layers, (*skips, deepest) = abstraction_layers(stages, in_channels, scale)
        skips[0] += num_shapes if with_shapes else 0
        self.fp_layers, width = propagation_layers(PROPAGATION, deepest, skips[::-1], scale)
        self._set_classifier(*shared_layers(width, [128, 0.5], scale))
        self.first_conv = first_conv_of("sa_layers.0", self.sa_layers[0])

    def forward_features(self, points: Tensor, shape_ids: Tensor | None = None) -> Tensor:
        """Points [B, C, N] of shapes int64 [B] to [B, num_features, N]."""
        check_points(points, self.in_channels)
        levels = abstract(self.sa_layers, points[:, 3:], points[:, :3])
        joined = points
        if self.with_shapes:
            shapes = one_hot("shape_ids", shape_ids, self.num_shapes, points)
            joined = torch.cat([points, over_points(shapes, points.shape[2])], dim=1)
        levels[0] = joined, levels[0][1]
        return self._before_last(propagate(self.fp_layers, levels))

    def forward(self, points: Tensor, shape_ids: Tensor | None = None) -> Tensor:
        """Points [B, C, N] of shapes ``shape_ids`` int64 [B] to logits [B, num_classes, N].

        Raises:
            ValueError: an argument has another shape or dtype, or ``shape_ids`` are needed and missing or out of range.
        """
        return self.forward_head(self.forward_features(points, shape_ids))


@register_model(task="part_segmentation")
def pointnet2_part_ssg(
    num_classes: int = 50, in_channels: int = 6, num_shapes: int = 16, width_multiplier: float = 1.0
) -> PointNet2Part:
    """PointNet++ with one scale: called with points [B, C, N] in the unit ball; shape_ids may be given and do nothing.

    Args:
        num_classes: parts of all shapes together; 0 gives features.
        in_channels: C: x, y, z and, by default, the normal.
        num_shapes: categories of shapes.
        width_multiplier: on all channels.
    """
    return PointNet2Part(SINGLE_SCALE, False, num_classes, in_channels, num_shapes, Scale(width_multiplier))


@register_model(task="part_segmentation")
def pointnet2_part_msg(
    num_classes: int = 50, in_channels: int = 6, num_shapes: int = 16, width_multiplier: float = 1.0
) -> PointNet2Part:
    """PointNet++ with several scales: called with points [B, C, N] in the unit ball and shape_ids int64 [B].

    Args:
        num_classes: parts of all shapes together; 0 gives features.
        in_channels: C: x, y, z and, by default, the normal.
        num_shapes: categories of shapes.
        width_multiplier: on all channels.
    """
    return PointNet2Part(MULTI_SCALE, True, num_classes, in_channels, num_shapes, Scale(width_multiplier))
