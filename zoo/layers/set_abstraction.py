"""The layers of PointNet++ (Qi et al. 2017, https://arxiv.org/abs/1706.02413): fewer points, and all points again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo import ops
from zoo.layers.cloud import Cloud, Positions, cloud_of
from zoo.layers.pooling import max_over
from zoo.layers.shared_mlp import SharedMLP


class SetAbstraction(nn.Module):
    """Describe the neighbourhoods of points far apart by PointNets, one for every radius (section 3.2 and 3.3).

    Args:
        num_centers: M.
        radii: of the balls around the centres, in the unit of the points.
        num_neighbors: U, points looked at in every ball.
        in_channels: C, features without coordinates.
        out_channels: the layers of every PointNet.
    """

    def __init__(
        self,
        num_centers: int,
        radii: Sequence[float],
        num_neighbors: Sequence[int],
        in_channels: int,
        out_channels: Sequence[Sequence[int]],
    ):
        super().__init__()
        self.num_centers = num_centers
        self.radii = tuple(radii)
        self.num_neighbors = tuple(num_neighbors)
        self.mlps = nn.ModuleList(SharedMLP(in_channels + 3, channels, dim=2) for channels in out_channels)
        self.out_channels = sum(channels[-1] for channels in out_channels)

    def forward(self, features: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Features [B, C, N] (C may be 0) at [B, 3, N] to [B, C', M] at [B, 3, M]."""
        coords = cloud_of(positions).coords
        centers = ops.gather_points(coords, ops.furthest_point_sample(coords, self.num_centers))
        described = []
        for mlp, radius, count in zip(self.mlps, self.radii, self.num_neighbors, strict=True):
            neighbors = ops.ball_query(centers, coords, radius, count)
            offsets = ops.group_points(coords, neighbors) - centers.unsqueeze(3)
            grouped = ops.group_points(features, neighbors)
            described.append(max_over(mlp(_join([offsets, grouped], like=grouped)), dim=3))
        return torch.cat(described, dim=1), centers

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_centers={self.num_centers}, radii={self.radii}, num_neighbors={self.num_neighbors}"


class GlobalAbstraction(nn.Module):
    """Describe all points by one PointNet, as one point at the origin.

    Args:
        in_channels: C, features without coordinates.
        out_channels: its layers.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int]):
        super().__init__()
        self.mlps = nn.ModuleList([SharedMLP(in_channels + 3, out_channels)])
        self.out_channels = out_channels[-1]

    def forward(self, features: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Features [B, C, N] at [B, 3, N] to [B, C', 1] at [B, 3, 1]."""
        coords = cloud_of(positions).coords
        described = self.mlps[0](_join([features, coords], like=features))
        return max_over(described, dim=2, keepdim=True), torch.zeros_like(coords[:, :, :1])


class FeaturePropagation(nn.Module):
    """Carry features from centres back to the points, join the points' own, and mix (section 3.4).

    Args:
        in_channels: of centres and points together.
        out_channels: the layers of the perceptron.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int]):
        super().__init__()
        self.mlp = SharedMLP(in_channels, out_channels)

    def forward(self, points: Positions, features: Tensor, centers: Positions, center_features: Tensor) -> Tensor:
        """Points [B, 3, N] with features [B, C1, N], centres [B, 3, M] with [B, C2, M], to [B, C', N]."""
        carried = ops.three_nn_interpolate(cloud_of(points).coords, cloud_of(centers).coords, center_features)
        out: Tensor = self.mlp(_join([carried, features], like=carried))
        return out


class AbstractionStage(nn.ModuleList):
    """Point layers, then a set abstraction; called like the latter."""

    def forward(self, features: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Features [B, C, N] at [B, 3, N] to [B, C', M] at [B, 3, M]."""
        *layers, abstraction = self
        cloud = cloud_of(positions)
        for layer in layers:
            features = layer(features, cloud)
        out: tuple[Tensor, Tensor] = abstraction(features, cloud)
        return out


class PropagationStage(nn.ModuleList):
    """A feature propagation, then point layers; called like the former."""

    def forward(self, points: Positions, features: Tensor, centers: Positions, center_features: Tensor) -> Tensor:
        """Points [B, 3, N] with features [B, C1, N], centres [B, 3, M] with [B, C2, M], to [B, C', N]."""
        propagation, *layers = self
        cloud = cloud_of(points)
        out: Tensor = propagation(cloud, features, centers, center_features)
        for layer in layers:
            out = layer(out, cloud)
        return out


def abstract(stages: nn.ModuleList, features: Tensor, coords: Tensor) -> list[tuple[Tensor, Cloud]]:
    """Run an encoder: features and clouds that go into every stage, and at last those that come out."""
    levels = [(features, Cloud(coords))]
    for stage in stages:
        features, centers = stage(*levels[-1])
        levels.append((features, Cloud(centers)))
    return levels


def propagate(stages: nn.ModuleList, levels: Sequence[tuple[Tensor, Cloud]]) -> Tensor:
    """Run a decoder over the ``levels`` of :func:`abstract`: features [B, C, N] of the points of the first."""
    *finer, (features, cloud) = levels
    for stage, (skip, points) in zip(stages, reversed(finer), strict=True):
        features, cloud = stage(points, skip, cloud, features), points
    return features


def _join(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """The channels of all parts in the type of one of them, the learnt features.

    Autocast would take the widest type, that of coordinates, which the next layer rounds to this one anyhow.
    """
    return torch.cat([part.to(like.dtype) for part in parts], dim=1)
