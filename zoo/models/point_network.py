"""What the networks on points share: their checks, their last layer, and the three plain shapes of network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers.cloud import Cloud
from zoo.layers.pooling import max_over
from zoo.layers.stacks import Block, Scale, linear_layers, point_layers, shared_layers
from zoo.ops.checks import value_outside


class PointNetwork(nn.Module):
    """A network on points [B, C, N], xyz first, whose ``classifier`` ends with one exchangeable layer.

    Attributes:
        num_classes: 0 gives features.
        in_channels: C.
        num_features: channels of ``forward_features``.
        first_conv: the name of the first convolution; its weight is [C', C, ...].
        classifier_name: the name of the last layer.
    """

    first_conv: str
    classifier_name: str
    num_features: int
    classifier: nn.Sequential
    per_point = True

    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        if in_channels < 3:
            raise ValueError(f"in_channels counts x, y and z, so it must be at least 3, not {in_channels}")
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, not {num_classes}")
        self.num_classes = num_classes
        self.in_channels = in_channels

    def forward_features(self, points: Tensor) -> Tensor:
        """Points [B, C, N] to what the last layer sees: [B, num_features, N], or [B, num_features] for clouds."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features to logits [B, num_classes, N] or [B, num_classes]; with ``pre_logits`` the features themselves."""
        if pre_logits:
            return features
        logits: Tensor = self.classifier[-1](features)
        return logits

    def forward(self, points: Tensor) -> Tensor:
        """Points [B, C, N] to logits [B, num_classes, N] or [B, num_classes].

        Raises:
            ValueError: the points have another shape.
        """
        return self.forward_head(self.forward_features(points))

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer for ``num_classes`` in the place of the old one; 0 gives features."""
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0, not {num_classes}")
        self.num_classes = num_classes
        like = next(self.parameters())
        self.classifier[-1] = self._last_layer().to(like.device, like.dtype)

    def _set_classifier(self, layers: Sequence[nn.Module], num_features: int) -> None:
        """``layers`` and the last layer."""
        self.num_features = num_features
        self.classifier = nn.Sequential(*layers, self._last_layer())
        self.classifier_name = f"classifier.{len(layers)}"

    def _last_layer(self) -> nn.Module:
        if self.num_classes == 0:
            return nn.Identity()
        if self.per_point:
            return nn.Conv1d(self.num_features, self.num_classes, 1)
        return nn.Linear(self.num_features, self.num_classes)

    def _before_last(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """What the last layer sees, from what the classifier sees, in one piece or in parts of points and clouds."""
        for layer in list(self.classifier)[:-1]:
            x = layer(x)
        return cast(Tensor, x)


def check_points(points: Tensor, in_channels: int) -> None:
    """``points`` are floating [B, in_channels, N] with N at least 1.

    Raises:
        ValueError: they are not.
    """
    if points.dim() != 3 or points.shape[1] != in_channels or points.shape[2] == 0:
        raise ValueError(
            f"points must have the shape [B, {in_channels}, N] with N at least 1, not {list(points.shape)}: "
            "x, y and z first, then the other channels"
        )
    if not points.is_floating_point():
        raise ValueError(f"points must be floating, not {points.dtype}: convert them with .float()")


def one_hot(name: str, ids: Tensor | None, num: int, points: Tensor) -> Tensor:
    """The rows [B, num] that say which of ``num`` every cloud of ``points`` [B, C, N] is.

    Raises:
        ValueError: ``ids`` are missing, not integers [B], or out of range.
    """
    if ids is None or ids.shape != points.shape[:1] or ids.dtype not in (torch.int32, torch.int64):
        given = "nothing" if ids is None else f"{ids.dtype} of shape {list(ids.shape)}"
        raise ValueError(f"{name} must be int64 of shape [{points.shape[0]}], one for every cloud, not {given}")
    outside = value_outside(ids, num - 1)
    if outside is not None:
        raise ValueError(f"{name} {outside} is out of range: it must be in [0, {num - 1}]")
    return F.one_hot(ids.long(), num).to(points)


def over_points(cloud: Tensor, num_points: int) -> Tensor:
    """What holds for a cloud, [B, C], at every point: [B, C, N]."""
    return cloud.unsqueeze(2).expand(-1, -1, num_points)


class PartSegmentation(PointNetwork):
    """Parts of a shape of known category: every point sees all layers, the cloud's maximum and the category.

    Args:
        blocks: the point layers.
        num_classes: parts of all shapes together.
        in_channels: C.
        num_shapes: S, categories.
        scale: factors on widths and resolutions.
    """

    def __init__(self, blocks: Sequence[Block], num_classes: int, in_channels: int, num_shapes: int, scale: Scale):
        super().__init__(num_classes, in_channels)
        self.num_shapes = num_shapes
        layers, widths = point_layers(blocks, in_channels, scale)
        self.point_features = nn.ModuleList(layers)
        head, width = shared_layers(num_shapes + sum(widths) + widths[-1], [256, 0.2, 256, 0.2, 128], scale)
        self._set_classifier(head, width)
        self.first_conv = first_conv_of("point_features.0", layers[0])

    def forward_features(self, points: Tensor, shape_ids: Tensor | None = None) -> Tensor:
        """Points [B, C, N] of shapes int64 [B] to [B, num_features, N]."""
        check_points(points, self.in_channels)
        shapes = one_hot("shape_ids", shape_ids, self.num_shapes, points)
        features, cloud = points, Cloud(points[:, :3])
        seen = [shapes]
        for layer in self.point_features:
            features = layer(features, cloud)
            seen.append(features)
        seen.append(max_over(features, dim=2))
        return self._before_last(seen)

    def forward(self, points: Tensor, shape_ids: Tensor | None = None) -> Tensor:
        """Points [B, C, N] of shapes ``shape_ids`` int64 [B] to logits [B, num_classes, N].

        Raises:
            ValueError: an argument has another shape or dtype, or ``shape_ids`` are missing or out of range.
        """
        return self.forward_head(self.forward_features(points, shape_ids))


class SceneSegmentation(PointNetwork):
    """Labels for the points of a scene: every point sees point layers and a summary of the cloud.

    Args:
        blocks: the point layers.
        head: the channels and dropouts before the last layer.
        all_layers: points see all point layers, not just the last.
        num_classes: labels.
        in_channels: C.
        scale: factors on widths and resolutions.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        head: Sequence[int | float],
        all_layers: bool,
        num_classes: int,
        in_channels: int,
        scale: Scale,
    ):
        super().__init__(num_classes, in_channels)
        self.all_layers = all_layers
        layers, widths = point_layers(blocks, in_channels, scale)
        self.point_features = nn.ModuleList(layers)
        cloud, cloud_width = linear_layers(widths[-1], [256, 128], scale)
        self.cloud_features = nn.Sequential(*cloud)
        point_width = sum(widths) if all_layers else widths[-1]
        self._set_classifier(*shared_layers(point_width + cloud_width, head, scale))
        self.first_conv = first_conv_of("point_features.0", layers[0])

    def forward_features(self, points: Tensor) -> Tensor:
        """Points [B, C, N] to [B, num_features, N]."""
        check_points(points, self.in_channels)
        features, cloud, seen = points, Cloud(points[:, :3]), []
        for layer in self.point_features:
            features = layer(features, cloud)
            seen.append(features)
        summary = self.cloud_features(max_over(features, dim=2))
        return self._before_last([*(seen if self.all_layers else seen[-1:]), summary])


