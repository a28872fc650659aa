"""Point-Voxel CNN (Liu et al. 2019, https://arxiv.org/abs/1907.03739) for parts, scenes and whole clouds."""

from __future__ import annotations

from typing import Any

from zoo.layers.stacks import Block, Scale
from zoo.models.point_network import CloudClassification, PartSegmentation, SceneSegmentation
from zoo.registry import register_model

PART = (Block(64, 1, 32), Block(128, 2, 16), Block(512, 1), Block(2048, 1))
SCENE = (Block(64, 1, 32), Block(64, 2, 16), Block(128, 1, 16), Block(1024, 1))
CLOUD = (Block(64, 1, 32), Block(128, 2, 16), Block(512, 1), Block(1024, 1))


def pvcnn_part(
    num_classes: int = 50,
    in_channels: int = 6,
    num_shapes: int = 16,
    width_multiplier: float = 1.0,
    voxel_resolution_multiplier: float = 1.0,
) -> PartSegmentation:
    """The network for ShapeNet parts (section 4.1): called with points [B, C, N] in [-1, 1] and shape_ids int64 [B].

    Args:
        num_classes: parts of all shapes together; 0 gives features.
        in_channels: C: x, y, z and, in the paper, the normal.
        num_shapes: categories of shapes.
        width_multiplier: on all channels.
        voxel_resolution_multiplier: on the voxels along one side.
    """
    scale = Scale(width_multiplier, voxel_resolution_multiplier, with_se=True, normalize=False)
    return PartSegmentation(PART, num_classes, in_channels, num_shapes, scale)


def pvcnn_sem(
    num_classes: int = 13,
    in_channels: int = 9,
    width_multiplier: float = 1.0,
    voxel_resolution_multiplier: float = 1.0,
) -> SceneSegmentation:
    """The network for indoor scenes (section 4.2): called with points [B, C, N].

    Args:
        num_classes: labels; 0 gives features.
        in_channels: C: x, y, z and, in the paper, colour and the position in the room.
        width_multiplier: on all channels.
        voxel_resolution_multiplier: on the voxels along one side.
    """
    scale = Scale(width_multiplier, voxel_resolution_multiplier)
    return SceneSegmentation(SCENE, [512, 0.3, 256, 0.3], True, num_classes, in_channels, scale)


def pvcnn_cls(
    num_classes: int = 40,
    in_channels: int = 3,
    width_multiplier: float = 1.0,
    voxel_resolution_multiplier: float = 1.0,
) -> CloudClassification:
    """A classifier on point-voxel convolutions, which the paper does not have: called with points [B, C, N].

    Args:
        num_classes: labels; 0 gives features.
        in_channels: C: x, y, z and what else there is.
        width_multiplier: on all channels.
        voxel_resolution_multiplier: on the voxels along one side.
    """
    scale = Scale(width_multiplier, voxel_resolution_multiplier, with_se=True)
    return CloudClassification(CLOUD, [512, 0.3, 256, 0.3], num_classes, in_channels, scale)


@register_model(task="part_segmentation")
def pvcnn_part_c1(width_multiplier: float = 1.0, **arguments: Any) -> PartSegmentation:
    """PVCNN for parts at the paper's width; the arguments are those of :func:`pvcnn_part`."""
    return pvcnn_part(width_multiplier=width_multiplier, **arguments)


@register_model(task="part_segmentation")
def pvcnn_part_c0p5(width_multiplier: float = 0.5, **arguments: Any) -> PartSegmentation:
    """PVCNN for parts at half the width; the arguments are those of :func:`pvcnn_part`."""
    return pvcnn_part(width_multiplier=width_multiplier, **arguments)


@register_model(task="part_segmentation")
def pvcnn_part_c0p25(width_multiplier: float = 0.25, **arguments: Any) -> PartSegmentation:
    """PVCNN for parts at a quarter of the width; the arguments are those of :func:`pvcnn_part`."""
    return pvcnn_part(width_multiplier=width_multiplier, **arguments)


@register_model(task="semantic_segmentation")
def pvcnn_sem_c1(width_multiplier: float = 1.0, **arguments: Any) -> SceneSegmentation:
    """PVCNN for scenes at the paper's width; the arguments are those of :func:`pvcnn_sem`."""
    return pvcnn_sem(width_multiplier=width_multiplier, **arguments)


@register_model(task="semantic_segmentation")
def pvcnn_sem_c0p25(width_multiplier: float = 0.25, **arguments: Any) -> SceneSegmentation:
    """PVCNN for scenes at a quarter of the width; the arguments are those of :func:`pvcnn_sem`."""
    return pvcnn_sem(width_multiplier=width_multiplier, **arguments)


@register_model(task="semantic_segmentation")
def pvcnn_sem_c0p125(width_multiplier: float = 0.125, **arguments: Any) -> SceneSegmentation:
    """PVCNN for scenes at an eighth of the width; the arguments are those of :func:`pvcnn_sem`."""
    return pvcnn_sem(width_multiplier=width_multiplier, **arguments)


@register_model(task="point_classification")
def pvcnn_cls_c1(width_multiplier: float = 1.0, **arguments: Any) -> CloudClassification:
    """PVCNN for whole clouds at the paper's width; the arguments are those of :func:`pvcnn_cls`."""
    return pvcnn_cls(width_multiplier=width_multiplier, **arguments)


@register_model(task="point_classification")
def pvcnn_cls_c0p25(width_multiplier: float = 0.25, **arguments: Any) -> CloudClassification:
    """PVCNN for whole clouds at a quarter of the width; the arguments are those of :func:`pvcnn_cls`."""
    return pvcnn_cls(width_multiplier=width_multiplier, **arguments)
