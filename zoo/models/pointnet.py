"""PointNet (Qi et al. 2017, https://arxiv.org/abs/1612.00593) without transforms, as in the comparisons of PVCNN."""

from __future__ import annotations

from zoo.layers.stacks import Block, Scale
from zoo.models.point_network import CloudClassification, PartSegmentation, SceneSegmentation
from zoo.registry import register_model

PART = (Block(64, 1), Block(128, 2), Block(512, 1), Block(2048, 1))
SCENE = (Block(64, 3), Block(128, 1), Block(1024, 1))


@register_model(task="part_segmentation")
def pointnet_part(
    num_classes: int = 50, in_channels: int = 6, num_shapes: int = 16, width_multiplier: float = 1.0
) -> PartSegmentation:
    """PointNet for parts: called with points [B, C, N] and shape_ids int64 [B].

    Args:
        num_classes: parts of all shapes together; 0 gives features.
        in_channels: C: x, y, z and, by default, the normal.
        num_shapes: categories of shapes.
        width_multiplier: on all channels.
    """
    return PartSegmentation(PART, num_classes, in_channels, num_shapes, Scale(width_multiplier))


@register_model(task="semantic_segmentation")
def pointnet_sem(num_classes: int = 13, in_channels: int = 9, width_multiplier: float = 1.0) -> SceneSegmentation:
    """PointNet for scenes: called with points [B, C, N].

    Args:
        num_classes: labels; 0 gives features.
        in_channels: C: x, y, z and, by default, colour and the position in the room.
        width_multiplier: on all channels.
    """
    return SceneSegmentation(SCENE, [512, 256, 0.3], False, num_classes, in_channels, Scale(width_multiplier))


@register_model(task="point_classification")
def pointnet_cls(num_classes: int = 40, in_channels: int = 3, width_multiplier: float = 1.0) -> CloudClassification:
    """PointNet for whole clouds: called with points [B, C, N].

    Args:
        num_classes: labels; 0 gives features.
        in_channels: C: x, y, z and what else there is.
        width_multiplier: on all channels.
    """
    return CloudClassification(SCENE, [512, 256, 0.3], num_classes, in_channels, Scale(width_multiplier))
