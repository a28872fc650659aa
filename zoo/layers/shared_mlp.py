"""The layer of PointNet (Qi et al. 2017, https://arxiv.org/abs/1612.00593): one perceptron shared by all points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.layers.cloud import Positions
from zoo.layers.replace import replace_modules
from zoo.ops.autocast import is_autocast


class PointwiseConv(nn.Conv1d):
    """A 1x1 convolution that also takes its input in parts, as many as there are, one after another in its channels.

    A part [B, Ci, N] are features of points. A part [B, Ci] holds for a whole cloud: its product is the same at every
    point, and is computed once. The parts are never joined in memory.

    Args:
        in_channels: of all parts together.
        out_channels: C'.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 1)

    def forward(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """[B, C, N], or parts of which at least one has points, to [B, C', N]."""
        if isinstance(features, Tensor):
            return super().forward(features)
        weights = self.weight.squeeze(2).split([part.shape[1] for part in features], dim=1)
        everywhere = cast(Tensor, self.bias).expand(features[0].shape[0], -1)
        for part, weight in zip(features, weights, strict=True):
            if part.dim() == 2:
                everywhere = everywhere + F.linear(part, weight)
        points = [
            (weight.expand(p.shape[0], -1, -1), p) for p, weight in zip(features, weights, strict=True) if p.dim() == 3
        ]
        out = torch.baddbmm(everywhere.unsqueeze(2), *points[0])
        for weight, part in points[1:]:  # into the same memory, which autocast does not know
            out = torch.baddbmm(out, weight, part) if is_autocast(out) else out.baddbmm_(weight, part)
        return out


class PointwiseProduct(PointwiseConv):
    """A :class:`PointwiseConv` as a matrix product whatever it takes, for inference on a CPU.

    A convolution takes as long, but its library holds the input and output of wide layers in a layout of its own too.
    """

    @classmethod
    def of(cls, conv: PointwiseConv) -> PointwiseProduct:
        """The same as ``conv``, whose parameters it shares."""
        product = cls(conv.in_channels, conv.out_channels)
        product.weight, product.bias = conv.weight, conv.bias
        return product.train(conv.training)

    def forward(self, features: Tensor | Sequence[Tensor]) -> Tensor:
        """See there."""
        return super().forward([features] if isinstance(features, Tensor) else features)


def use_pointwise_products(model: nn.Module) -> None:
    """Put a :class:`PointwiseProduct` in the place of every :class:`PointwiseConv` of ``model``, which changes."""
    replace_modules(model, lambda module: PointwiseProduct.of(module) if type(module) is PointwiseConv else None)


class SharedMLP(nn.Module):
    """1x1 convolutions, each with batch normalisation and ReLU, that treat every point alike.

    Args:
        in_channels: C.
        out_channels: the channels after every layer.
        dim: 1 for points [B, C, N], 2 for groups of points [B, C, M, U].
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int], dim: int = 1):
        super().__init__()
        layers: list[nn.Module] = []
        for channels in out_channels:
            if dim == 1:
                layers += [PointwiseConv(in_channels, channels), nn.BatchNorm1d(channels)]
            else:
                layers += [nn.Conv2d(in_channels, channels, 1), nn.BatchNorm2d(channels)]
            layers.append(nn.ReLU(inplace=True))
            in_channels = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor | Sequence[Tensor], positions: Positions | None = None) -> Tensor:
        """[B, C, N], or its parts, see :class:`PointwiseConv`, to [B, out_channels[-1], N].

        A PVConv in this place looks at ``positions`` too.
        """
        out: Tensor = self.layers(features)
        return out
