"""Frustum networks (Qi et al. 2018, https://arxiv.org/abs/1711.08488): 3D boxes of objects found in an image.

An image detector says in which frustum of points an object of which class lies; these networks mask its points, find
its centre, and estimate heading and size against templates, with PointNet, PointNet++ or PVCNN (Liu et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.data.kitti import NUM_HEADING_BINS, SIZE_TEMPLATES
from zoo.layers.stacks import Abstraction, Ball, Block, Propagation, Scale, abstraction_layers, point_layers
from zoo.models.frustum_nets import BoxEstimation, BoxEstimation2, CenterRegression, PointMask, PointMask2
from zoo.models.point_network import check_points, first_conv_of, one_hot
from zoo.registry import register_model

MASK_POINTNET = (Block(64, 3),), (Block(128, 1), Block(1024, 1))
MASK_PVCNN = (Block(64, 2, 16), Block(64, 1, 12), Block(128, 1, 12), Block(1024, 1)), ()
MASK_ABSTRACTION = (
    Abstraction(128, [Ball(0.2, 32, (32, 32, 64)), Ball(0.4, 64, (64, 64, 128)), Ball(0.8, 128, (64, 96, 128))]),
    Abstraction(32, [Ball(0.4, 64, (64, 64, 128)), Ball(0.8, 64, (128, 128, 256)), Ball(1.6, 128, (128, 128, 256))]),
    (128, 256, 1024),
)
MASK_PROPAGATION = (Propagation((128, 128)), Propagation((128, 128)), Propagation((128, 128)))
BOX_POINTNET = (Block(128, 2), Block(256, 1), Block(512, 1))
BOX_ABSTRACTION = (
    Abstraction(128, [Ball(0.2, 64, (64, 64, 128))]),
    Abstraction(32, [Ball(0.4, 64, (128, 128, 256))]),
    (256, 256, 512),
)

Templates = Tensor | Sequence[Sequence[float]]


class FrustumNet(nn.Module):
    """Mask, centre and box, one after another.

    Args:
        inst_seg_net: points and classes to mask logits.
        box_est_net: coordinates and classes to the numbers of a box.
        num_classes: of objects.
        in_channels: C.
        num_points_per_object: M, foreground points that are drawn for centre and box.
        size_templates: [S, 3], length, width and height in metres.
        scale: factors on widths.

    Attributes:
        num_features: channels of ``"box_features"`` in ``forward_features``.
        classifier_name: empty: the classes are an input, and no one layer depends on them.
    """

    classifier_name = ""
    size_templates: Tensor

    def __init__(
        self,
        inst_seg_net: nn.Module,
        box_est_net: BoxEstimation,
        num_classes: int,
        in_channels: int,
        num_points_per_object: int,
        size_templates: Tensor,
        scale: Scale,
    ):
        super().__init__()
        if num_points_per_object < 1:
            raise ValueError(f"num_points_per_object must be at least 1, not {num_points_per_object}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.num_points_per_object = num_points_per_object
        self.inst_seg_net = inst_seg_net
        self.center_reg_net = CenterRegression(num_classes, scale)
        self.box_est_net = box_est_net
        self.num_features = box_est_net.num_features
        self.first_conv = first_conv_of("inst_seg_net", inst_seg_net)
        self.register_buffer("size_templates", size_templates.unsqueeze(0))

    def forward_features(
        self,
        points: Tensor,
        class_ids: Tensor,
        generator: torch.Generator | None = None,
        draws: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the box is made from: ``mask_logits`` [B, 2, N], ``center_reg`` [B, 3], ``box_features`` [B, C']."""
        check_points(points, self.in_channels)
        classes = one_hot("class_ids", class_ids, self.num_classes, points)
        mask_logits = self.inst_seg_net(points, classes)
        draws = draw(points, generator) if draws is None else draws
        coords, mean = sample_foreground(points[:, :3], mask_logits, self.num_points_per_object, draws)
        offset = self.center_reg_net(coords, classes)
        box_features = self.box_est_net.forward_features(coords - offset.unsqueeze(2), classes)
        return {"mask_logits": mask_logits, "center_reg": mean + offset, "box_features": box_features}

    def forward_head(self, features: dict[str, Tensor], pre_logits: bool = False) -> dict[str, Tensor]:
        """The dict of ``forward`` from that of ``forward_features``, which ``pre_logits`` gives back."""
        if pre_logits:
            return features
        sizes = self.size_templates.shape[1]
        numbers = self.box_est_net.classifier[-1](features["box_features"])
        split = [3, NUM_HEADING_BINS, NUM_HEADING_BINS, sizes, sizes * 3]
        center, heading_scores, heading_residuals, size_scores, size_residuals = numbers.split(split, dim=1)
        size_residuals = size_residuals.unflatten(1, (sizes, 3))
        return {
            "mask_logits": features["mask_logits"],
            "center_reg": features["center_reg"],
            "center": features["center_reg"] + center,
            "heading_scores": heading_scores,
            "heading_residuals_normalized": heading_residuals,
            "heading_residuals": heading_residuals * (math.pi / NUM_HEADING_BINS),
            "size_scores": size_scores,
            "size_residuals_normalized": size_residuals,
            "size_residuals": size_residuals * self.size_templates,
        }

    def forward(
        self,
        points: Tensor,
        class_ids: Tensor,
        generator: torch.Generator | None = None,
        draws: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The boxes of the objects in B frustums.

        Args:
            points: [B, C, N] in metres, the frustum turned to the front.
            class_ids: int64 [B].
            generator: draws the foreground points; by default torch's own.
            draws: what :func:`draw` gives, for runtimes that draw nothing themselves.

        Returns:
            ``mask_logits`` [B, 2, N]; ``center_reg`` and ``center`` [B, 3] in metres, the first guess and the last;
            ``heading_scores``, ``heading_residuals_normalized`` and ``heading_residuals`` (radians) [B, H] for H bins;
            ``size_scores`` [B, S], ``size_residuals_normalized`` and ``size_residuals`` (metres) [B, S, 3] for S
            templates.

        Raises:
            ValueError: an argument has another shape or dtype, or a class is out of range.
        """
        return self.forward_head(self.forward_features(points, class_ids, generator, draws))

    def reset_classifier(self, num_classes: int) -> None:
        """Not possible.

        Raises:
            ValueError: always.
        """
        raise ValueError("a frustum network has no classifier to reset: its classes are an input, so build a new one")


def draw(points: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random number for every one of ``points`` [B, C, N], by which foreground points are chosen, float32 [B, N].

    Args:
        points: the frustums.
        generator: on any device; by default torch's own.
    """
    size = points.shape[0], points.shape[2]
    if generator is None:  # which a compiler traces with sizes that it does not know; with a generator it does not
        return torch.rand(size, device=points.device)
    return torch.rand(size, generator=generator, device=generator.device).to(points.device)


def sample_foreground(coords: Tensor, mask_logits: Tensor, num_points: int, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Draw points of the object and centre them: all of them equally often, give or take one, in random order.

    Args:
        coords: [B, 3, N].
        mask_logits: [B, 2, N]; a point belongs to the object where the second is the greater.
        num_points: M.
        draws: the random order, [B, N] in [0, 1).

    Returns:
        [B, 3, M] about the mean of the object's points, and that mean [B, 3]; zeros where there is no such point.
    """
    mask = mask_logits[:, 0] < mask_logits[:, 1]
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    masked = torch.where(mask.unsqueeze(1), coords, 0)
    precise = torch.promote_types(coords.dtype, torch.float32)
    mean = (masked.sum(dim=2, dtype=precise) / count).to(coords.dtype)
    order = draws.masked_fill(~mask, 2).argsort(dim=1, stable=True)  # the object's points first
    position = torch.arange(num_points, device=coords.device)
    chosen = order.gather(1, position % count).unsqueeze(1).expand(-1, 3, -1)
    return masked.gather(2, chosen) - mean.unsqueeze(2), mean


def _templates(size_templates: Templates | None) -> Tensor:
    """[S, 3] float32."""
    templates = torch.as_tensor(SIZE_TEMPLATES if size_templates is None else size_templates, dtype=torch.float32)
    if templates.dim() != 2 or templates.shape[1] != 3 or templates.shape[0] == 0:
        raise ValueError(f"size_templates must have the shape [S, 3], not {list(templates.shape)}")
    return templates.clone()


def _check_channels(num_classes: int, in_channels: int) -> None:
    if num_classes < 1:
        raise ValueError(f"a frustum network needs at least one class of objects, not {num_classes}: it gives boxes")
    if in_channels < 3:
        raise ValueError(f"in_channels counts x, y and z, so it must be at least 3, not {in_channels}")


def _pointnet_box(num_classes: int, num_sizes: int, scale: Scale) -> BoxEstimation:
    layers, widths = point_layers(BOX_POINTNET, 3, scale)
    return BoxEstimation(nn.ModuleList(layers), widths[-1], _num_outputs(num_sizes), num_classes, scale)


def _num_outputs(num_sizes: int) -> int:
    """The centre, score and residual of every heading, score and three residuals of every size."""
    return 3 + NUM_HEADING_BINS * 2 + num_sizes * 4


@register_model(task="object_detection")
def frustum_pointnet(
    num_classes: int = 3,
    in_channels: int = 4,
    num_points_per_object: int = 512,
    size_templates: Templates | None = None,
    width_multiplier: float = 1.0,
) -> FrustumNet:
    """The frustum network with PointNets: called with points [B, C, N] and class_ids int64 [B].

    Args:
        num_classes: of objects that the detector finds.
        in_channels: C: x, y, z and, by default, the intensity.
        num_points_per_object: M, foreground points that are drawn for centre and box.
        size_templates: [S, 3], length, width and height in metres; by default those of KITTI's eight classes.
        width_multiplier: on all channels.

    Raises:
        ValueError: no classes, fewer than three channels, or templates of another shape.
    """
    _check_channels(num_classes, in_channels)
    scale, templates = Scale(width_multiplier), _templates(size_templates)
    mask = PointMask(*MASK_POINTNET, num_classes, in_channels, scale)
    box = _pointnet_box(num_classes, len(templates), scale)
    return FrustumNet(mask, box, num_classes, in_channels, num_points_per_object, templates, scale)


@register_model(task="object_detection")
def frustum_pointnet2(
    num_classes: int = 3,
    in_channels: int = 4,
    num_points_per_object: int = 512,
    size_templates: Templates | None = None,
    width_multiplier: float = 1.0,
) -> FrustumNet:
    """The frustum network with PointNet++; the arguments are those of :func:`frustum_pointnet`."""
    _check_channels(num_classes, in_channels)
    scale, templates = Scale(width_multiplier), _templates(size_templates)
    mask = PointMask2(MASK_ABSTRACTION, MASK_PROPAGATION, num_classes, in_channels, scale)
    stages, widths = abstraction_layers(BOX_ABSTRACTION, 3, scale)
    box = BoxEstimation2(stages, widths[-1], _num_outputs(len(templates)), num_classes, scale)
    return FrustumNet(mask, box, num_classes, in_channels, num_points_per_object, templates, scale)


@register_model(task="object_detection")
def frustum_pvcnne(
    num_classes: int = 3,
    in_channels: int = 4,
    num_points_per_object: int = 512,
    size_templates: Templates | None = None,
    width_multiplier: float = 1.0,
    voxel_resolution_multiplier: float = 1.0,
) -> FrustumNet:
    """The frustum network with PVCNN for the mask (the efficient one); arguments as of :func:`frustum_pointnet`.

    ``voxel_resolution_multiplier`` multiplies the voxels along one side.
    """
    _check_channels(num_classes, in_channels)
    scale, templates = Scale(width_multiplier, voxel_resolution_multiplier), _templates(size_templates)
    mask = PointMask(*MASK_PVCNN, num_classes, in_channels, scale)
    box = _pointnet_box(num_classes, len(templates), scale)
    return FrustumNet(mask, box, num_classes, in_channels, num_points_per_object, templates, scale)
