"""The three networks inside a frustum network: which points belong to the object, where is it, and what box has it.

All take clouds with the one-hot class of their object [B, num_classes] (Qi et al. 2018, https://arxiv.org/abs/1711.08488).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.layers.cloud import Cloud
from zoo.layers.pooling import max_over
from zoo.layers.set_abstraction import abstract, propagate
from zoo.layers.stacks import (
    Abstraction,
    Block,
    Propagation,
    Scale,
    abstraction_layers,
    linear_layers,
    point_layers,
    propagation_layers,
    shared_layers,
)
from zoo.models.point_network import over_points


class PointMask(nn.Module):
    """Object or background for every point, by point layers and the maximum of further ones.

    Args:
        point_blocks: layers that every point sees.
        cloud_blocks: layers after them, whose maximum every point sees.
        num_classes: of objects.
        in_channels: C.
        scale: factors on widths and resolutions.
    """

    def __init__(
        self,
        point_blocks: Sequence[Block],
        cloud_blocks: Sequence[Block],
        num_classes: int,
        in_channels: int,
        scale: Scale,
    ):
        super().__init__()
        layers, point_widths = point_layers(point_blocks, in_channels, scale)
        self.point_features = nn.ModuleList(layers)
        layers, cloud_widths = point_layers(cloud_blocks, point_widths[-1], scale)
        self.cloud_features = nn.ModuleList(layers)
        seen = num_classes + point_widths[-1] + (cloud_widths or point_widths)[-1]
        head, width = shared_layers(seen, [512, 256, 128, 128, 0.5], scale)
        self.classifier = nn.Sequential(*head, nn.Conv1d(width, 2, 1))

    def forward(self, points: Tensor, classes: Tensor) -> Tensor:
        """Points [B, C, N] to logits [B, 2, N]: background, object."""
        features, cloud = points, Cloud(points[:, :3])
        for layer in self.point_features:
            features = layer(features, cloud)
        deep = features
        for layer in self.cloud_features:
            deep = layer(deep, cloud)
        logits: Tensor = self.classifier((classes, features, max_over(deep, dim=2)))
        return logits


class PointMask2(nn.Module):
    """Object or background for every point, by PointNet++; the class joins its deepest level.

    Args:
        abstraction: stages of the encoder.
        propagation: stages of the decoder.
        num_classes: of objects.
        in_channels: C.
        scale: factors on widths.
    """

    def __init__(
        self,
        abstraction: Sequence[Abstraction | Sequence[int]],
        propagation: Sequence[Propagation],
        num_classes: int,
        in_channels: int,
        scale: Scale,
    ):
        super().__init__()
        self.sa_layers, (*skips, deepest) = abstraction_layers(abstraction, in_channels, scale)
        self.fp_layers, width = propagation_layers(propagation, deepest + num_classes, skips[::-1], scale)
        head, width = shared_layers(width, [128, 0.3], scale)
        self.classifier = nn.Sequential(*head, nn.Conv1d(width, 2, 1))

    def forward(self, points: Tensor, classes: Tensor) -> Tensor:
        """Points [B, C, N] to logits [B, 2, N]: background, object."""
        levels = abstract(self.sa_layers, points[:, 3:], points[:, :3])
        levels[0] = points, levels[0][1]
        features, deepest = levels[-1]
        levels[-1] = torch.cat([features, over_points(classes, features.shape[2])], dim=1), deepest
        logits: Tensor = self.classifier(propagate(self.fp_layers, levels))
        return logits


class CenterRegression(nn.Module):
    """How far the centre of an object lies from the mean of its points (the paper's T-Net, section 4.3)."""

    def __init__(self, num_classes: int, scale: Scale):
        super().__init__()
        layers, width = shared_layers(3, [128, 128, 256], scale)
        self.features = nn.Sequential(*layers)
        layers, width = linear_layers(width + num_classes, [256, 128], scale)
        self.regression = nn.Sequential(*layers, nn.Linear(width, 3))

    def forward(self, coords: Tensor, classes: Tensor) -> Tensor:
        """Coordinates [B, 3, M] to [B, 3], in the unit of the points."""
        cloud = max_over(self.features(coords), dim=2)
        offset: Tensor = self.regression(torch.cat([cloud, classes], dim=1))
        return offset


class BoxEstimation(nn.Module):
    """The numbers that describe the box of an object, by a PointNet.

    Args:
        layers: the point layers.
        width: their output channels.
        num_outputs: how many numbers.
        num_classes: of objects.
        scale: factors on widths.
    """

    def __init__(self, layers: nn.ModuleList, width: int, num_outputs: int, num_classes: int, scale: Scale):
        super().__init__()
        self.features = layers
        head, self.num_features = linear_layers(width + num_classes, [512, 256], scale)
        self.classifier = nn.Sequential(*head, nn.Linear(self.num_features, num_outputs))

    def forward_features(self, coords: Tensor, classes: Tensor) -> Tensor:
        """Coordinates [B, 3, M] to what the last layer sees, [B, num_features]."""
        x = torch.cat([max_over(self.encode(coords), dim=2), classes], dim=1)
        for layer in list(self.classifier)[:-1]:
            x = layer(x)
        return x

    def encode(self, coords: Tensor) -> Tensor:
        """Coordinates [B, 3, M] to features [B, C, M']."""
        features = coords
        for layer in self.features:
            features = layer(features)
        return features


class BoxEstimation2(BoxEstimation):
    """The same by a PointNet++, whose stages are the ``layers``."""

    def encode(self, coords: Tensor) -> Tensor:
        """Coordinates [B, 3, M] to features [B, C, 1]."""
        features, _ = abstract(self.features, coords[:, 3:], coords)[-1]
        return features
