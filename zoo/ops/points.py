"""The operators on points, checked at the door: wrong shapes and dtypes are a ``ValueError`` that says what to pass.

An index or a coordinate out of range is a ``RuntimeError`` that names the operator and the value. float16 and bfloat16
are summed in float32; results have the dtype of the features. Gradients reach features, never coordinates.
"""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

from zoo.ops.backends import implementation
from zoo.ops.checks import (
    check_count,
    check_dtypes,
    check_float,
    check_index,
    check_resolution,
    check_together,
    check_whole,
)


def avg_voxelize(features: Tensor, coords: Tensor, resolution: int) -> Tensor:
    """Mean of the features of the points in every voxel (Point-Voxel CNN, equation 2); zero where there are none.

    Args:
        features: [B, C, N].
        coords: the voxel of every point, integers [B, 3, N] in [0, R-1].
        resolution: R, voxels along one side.

    Returns:
        [B, C, R, R, R], the first coordinate first.

    Raises:
        ValueError: wrong shapes or dtypes.
        RuntimeError: a coordinate is out of range.
    """
    check_float("avg_voxelize", "features", features, "[B, C, N]")
    check_index("avg_voxelize", "coords", coords, "[B, 3, N]")
    check_together("avg_voxelize", features=features, coords=coords)
    check_count("avg_voxelize", "coords", coords)
    if features.shape[2] != coords.shape[2]:
        raise ValueError(
            f"avg_voxelize: {features.shape[2]} features for {coords.shape[2]} coordinates: give one for each point"
        )
    check_resolution("avg_voxelize", resolution)
    ops = implementation(features.device)
    voxels, counts = ops.voxel_index(coords, resolution)
    return ops.avg_voxelize(features, voxels, counts).unflatten(2, (resolution, resolution, resolution))


def trilinear_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    """Values of a voxel grid at points between the voxels' centres (Point-Voxel CNN, section 3.2).

    Args:
        grid: [B, C, R, R, R].
        coords: floating [B, 3, N], in voxels, in [0, R-1]; no gradient goes here.

    Returns:
        [B, C, N]

    Raises:
        ValueError: wrong shapes or dtypes.
        RuntimeError: a coordinate is out of range or not a number.
    """
    check_float("trilinear_devoxelize", "grid", grid, "[B, C, R, R, R]")
    check_float("trilinear_devoxelize", "coords", coords, "[B, 3, N]")
    check_together("trilinear_devoxelize", grid=grid, coords=coords)
    check_count("trilinear_devoxelize", "coords", coords)
    if len(set(grid.shape[2:])) > 1:
        raise ValueError(f"trilinear_devoxelize: grid must be a cube [B, C, R, R, R], not {list(grid.shape)}")
    check_resolution("trilinear_devoxelize", grid.shape[2])
    out: Tensor = implementation(grid.device).trilinear_devoxelize(grid, coords)
    return out


def furthest_point_sample(points: Tensor, num_samples: int) -> Tensor:
    """Choose points far apart: point 0, then again and again the point furthest from all chosen ones.

    The lowest index wins a tie; where more samples than points are asked for, they repeat (PointNet++, section 3.2).

    Args:
        points: [B, 3, N].
        num_samples: M.

    Returns:
        indices, int64 [B, M].

    Raises:
        ValueError: wrong shape or dtype, or no points to choose from.
    """
    check_float("furthest_point_sample", "points", points, "[B, 3, N]")
    check_count("furthest_point_sample", "points", points)
    check_whole("furthest_point_sample", "num_samples", num_samples, 0)
    if num_samples > 0 and points.shape[2] == 0:
        raise ValueError("furthest_point_sample: there are no points to choose from: give at least one")
    out: Tensor = implementation(points.device).furthest_point_sample(points, num_samples)
    return out


