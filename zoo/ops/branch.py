"""The voxel branch of a point-voxel convolution at inference: two convolutions, and what they make of an empty grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops.checks import check_devices, check_dtypes, check_float, check_resolution

TILE = 16  # output channels whose weights the kernels take together
SHAPES = "[C1, C, 3, 3, 3]", "[C1]", "[C2, C1, 3, 3, 3]", "[C2]"  # of the weights and biases


@dataclass(frozen=True, eq=False)
class VoxelBranch:
    """Two 3x3x3 convolutions with batch norm folded in, each followed by a leaky ReLU; made by :func:`voxel_branch`.

    Attributes:
        resolution: R of the grid that they run on.
        weights: [C1, C, 3, 3, 3] and [C2, C1, 3, 3, 3].
        bias: [C1], of the first; what it makes of an empty grid, everywhere, before its activation.
        empty: [S, S, S, C2] with S = min(R, 3), what both make of an empty grid, before the last activation.
        slopes: of the two leaky ReLUs below zero.
        packed: the weights as the compiled operator takes them, see :func:`pack`.
    """

    resolution: int
    weights: tuple[Tensor, Tensor]
    bias: Tensor
    empty: Tensor
    slopes: tuple[float, float]
    packed: tuple[Tensor, Tensor]

    @property
    def dtype(self) -> torch.dtype:
        """Of the features."""
        return self.weights[0].dtype

    @property
    def channels(self) -> tuple[int, int, int]:
        """Of the features, between the convolutions, and of the result: C, C1, C2."""
        return self.weights[0].shape[1], self.weights[0].shape[0], self.weights[1].shape[0]


@torch.no_grad()
def voxel_branch(
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    resolution: int,
    slopes: tuple[float, float] = (0.1, 0.1),
) -> VoxelBranch:
    """Prepare two convolutions for :func:`zoo.ops.sparse_voxel_branch`: their empty response, and packed weights.

    In an empty grid the first convolution gives its bias everywhere. The second sees that constant, activated, and
    zeros beyond the border: what it gives depends only on which borders are one step away. A cube of side min(R, 3) has
    a voxel for every case, so the response of the whole grid is known from a dense convolution of that small cube.

    Args:
        weight1: [C1, C, 3, 3, 3].
        bias1: [C1].
        weight2: [C2, C1, 3, 3, 3].
        bias2: [C2].
        resolution: R of the grid.
        slopes: of the leaky ReLUs after the first and the second.

    Raises:
        ValueError: the shapes or dtypes do not fit together, or the slopes are not two numbers.
    """
    check_resolution("voxel_branch", resolution)
    tensors = {"weight1": weight1, "bias1": bias1, "weight2": weight2, "bias2": bias2}
    for (name, x), shape in zip(tensors.items(), SHAPES, strict=True):
        check_float("voxel_branch", name, x, shape)
    check_dtypes("voxel_branch", **tensors)
    check_devices("voxel_branch", **tensors)
    middle, last = (bias.shape[0] for bias in (bias1, bias2))
    channels = (*weight1.shape[:2], *weight2.shape[:2])
    if 0 in channels or channels[0] != middle or channels[2:] != (last, middle):
        shapes = ", ".join(str(list(x.shape)) for x in tensors.values())
        raise ValueError(f"voxel_branch: weights and biases must be {', '.join(SHAPES)}, not {shapes}")
    if not isinstance(slopes, tuple | list) or len(slopes) != 2 or not all(map(_is_finite, slopes)):
        raise ValueError(f"voxel_branch: slopes must be two numbers, one for each leaky ReLU, not {slopes}")
    wide = torch.promote_types(weight1.dtype, torch.float32)
    side = min(resolution, 3)
    constant = F.leaky_relu(bias1.to(wide), slopes[0]).view(1, -1, 1, 1, 1).expand(1, -1, side, side, side)
    with torch.autocast(weight1.device.type, enabled=False):
        empty = F.conv3d(constant, weight2.to(wide), bias2.to(wide), padding=1)
    return VoxelBranch(
        resolution=resolution,
        weights=(weight1.detach(), weight2.detach()),
        bias=bias1.detach().to(wide),
        empty=empty[0].movedim(0, -1).contiguous(),
        slopes=(float(slopes[0]), float(slopes[1])),
        packed=(pack(weight1), pack(weight2)),
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def pack(weight: Tensor) -> Tensor:
    """The weights [C', C, 3, 3, 3] of a convolution in the order in which the compiled operator reads them.

    Returns:
        by place in the kernel and block of 16 output channels: [27, C' / 16, C, 16] in float32, rounded up with zeros;
        in bfloat16 two input channels side by side, [27, C' / 16, C / 2, 16, 2], in int8 four.
    """
    together = {torch.bfloat16: 2, torch.int8: 4}.get(weight.dtype, 1)
    by_tap = weight.detach().flatten(2).permute(2, 1, 0)  # [27, C, C']
    by_tap = F.pad(by_tap, (0, -by_tap.shape[2] % TILE, 0, -by_tap.shape[1] % together))
    blocks = by_tap.unflatten(2, (-1, TILE)).unflatten(1, (-1, together)).permute(0, 3, 1, 4, 2)
    return (blocks if together > 1 else blocks[..., 0].float()).contiguous()
