"""The voxel plan: where the points of a cloud lie in a grid, worked out once for all layers that share it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from zoo.ops.backends import implementation
from zoo.ops.checks import check_count, check_float, check_resolution, check_together
from zoo.ops.points import trilinear_devoxelize


@dataclass(frozen=True, eq=False)
class VoxelPlan:
    """Where points lie in a grid about their mean; made by :func:`voxel_plan`.

    Attributes:
        resolution: R, voxels along one side.
        coords: in voxels, floating [B, 3, N] in [0, R-1].
        voxels: the nearest voxel of every point as one number, x major, int32 [B, N].
        counts: points in every voxel, int32 [B, R^3].
        order: the points sorted by voxel, int64 [B, N]; only where it was asked for.
    """

    resolution: int
    coords: Tensor
    voxels: Tensor
    counts: Tensor
    order: Tensor | None = None

    def voxelize(self, features: Tensor) -> Tensor:
        """Mean of the features [B, C, N] of the points in every voxel, [B, C, R, R, R].

        Raises:
            ValueError: the features are not floating or not those of the points.
        """
        check_float("VoxelPlan.voxelize", "features", features, "[B, C, N]")
        check_together("VoxelPlan.voxelize", features=features, voxels=self.voxels, counts=self.counts)
        if features.shape[2] != self.voxels.shape[1]:
            raise ValueError(f"VoxelPlan.voxelize: {features.shape[2]} features for {self.voxels.shape[1]} points")
        grid: Tensor = implementation(features.device).avg_voxelize(features, self.voxels, self.counts, self.order)
        return grid.unflatten(2, (self.resolution, self.resolution, self.resolution))

    def devoxelize(self, grid: Tensor) -> Tensor:
        """Values of a grid [B, C, R, R, R] at the points, [B, C, N].

        Raises:
            ValueError: the grid is not floating, or has another resolution.
        """
        check_float("VoxelPlan.devoxelize", "grid", grid, "[B, C, R, R, R]")
        if grid.shape[-1] != self.resolution:
            raise ValueError(f"VoxelPlan.devoxelize: a grid of side {grid.shape[-1]} for a plan of {self.resolution}")
        return trilinear_devoxelize(grid, self.coords)


def voxel_plan(coords: Tensor, resolution: int, normalize: bool = True, with_order: bool = False) -> VoxelPlan:
    """Where points lie in a grid whose middle is the cloud's mean (Point-Voxel CNN, section 3.2).

    A cloud whose points are all identical lies in the middle.

    Args:
        coords: [B, 3, N], in any unit if ``normalize``, otherwise in [-1, 1] about their mean; no gradient goes here.
        resolution: R, voxels along one side.
        normalize: scale every cloud so that its furthest point lies on the sphere that fits the grid.
        with_order: sort the points by voxel too, which repeatable sums on a GPU
            (``torch.use_deterministic_algorithms(True)``) need, and otherwise do for every layer anew.

    Raises:
        ValueError: wrong shape or dtype.
        RuntimeError: a coordinate is infinite or not a number, or so large that the cloud has no extent.
    """
    check_float("voxel_plan", "coords", coords, "[B, 3, N]")
    check_count("voxel_plan", "coords", coords)
    check_resolution("voxel_plan", resolution)
    at, voxels, counts = implementation(coords.device).voxel_plan(coords, resolution, normalize)
    order = voxels.argsort(dim=1, stable=True) if with_order else None
    return VoxelPlan(resolution, at, voxels, counts, order)
