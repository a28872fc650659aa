"""The layer of PointNet (Qi et al. 2017, https://arxiv.org/abs/1612.00593): one perceptron shared by all points."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from zoo.layers.cloud import Positions


class SharedMLP(nn.Module):
    """1x1 convolutions, each with batch normalisation and ReLU, that treat every point alike.

    Args:
        in_channels: C.
        out_channels: the channels after every layer.
        dim: 1 for points [B, C, N], 2 for groups of points [B, C, M, U].
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int], dim: int = 1):
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dim == 1 else (nn.Conv2d, nn.BatchNorm2d)
        layers: list[nn.Module] = []
        for channels in out_channels:
            layers += [conv(in_channels, channels, 1), norm(channels), nn.ReLU(inplace=True)]
            in_channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor, positions: Positions | None = None) -> Tensor:
        """[B, C, N] to [B, out_channels[-1], N]; a PVConv in this place looks at ``positions`` too."""
        out: Tensor = self.layers(features)
        return out
