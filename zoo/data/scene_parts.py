"""Parts of a scene: pieces of as many points as a network sees at once, which together hold every point.

Random points of a room show a network all of it, coarsely. A wide scene is cut on the map instead: there a random part
would leave a network no neighbours to look at.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from zoo.errors import InputError

Parts = Literal["random", "tiles", "blocks"]

BLOCK_SIZE = 1.5  # metres
MAX_POINTS = 8192  # of a block
SMALL_SHARE = 0.1  # of that; a block with fewer joins a neighbour
GRID_SIZE = 0.03  # metres; of the cells in which a block is evened out
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0), (-1, 1), (1, 1), (1, -1), (-1, -1))
"""Where a small block looks for a large one, in the authors' order."""


def scene_parts(points: np.ndarray, parts: Parts, num_points: int) -> list[np.ndarray]:
    """Divide a scene, always in the same way; where parts overlap, average the scores.

    Args:
        points: [N, C], xyz first, z up.
        parts: "random" for points of all the scene, "tiles" for the neighbours of a place, "blocks" for squares of
            1.5 m on two grids half a block apart, as PointCNN and PVCNN cut rooms.
        num_points: M, of a part.

    Returns:
        Index arrays int64 [M]; every point is in one of them at least.

    Raises:
        InputError: there are no points, or parts of none are asked for.
    """
    if not len(points) or num_points < 1:
        raise InputError(f"{len(points)} points cannot be divided into parts of {num_points}: give one of each")
    if parts == "tiles":
        return cover_with_tiles(points, num_points)
    rng = np.random.default_rng(0)
    if parts == "random":
        return split_for_inference(len(points), num_points, rng)
    blocks = cut_blocks(points[:, :3] - points[:, :3].min(axis=0), BLOCK_SIZE, MAX_POINTS, rng)
    return [rows[part] for rows in blocks for part in split_for_inference(len(rows), num_points, rng)]


def split_for_inference(num_points: int, chunk: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide all points at random into chunks of one size, so that a network labels each of them.

    Args:
        num_points: N.
        chunk: points a chunk, what the network was trained on.
        rng: the randomness; the same generator state gives the same chunks.

    Returns:
        ceil(N / chunk) index arrays, int64 [chunk]. Every point is in one of them; the last is topped up by points of
        the others, and when there are fewer points than ``chunk``, all are repeated about equally often.

    Raises:
        ValueError: no points, or a chunk of none.
    """
    if num_points < 1 or chunk < 1:
        raise ValueError(f"cannot divide {num_points} points into chunks of {chunk}: give at least one of each")
    order = rng.permutation(num_points)
    if num_points <= chunk:
        return [np.resize(order, chunk)]
    missing = -num_points % chunk
    others = order[: num_points - num_points % chunk]
    order = np.concatenate([order, rng.choice(others, missing, replace=False)])
    return list(order.reshape(-1, chunk))


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


def cut_blocks(xyz: np.ndarray, block_size: float, max_points: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut a room into blocks on two grids, the second half a block further along x and y, as PointCNN and PVCNN do.

    A block with less than a tenth of ``max_points`` joins a neighbour with more, if it has one. In every block the
    cells of 3 cm that have fewer points than the mean are filled up to it by repeated points. A block with more than
    ``max_points`` is divided at random. Unlike the authors' cutting no point is lost where a cell is filled up.

    Args:
        xyz: [N, 3], at least 0.
        block_size: side of a block, in metres.
        max_points: in a block.
        rng: chooses the repeated points, and divides.

    Returns:
        Rows int64 of every block's points; each point is in one block of each grid, there once or more.
    """
    blocks = []
    for shift in (0.0, block_size / 2):
        places, owner, counts = np.unique(
            np.floor((xyz[:, :2] + shift) / block_size), axis=0, return_inverse=True, return_counts=True
        )
        owner = _joined(places, counts, max_points * SMALL_SHARE)[owner.reshape(-1)]
        for block in np.unique(owner):
            rows = np.flatnonzero(owner == block)
            rows = rng.permutation(rows[_evened_out(xyz[rows], rng)])
            blocks += np.array_split(rows, -(-len(rows) // max_points))
    return blocks


def _joined(places: np.ndarray, counts: np.ndarray, least: float) -> np.ndarray:
    """To which block each of those at ``places`` [B, 2] goes, int64 [B]: itself, or a neighbour of ``least`` points."""
    large = {(x, y): block for block, (x, y) in enumerate(places.tolist()) if counts[block] >= least}
    target = np.arange(len(places))
    for block in np.flatnonzero(counts < least):
        x, y = places[block]
        target[block] = next((large[x + i, y + j] for i, j in NEIGHBOURS if (x + i, y + j) in large), block)
    return target


def _evened_out(xyz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a block [N, 3]: all, and more of the cells that have fewer than the mean, each in turn."""
    cells = np.floor((xyz - xyz.min(axis=0)) / GRID_SIZE)
    _, owner, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    order = rng.permutation(len(xyz))
    order = order[np.argsort(owner.reshape(-1)[order], kind="stable")]  # cell by cell
    missing = np.maximum(int(counts.mean()) - counts, 0)
    turn = np.arange(missing.sum()) - np.repeat(np.cumsum(missing) - missing, missing)
    begin, count = (np.repeat(each, missing) for each in (np.cumsum(counts) - counts, counts))
    return np.concatenate([np.arange(len(xyz)), order[begin + turn % count]])
