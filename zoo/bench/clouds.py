"""Clouds to measure on, that everyone can make again: surfaces, as scanners see them, and points everywhere."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Box = tuple[tuple[float, float, float], tuple[float, float, float]]  # two corners, metres
CHAIR: Sequence[Box] = (
    ((-0.5, -0.5, 0.0), (0.5, 0.5, 0.08)),  # the seat
    ((-0.5, 0.42, 0.0), (0.5, 0.5, 1.0)),  # the back
    *(((x, y, -0.9), (x + 0.08, y + 0.08, 0.0)) for x in (-0.5, 0.42) for y in (-0.5, 0.42)),  # legs
)
# A column of 1.5 m x 1.5 m, as scenes are cut into (Point-Voxel CNN, section 4.2), with a table by the wall.
ROOM: Sequence[Box] = (
    ((0.0, 0.0, 0.0), (1.5, 1.5, 0.0)),
    ((0.0, 0.0, 3.0), (1.5, 1.5, 3.0)),
    ((0.0, 1.5, 0.0), (1.5, 1.5, 3.0)),
    ((0.2, 0.7, 0.7), (1.5, 1.5, 0.75)),
)


def chair(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over the faces of six boxes that make a chair, [1, 3, N]."""
    return on_boxes(CHAIR, num_points, seed)


def room(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over floor, ceiling, a wall and a table, [1, 3, N]."""
    return on_boxes(ROOM, num_points, seed)


def sphere(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over a sphere, [1, 3, N]: a surface that few grids of its size have more of."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(1, 3, num_points, generator=generator), dim=1)


def everywhere(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over the whole cube [-1, 1]^3, [1, 3, N]."""
    return torch.rand(1, 3, num_points, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def on_boxes(boxes: Sequence[Box], num_points: int, seed: int) -> Tensor:
    """Points spread evenly over the faces of boxes, [1, 3, N]; a box may be flat."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.tensor(corner) for corner in zip(*boxes, strict=True))
    faces = torch.tensor(list(itertools.product(range(len(boxes)), range(3), (0, 1))))  # box, axis across, which end
    sizes = high - low
    sides = [sizes[:, [axis for axis in range(3) if axis != across]] for across in range(3)]
    areas = torch.stack([side.prod(dim=1) for side in sides], dim=1)
    box, axis, end = faces[areas[faces[:, 0], faces[:, 1]].multinomial(num_points, True, generator=generator)].unbind(1)
    inside = torch.rand(num_points, 3, generator=generator)
    inside[torch.arange(num_points), axis] = end.float()
    return (low[box] + inside * sizes[box]).T.unsqueeze(0).contiguous()
