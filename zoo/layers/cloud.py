"""Where the points of a batch lie, with the voxel plans that the layers share."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo import ops


class Cloud:
    """Coordinates on their way through a network: every grid that its layers ask for is worked out once.

    Args:
        coords: [B, 3, N].
    """

    def __init__(self, coords: Tensor):
        self.coords = coords
        self._plans: dict[tuple[int, bool], ops.VoxelPlan] = {}

    def plan(self, resolution: int, normalize: bool) -> ops.VoxelPlan:
        """Where the points lie in a grid, see :func:`zoo.ops.voxel_plan`."""
        grid = (resolution, normalize)
        if grid not in self._plans:
            with_order = self.coords.is_cuda and torch.are_deterministic_algorithms_enabled()
            self._plans[grid] = ops.voxel_plan(self.coords, resolution, normalize, with_order)
        return self._plans[grid]


Positions = Tensor | Cloud


def cloud_of(positions: Positions) -> Cloud:
    """The cloud, made from bare coordinates [B, 3, N] where there is none yet."""
    return positions if isinstance(positions, Cloud) else Cloud(positions)