class CloudClassification(PointNetwork):
    """One label for a cloud: point layers, their maximum over the points, perceptrons.

    Args:
        blocks: the point layers.
        head: the channels and dropouts before the last layer.
        num_classes: labels.
        in_channels: C.
        scale: factors on widths and resolutions.
    """

    per_point = False

    def __init__(
        self, blocks: Sequence[Block], head: Sequence[int | float], num_classes: int, in_channels: int, scale: Scale
    ):
        super().__init__(num_classes, in_channels)
        layers, widths = point_layers(blocks, in_channels, scale)
        self.point_features = nn.ModuleList(layers)
        self._set_classifier(*linear_layers(widths[-1], head, scale))
        self.first_conv = first_conv_of("point_features.0", layers[0])

    def forward_features(self, points: Tensor) -> Tensor:
        """Points [B, C, N] to [B, num_features]."""
        check_points(points, self.in_channels)
        features, cloud = points, Cloud(points[:, :3])
        for layer in self.point_features:
            features = layer(features, cloud)
        return self._before_last(max_over(features, dim=2))


def first_conv_of(prefix: str, module: nn.Module) -> str:
    """The name of the first convolution inside ``module``, which is called ``prefix``."""
    convs = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return next(f"{prefix}.{name}" for name, inner in module.named_modules() if isinstance(inner, convs))
