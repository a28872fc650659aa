"""Point-voxel convolution (Liu et al. 2019, https://arxiv.org/abs/1907.03739, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.layers.cloud import Positions, cloud_of
from zoo.layers.shared_mlp import SharedMLP


class SqueezeExcitation3d(nn.Module):
    """Scale every channel of a grid by what its mean says (Hu et al. 2018), an eighth of the channels in between."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 8)
        self.fc = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """[B, C, R, R, R] to the same shape."""
        return grid * self.scale(grid.mean(dim=(2, 3, 4)))[:, :, None, None, None]

    def scale(self, mean: Tensor) -> Tensor:
        """Of every channel, [B, C], by its mean over the grid [B, C]."""
        scale: Tensor = self.fc(mean)
        return scale


class PVConv(nn.Module):
    """The sum of two branches: 3D convolutions on a coarse voxel grid, and a perceptron on the points themselves.

    Args:
        in_channels: C.
        out_channels: C'.
        resolution: R, voxels along one side.
        with_se: end the voxel branch with squeeze-and-excitation.
        normalize: scale every cloud to the grid, see :func:`zoo.ops.voxel_plan`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resolution: int,
        with_se: bool = False,
        normalize: bool = True,
    ):
        super().__init__()
        self.resolution = resolution
        self.normalize = normalize
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv3d(channels, out_channels, kernel_size=3, padding=1),
                nn.BatchNorm3d(out_channels, eps=1e-4),
                nn.LeakyReLU(0.1, inplace=True),
            ]
        if with_se:
            layers.append(SqueezeExcitation3d(out_channels))
        self.voxel_layers = nn.Sequential(*layers)
        self.point_features = SharedMLP(in_channels, [out_channels])

    def forward(self, features: Tensor, positions: Positions) -> Tensor:
        """Features [B, C, N] at ``positions``, [B, 3, N] or a cloud that other layers share, to [B, C', N]."""
        plan = cloud_of(positions).plan(self.resolution, self.normalize)
        coarse = plan.devoxelize(self.voxel_layers(plan.voxelize(features)))
        fine: Tensor = self.point_features(features)
        return coarse + fine

    def extra_repr(self) -> str:
        """The arguments."""
        return f"resolution={self.resolution}, normalize={self.normalize}"