def ball_query(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> Tensor:
    """The first U points, in index order, that lie nearer to a centre than ``radius`` (PointNet++, section 3.2).

    Where there are fewer, the first is repeated; where there are none, all are zero.

    Args:
        centers: [B, 3, M].
        points: [B, 3, N].
        radius: in the unit of the points; squared in their precision, and a point at exactly this distance is outside.
        num_neighbors: U.

    Returns:
        indices of points, int64 [B, M, U].

    Raises:
        ValueError: wrong shapes or dtypes, or no points to choose from.
    """
    check_float("ball_query", "centers", centers, "[B, 3, M]")
    check_float("ball_query", "points", points, "[B, 3, N]")
    check_together("ball_query", centers=centers, points=points)
    check_dtypes("ball_query", centers=centers, points=points)
    check_count("ball_query", "points", points)
    check_whole("ball_query", "num_neighbors", num_neighbors, 1)
    if not isinstance(radius, Real | torch.SymFloat) or not radius >= 0:
        raise ValueError(f"ball_query: radius must be a number of at least 0, not {radius!r}")
    if points.shape[2] == 0 and centers.shape[2] > 0:
        raise ValueError("ball_query: there are no points to choose from: give at least one")
    out: Tensor = implementation(centers.device).ball_query(centers, points, radius, num_neighbors)
    return out


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Features of chosen points.

    Args:
        features: [B, C, N].
        indices: integers [B, M] in [0, N-1].

    Returns:
        [B, C, M]

    Raises:
        ValueError: wrong shapes or dtypes.
        RuntimeError: an index is out of range.
    """
    check_float("gather_points", "features", features, "[B, C, N]")
    check_index("gather_points", "indices", indices, "[B, M]")
    check_together("gather_points", features=features, indices=indices)
    _check_not_empty("gather_points", features, indices)
    out: Tensor = implementation(features.device).gather_points(features, indices)
    return out


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """Features of the neighbours of every centre.

    Args:
        features: [B, C, N].
        indices: integers [B, M, U] in [0, N-1], as :func:`ball_query` gives them.

    Returns:
        [B, C, M, U]

    Raises:
        ValueError: wrong shapes or dtypes.
        RuntimeError: an index is out of range.
    """
    check_float("group_points", "features", features, "[B, C, N]")
    check_index("group_points", "indices", indices, "[B, M, U]")
    check_together("group_points", features=features, indices=indices)
    _check_not_empty("group_points", features, indices)
    out: Tensor = implementation(features.device).group_points(features, indices)
    return out


def three_nn_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    """Carry features from centres to points: the three nearest, weighted by 1 / d^2 (PointNet++, equation 2).

    d^2 is clamped to [1e-10, 1e10], and the lowest index wins a tie. With fewer than three centres, the missing ones
    count as centre 0 at d^2 = 1e10.

    Args:
        points: [B, 3, N]; no gradient goes here.
        centers: [B, 3, M]; no gradient goes here.
        features: of the centres, [B, C, M].

    Returns:
        [B, C, N]

    Raises:
        ValueError: wrong shapes or dtypes, or no centre.
    """
    check_float("three_nn_interpolate", "points", points, "[B, 3, N]")
    check_float("three_nn_interpolate", "centers", centers, "[B, 3, M]")
    check_float("three_nn_interpolate", "features", features, "[B, C, M]")
    check_together("three_nn_interpolate", points=points, centers=centers, features=features)
    check_dtypes("three_nn_interpolate", points=points, centers=centers)
    check_count("three_nn_interpolate", "centers", centers)
    if centers.shape[2] != features.shape[2]:
        raise ValueError(
            f"three_nn_interpolate: {features.shape[2]} features for {centers.shape[2]} centers: give one each"
        )
    if centers.shape[2] == 0:
        raise ValueError("three_nn_interpolate: there are no centers: give at least one")
    out: Tensor = implementation(points.device).three_nn_interpolate(points, centers, features)
    return out


def _check_not_empty(operator: str, features: Tensor, indices: Tensor) -> None:
    if features.shape[2] == 0 and indices.numel() > 0:
        raise ValueError(f"{operator}: there are no points to choose from: give at least one")
