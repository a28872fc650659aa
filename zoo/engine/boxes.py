"""Boxes as frustum networks give them and as their targets say them: in parts, put together here.

Headings are chosen among bins and sizes among templates, each with a residual (Qi et al. 2018, section 4.3,
https://arxiv.org/abs/1711.08488). Coordinates are the camera's: x right, y down, z forward, in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.kitti import NUM_HEADING_BINS, SIZE_TEMPLATES

BIN_WIDTH = 2 * math.pi / NUM_HEADING_BINS


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes that stand upright.

    Attributes:
        center: [B, 3].
        size: [B, 3], length, width and height.
        heading: [B], of the length, about y from x towards -z, in radians.
    """

    center: Tensor
    size: Tensor
    heading: Tensor

    def corners(self) -> Tensor:
        """The corners, [B, 8, 3], in the same order for all boxes."""
        signs = torch.cartesian_prod(*[self.size.new_tensor([0.5, -0.5])] * 3)  # [8, 3]
        along, across, up = (signs * self.size.unsqueeze(1)).unbind(2)  # [B, 8] each
        cos, sin = self.heading.cos().unsqueeze(1), self.heading.sin().unsqueeze(1)
        offsets = torch.stack([along * cos + across * sin, up, across * cos - along * sin], dim=2)
        return self.center.unsqueeze(1) + offsets

    def turned_round(self) -> Boxes:
        """The same boxes with front and back exchanged."""
        return Boxes(self.center, self.size, self.heading + math.pi)

    def on_ground(self) -> Tensor:
        """float64 [B, 7] on the CPU, as ``box_iou`` takes them: x, z, length, width, angle, ends of the height."""
        center, size, heading = (value.detach().double().cpu() for value in (self.center, self.size, self.heading))
        half = size[:, 2].clamp(min=0) / 2
        sides = size[:, :2].clamp(min=0)
        ends = torch.stack([center[:, 1] - half, center[:, 1] + half], dim=1)
        return torch.cat([center[:, [0, 2]], sides, -heading.unsqueeze(1), ends], dim=1)


def target_boxes(target: dict[str, Tensor]) -> Boxes:
    """The boxes that ``KittiFrustums`` gives as targets."""
    templates = target["size_residual"].new_tensor(SIZE_TEMPLATES)
    return Boxes(
        target["center"],
        templates[target["size_template_id"]] + target["size_residual"],
        target["heading_bin_id"] * BIN_WIDTH + target["heading_residual"],
    )


def boxes_of(outputs: dict[str, Tensor], bins: Tensor | None = None, templates: Tensor | None = None) -> Boxes:
    """The boxes that a frustum network gives.

    Args:
        outputs: of the network.
        bins: int64 [B], of the headings; by default those with the highest scores.
        templates: int64 [B], of the sizes; by default those with the highest scores.
    """
    bins = outputs["heading_scores"].argmax(1) if bins is None else bins
    templates = outputs["size_scores"].argmax(1) if templates is None else templates
    sizes = outputs["size_residuals"]
    rows = torch.arange(len(sizes), device=sizes.device)
    return Boxes(
        outputs["center"],
        sizes.new_tensor(SIZE_TEMPLATES)[templates] + sizes[rows, templates],
        bins * BIN_WIDTH + outputs["heading_residuals"][rows, bins],
    )
