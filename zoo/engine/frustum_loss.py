"""The losses of frustum networks (Qi et al. 2018, section 4.3 and appendix, https://arxiv.org/abs/1711.08488).

Weights and the ends of the quadratic part of each Huber loss are those with which PVCNN's authors trained
(Liu et al. 2019), who hold corners against those of the box and of the box turned round one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.kitti import NUM_HEADING_BINS, SIZE_TEMPLATES
from zoo.engine.boxes import boxes_of, target_boxes

BOX_WEIGHT = 1.0  # of all but the mask
HEADING_RESIDUAL_WEIGHT = 20.0
SIZE_RESIDUAL_WEIGHT = 20.0
CORNER_WEIGHT = 10.0
CENTER_DELTA = 2.0  # metres
DELTA = 1.0  # metres for the first centre and corners; half bins for headings, the template's size for sizes


def frustum_loss(outputs: dict[str, Tensor], target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The loss of B frustums, summed, and their number.

    Args:
        outputs: of a frustum network, in float32.
        target: as ``KittiFrustums`` gives it, with a first dimension B.
    """
    losses = torch.stack([weight * part for weight, part in loss_parts(outputs, target).values()])  # [8, B]
    return losses.sum(), torch.tensor(losses.shape[1], dtype=torch.float64, device=losses.device)


def loss_parts(outputs: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, tuple[float, Tensor]]:
    """The parts of the loss: the weight of each, and its value [B] for every frustum."""
    bins, templates = target["heading_bin_id"], target["size_template_id"]
    rows = torch.arange(len(bins), device=bins.device)
    center = target["center"]
    half_bin = math.pi / NUM_HEADING_BINS
    heading_error = outputs["heading_residuals_normalized"][rows, bins] - target["heading_residual"] / half_bin
    sizes = center.new_tensor(SIZE_TEMPLATES)[templates]
    size_error = outputs["size_residuals_normalized"][rows, templates] - target["size_residual"] / sizes

    corners = boxes_of(outputs, bins, templates).corners()
    box = target_boxes(target)
    corner_error = torch.minimum(
        _length(corners - box.corners()), _length(corners - box.turned_round().corners())
    )  # [B, 8]
    return {
        "mask": (1.0, _cross_entropy_of_points(outputs["mask_logits"], target["mask_logits"]).mean(1)),
        "center": (BOX_WEIGHT, _huber(_length(outputs["center"] - center), CENTER_DELTA)),
        "first_center": (BOX_WEIGHT, _huber(_length(outputs["center_reg"] - center))),
        "heading_bin": (BOX_WEIGHT, F.cross_entropy(outputs["heading_scores"], bins, reduction="none")),
        "heading_residual": (BOX_WEIGHT * HEADING_RESIDUAL_WEIGHT, _huber(heading_error)),
        "size_template": (BOX_WEIGHT, F.cross_entropy(outputs["size_scores"], templates, reduction="none")),
        "size_residual": (BOX_WEIGHT * SIZE_RESIDUAL_WEIGHT, _huber(_length(size_error))),
        "corners": (BOX_WEIGHT * CORNER_WEIGHT, _huber(corner_error).mean(1)),
    }


def _cross_entropy_of_points(logits: Tensor, target: Tensor) -> Tensor:
    """[B, N] of logits [B, K, N]; a GPU's cross entropy has no deterministic form for three dimensions."""
    flat = logits.transpose(1, 2).flatten(0, 1)
    return F.cross_entropy(flat, target.flatten(), reduction="none").view_as(target)


def _length(vectors: Tensor) -> Tensor:
    """Of vectors [..., 3]; its gradient at zero is zero."""
    return torch.linalg.vector_norm(vectors, dim=-1)


def _huber(error: Tensor, delta: float = DELTA) -> Tensor:
    return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
