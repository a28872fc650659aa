"""Tiles of a wide scene: pieces that are compact on the map, each with as many points as a network sees at once.

A random part of a scene would be as wide as the scene and leave a network no neighbours to look at.
"""

from __future__ import annotations

import numpy as np

from zoo.errors import InputError


def tile_around(points: np.ndarray, center: np.ndarray, num_points: int) -> np.ndarray:
    """The ``num_points`` points that are nearest to ``center`` on the map.

    Args:
        points: [N, C], x and y first.
        center: x and y, [2].
        num_points: M; all points are repeated about equally often where there are fewer.

    Returns:
        Indices int64 [M].
    """
    if len(points) <= num_points:
        return np.resize(np.arange(len(points)), num_points)
    distance = ((points[:, :2] - center) ** 2).sum(axis=1)
    return np.argpartition(distance, num_points - 1)[:num_points]


def cover_with_tiles(points: np.ndarray, num_points: int) -> list[np.ndarray]:
    """Tiles that together hold every point at least once, always the same; where they overlap, average the scores.

    Args:
        points: [N, C], x and y first.
        num_points: M, points a tile.

    Returns:
        Index arrays int64 [M], each about a point that no tile before it holds.

    Raises:
        InputError: there are no points, or tiles of none are asked for.
    """
    if not len(points) or num_points < 1:
        raise InputError(f"{len(points)} points cannot be covered by tiles of {num_points}: give at least one of each")
    covered = np.zeros(len(points), dtype=bool)
    tiles = []
    while not covered.all():
        tile = tile_around(points, points[covered.argmin(), :2], num_points)
        covered[tile] = True
        tiles.append(tile)
    return tiles
