"""Clouds to measure on, that everyone can make again."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

SEAT, BACK = ((-0.5, -0.5, 0.0), (0.5, 0.5, 0.08)), ((-0.5, 0.42, 0.0), (0.5, 0.5, 1.0))
LEGS = [((x, y, -0.9), (x + 0.08, y + 0.08, 0.0)) for x in (-0.5, 0.42) for y in (-0.5, 0.42)]


def chair(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over the faces of six boxes that make a chair, [1, 3, N]."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.tensor(corner) for corner in zip(SEAT, BACK, *LEGS, strict=True))
    sizes = high - low
    faces = list(itertools.product(range(len(low)), range(3), (0, 1)))  # box, axis that the face is across, which end
    areas = torch.stack([sizes[box].prod() / sizes[box, axis] for box, axis, _ in faces])
    chosen = torch.tensor(faces)[areas.multinomial(num_points, replacement=True, generator=generator)]
    box, axis, end = chosen.unbind(1)
    inside = torch.rand(num_points, 3, generator=generator)
    inside[torch.arange(num_points), axis] = end.float()
    return (low[box] + inside * sizes[box]).T.unsqueeze(0).contiguous()


def sphere(num_points: int, seed: int = 0) -> Tensor:
    """Points spread over a sphere, [1, 3, N]: of all surfaces in a grid the largest."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(1, 3, num_points, generator=generator), dim=1)
