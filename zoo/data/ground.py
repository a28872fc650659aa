"""Height above the local ground: what tells roofs and trees from terrain, on a slope as on a plain.

The lowest points of an airborne scan, drawn on a raster, are opened morphologically: an opening of width w cuts off all
that is narrower than w and leaves an inclined plane as it is, so that the height above it does not know the slope
(the idea of Zhang et al. 2003, "A progressive morphological filter for removing nonground measurements", IEEE TGRS 41).
What is wide enough for a house also cuts hilltops; therefore a network gets the heights above several openings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import InputError

WINDOWS = (5.0, 11.0, 21.0, 41.0, 81.0)
"""Widths of the openings, in metres: a shrub or a car, a tree, a house, a block, a hall."""

MAX_RASTER = 2048  # cells along a side; a larger scene gets larger cells
FALSE_DEPTH = 2.0  # metres; a lone cell so far below all its neighbours is an echo that came late, not the ground


def height_above_ground(
    points: np.ndarray, windows: Sequence[float] = WINDOWS, cell: float = 1.0, squash: bool = True
) -> np.ndarray:
    """Heights of every point above the ground, as openings of several widths see it.

    It needs nothing but coordinates, so that it serves any cloud whose z points up, at prediction as in training. Give
    it a whole scene rather than a tile: what stands at the edge of a tile has no ground beside it.

    Args:
        points: float [N, C], x, y and z in metres first.
        windows: widths of the openings, in metres.
        cell: side of a cell of the raster, in metres; grows where the scene has more than 2048 cells along a side.
        squash: give arcsinh of the heights, which is the height itself below a metre and its logarithm far above;
            otherwise metres.

    Returns:
        float32 [N, len(windows)], below zero for points under the ground.

    Raises:
        InputError: the points have another shape, there are none, or a coordinate is not finite.
    """
    values = np.asarray(points)
    if values.ndim != 2 or values.shape[1] < 3 or not len(values) or not np.isfinite(values[:, :3]).all():
        raise InputError(f"heights need finite points [N, 3 or more], not {list(values.shape)}: drop the others first")
    xyz = values[:, :3].astype(np.float64)
    base = xyz.min(axis=0)
    xyz = xyz - base
    cell = max(cell, float(xyz[:, :2].max()) / (MAX_RASTER - 1))
    lowest = _lowest(xyz, cell)
    surface = _fill(lowest)
    closed = _erode(_dilate(surface, 3), 3)
    surface = _fill(torch.where(closed - surface > FALSE_DEPTH, torch.inf, lowest))
    heights = []
    for window in windows:
        width = 2 * round(window / cell / 2 - 0.5) + 1  # the nearest odd number of cells
        ground = _dilate(_erode(surface, width), width)
        heights.append(xyz[:, 2] - _interpolate(ground, xyz[:, :2] / cell))
    result = np.stack(heights, axis=1)
    return (np.arcsinh(result) if squash else result).astype(np.float32)


def _lowest(xyz: np.ndarray, cell: float) -> Tensor:
    """The lowest z in every cell, [Y, X]; infinite where there is no point."""
    columns, rows = (xyz[:, :2] / cell).astype(np.int64).T
    height, width = rows.max() + 1, columns.max() + 1
    lowest = np.full(height * width, np.inf, np.float32)
    np.minimum.at(lowest, rows * width + columns, xyz[:, 2].astype(np.float32))
    return torch.from_numpy(lowest.reshape(height, width))


def _fill(surface: Tensor) -> Tensor:
    """Give the cells [Y, X] that are infinite what the same raster in twice as coarse cells says (pull and push)."""
    known = torch.isfinite(surface)
    if known.all():
        return surface
    height, width = surface.shape
    planes = torch.stack([torch.where(known, surface, 0), known.float()])
    values, weights = F.avg_pool2d(F.pad(planes, (0, width % 2, 0, height % 2)), 2)
    coarse = _fill(torch.where(weights > 0, values / weights, torch.inf))
    size = [height + height % 2, width + width % 2]
    return torch.where(known, surface, F.interpolate(coarse[None, None], size, mode="bilinear")[0, 0, :height, :width])


def _dilate(surface: Tensor, width: int) -> Tensor:
    """The highest [Y, X] within a square of ``width`` cells, an odd number; there is nothing beyond the edge."""
    rows = F.max_pool2d(surface[None, None], (width, 1), stride=1, padding=(width // 2, 0))
    return F.max_pool2d(rows, (1, width), stride=1, padding=(0, width // 2))[0, 0]


def _erode(surface: Tensor, width: int) -> Tensor:
    return -_dilate(-surface, width)


def _interpolate(surface: Tensor, places: np.ndarray) -> np.ndarray:
    """The surface [Y, X] at places [N, 2] (x, y in cells from the corner), bilinear between the middles of cells."""
    size = torch.tensor([surface.shape[1], surface.shape[0]])
    grid = (torch.from_numpy(places) / size * 2 - 1).to(surface)[None, None]
    sampled = F.grid_sample(surface[None, None], grid, padding_mode="border", align_corners=False)
    return np.asarray(sampled[0, 0, 0].numpy())
