"""From points to voxels: where a point lies in the grid, and what a voxel holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo import ops


def voxel_coords(coords: Tensor, resolution: int, normalize: bool = True) -> Tensor:
    """Coordinates of points in voxels: the cloud's mean lies in the middle of the grid (Point-Voxel CNN, section 3.2).

    Args:
        coords: [B, 3, N], in any unit if ``normalize``, otherwise in [-1, 1] about their mean.
        resolution: R, voxels along one side.
        normalize: scale every cloud so that its furthest point lies on the sphere that fits the grid.

    Returns:
        [B, 3, N] in [0, R-1], at least float32; a cloud whose points are all identical lies in the middle.
    """
    coords = coords.detach()
    if coords.dtype in (torch.float16, torch.bfloat16):
        coords = coords.float()
    centered = coords - coords.mean(dim=2, keepdim=True)
    # The mean of identical points is off by a rounding, which must not be scaled up.
    identical = (coords == coords[:, :, :1]).all(dim=2, keepdim=True).all(dim=1, keepdim=True)
    if normalize:
        diameter = centered.norm(dim=1, keepdim=True).amax(dim=2, keepdim=True) * 2
        unit = torch.where(diameter == 0, 0, centered / diameter) + 0.5
    else:
        unit = (centered + 1) / 2
    return (torch.where(identical, 0.5, unit) * resolution).clamp(0, resolution - 1)


class Voxelization(nn.Module):
    """Average the features of points in a grid around their mean.

    Args:
        resolution: R.
        normalize: see :func:`voxel_coords`.
    """

    def __init__(self, resolution: int, normalize: bool = True):
        super().__init__()
        self.resolution = resolution
        self.normalize = normalize

    def forward(self, features: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, C, N] at ``coords`` [B, 3, N] to a grid [B, C, R, R, R] and coordinates in voxels [B, 3, N]."""
        coords = voxel_coords(coords, self.resolution, self.normalize)
        nearest = coords.round().to(torch.int32)  # half to even
        return ops.avg_voxelize(features, nearest, self.resolution), coords

    def extra_repr(self) -> str:
        """The arguments."""
        return f"resolution={self.resolution}, normalize={self.normalize}"
