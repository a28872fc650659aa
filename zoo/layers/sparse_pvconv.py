"""Point-voxel convolution at inference, computed where there is something to compute; docs/sparse_voxels.md."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoo import ops
from zoo.layers.cloud import Positions, cloud_of
from zoo.layers.pvconv import PVConv, SqueezeExcitation3d
from zoo.layers.replace import replace_modules
from zoo.layers.sparse_costs import SIDES, dense_branch, measure, products
from zoo.ops.autocast import is_autocast

log = logging.getLogger("zoo")
CLEARLY = 1 / 5  # of the dense time: what is less by a small grid, on which dense is up to four times as dear, is so


@dataclass(frozen=True)
class Choice:
    """How the voxel branch was computed, and why.

    Attributes:
        sparse: without its empty voxels.
        seconds: that the sparse way takes by its costs; none where there was no choice.
        dense_seconds: that the dense one takes.
    """

    sparse: bool
    seconds: float | None = None
    dense_seconds: float | None = None

    def __str__(self) -> str:
        """In words."""
        way = "sparse" if self.sparse else "dense"
        if self.seconds is None or self.dense_seconds is None:
            return way
        return f"{way} (about {self.seconds * 1e3:.1f} ms sparse, {self.dense_seconds * 1e3:.1f} ms dense)"


class SparsePVConv(nn.Module):
    """A :class:`PVConv` in evaluation mode with the same outputs, whose voxel branch skips what is empty.

    Batch norm is folded. For every batch the cheaper of two ways is taken, by what both cost on this machine (measured
    once for a layer's size) and how much there is to compute: crowded grids go through the dense convolutions. So does
    everything on a GPU, in plain PyTorch operators, or where gradients are wanted. A compiler that traces the network
    cannot count voxels: it gets the way that was last taken, or the sparse one. Weights may change in place, but not
    through their ``.data``, which PyTorch does not count: what is prepared from them would be the old one's.

    Args:
        layer: whose weights are taken over.

    Raises:
        ValueError: it is none, or in training mode.

    Attributes:
        choice: how the last batch was computed.
    """

    def __init__(self, layer: PVConv):
        super().__init__()
        if not isinstance(layer, PVConv):
            raise ValueError(f"a SparsePVConv is made from a PVConv, not from {type(layer).__name__}")
        if any(module.training for module in layer.modules()):
            raise ValueError("sparse voxel branches are for inference: call eval() first, on all layers")
        self.resolution, self.normalize = layer.resolution, layer.normalize
        convs, slopes, self.excitation = _voxel_layers(layer)
        self.dense = nn.Sequential(
            *(part for conv, slope in zip(convs, slopes, strict=True) for part in (conv, nn.LeakyReLU(slope, True)))
        )
        self.dense.to(memory_format=torch.channels_last_3d)
        self.point_features = layer.point_features
        self.slopes = slopes
        self.channels = convs[0].in_channels, convs[0].out_channels, convs[1].out_channels
        self.choice = Choice(sparse=True)
        # What was made of the weights, and of which.
        self._prepared: tuple[tuple[tuple[int, int], ...], dict[torch.dtype, ops.VoxelBranch]] = ((), {})
        self.register_load_state_dict_post_hook(_forget)
        self.eval()

    def forward(self, features: Tensor, positions: Positions) -> Tensor:
        """Features [B, C, N] at ``positions``, [B, 3, N] or a cloud that other layers share, to [B, C', N]."""
        plan = cloud_of(positions).plan(self.resolution, self.normalize)
        fine: Tensor = self.point_features(features)
        return self.voxel_branch(features, plan).add_(fine)

    def voxel_branch(self, features: Tensor, plan: ops.VoxelPlan) -> Tensor:
        """Features [B, C, N] of a plan's points to [B, C', N], the cheaper way."""
        dtype = torch.get_autocast_dtype(features.device.type) if is_autocast(features) else features.dtype
        choice, before = self.choice, self.choice
        if not torch.compiler.is_compiling():
            choice = self.choice = self._choose(features, plan, dtype)
            if (choice.sparse, choice.seconds is None) != (before.sparse, before.seconds is None):
                log.info("voxel branch of %s channels, R = %d: %s", self.channels, self.resolution, choice)
        if not choice.sparse:  # of this batch: another thread may have noted down another by now
            return dense_branch(features, plan, self.dense_layers)
        return self.sparse_branch(features.to(dtype), plan)

    def sparse_branch(self, features: Tensor, plan: ops.VoxelPlan) -> Tensor:
        """The same without its empty voxels, whatever that costs."""
        branch = self._branch(features.dtype)
        out, mean = ops.sparse_voxel_branch(features, plan, branch, with_mean=self.excitation is not None)
        if self.excitation is not None:
            out.mul_(self.excitation.scale(mean.to(out.dtype)).unsqueeze(2))
        return out

    def dense_layers(self, grid: Tensor) -> Tensor:
        """What the layer computes on a grid [B, C, R, R, R] with all its voxels."""
        out: Tensor = self.dense(grid)
        return out if self.excitation is None else self.excitation(out)

    def extra_repr(self) -> str:
        """The arguments, and how the last batch was computed."""
        return f"resolution={self.resolution}, normalize={self.normalize}, {self.choice}"

    def _choose(self, features: Tensor, plan: ops.VoxelPlan, dtype: torch.dtype) -> Choice:
        batch, _, num_points = features.shape
        wants_gradient = torch.is_grad_enabled() and (
            features.requires_grad or any(parameter.requires_grad for parameter in self.dense.parameters())
        )
        if wants_gradient:
            _forget(self)  # what learns will be other weights
        if wants_gradient or features.device.type != "cpu" or ops.backend() != "native" or dtype == torch.float64:
            return Choice(sparse=False)
        with_mean = self.excitation is not None
        # If there is nothing to lose even where no points share a voxel or a neighbour, there is nothing to count.
        voxels = self.resolution**3
        reads = min(voxels, num_points * (5**3 if with_mean else 2**3))
        count, is_bound = products((27 * min(voxels, num_points), 27 * reads), self.channels), True
        for side in SIDES:
            costs = measure(self.channels, self.resolution, with_mean, dtype, torch.get_num_threads(), side)
            dense = costs.dense_seconds(num_points)
            if is_bound and costs.seconds(count, num_points) >= CLEARLY * dense:
                work = ops.sparse_work(plan, with_mean)
                count, is_bound = products(work, self.channels) // max(1, batch), False
            seconds = costs.seconds(count, num_points)
            if seconds < CLEARLY * dense or self.resolution <= side:
                break
        return Choice(seconds < dense, batch * seconds, batch * dense)

    def _branch(self, dtype: torch.dtype) -> ops.VoxelBranch:
        first, second = (module for module in self.dense if isinstance(module, nn.Conv3d))
        weights = cast(tuple[Tensor, ...], (first.weight, first.bias, second.weight, second.bias))
        state, branches = self._prepared
        now = state if torch.compiler.is_compiling() else tuple(map(_state_of, weights))
        if now != state:
            branches = {}
        if dtype not in branches:
            weight1, bias1, weight2, bias2 = (weight.to(dtype) for weight in weights)
            branch = ops.voxel_branch(weight1, bias1, weight2, bias2, self.resolution, self.slopes)
            branches = {**branches, dtype: branch}
            self._prepared = now, branches  # at once, for threads that share the layer
        return branches[dtype]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Forget what was prepared from weights that now change, as recurrent layers of PyTorch do."""
        _forget(self)
        return super()._apply(fn, recurse)


def _state_of(weight: Tensor) -> tuple[int, int]:
    """What changes with a tensor's values; those of inference mode do not count how often they did."""
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version


def _forget(layer: SparsePVConv, _: Any = None) -> None:
    """What was prepared from weights that change."""
    layer._prepared = (), {}


def sparse_voxel_branches(model: nn.Module) -> nn.Module:
    """Put a :class:`SparsePVConv` in the place of every :class:`PVConv` of ``model``, which is changed and returned.

    Args:
        model: in evaluation mode; batch norms may have been folded before.

    Raises:
        ValueError: the model is in training mode.
    """
    if model.training:
        raise ValueError("sparse voxel branches are for inference: call model.eval() first")
    if isinstance(model, PVConv):
        return SparsePVConv(model)
    replace_modules(model, lambda module: SparsePVConv(module) if isinstance(module, PVConv) else None)
    return model


def _voxel_layers(layer: PVConv) -> tuple[list[nn.Conv3d], tuple[float, float], SqueezeExcitation3d | None]:
    """The two convolutions of a layer with their batch norms folded in, the slopes after them, and what ends them."""
    convs: list[nn.Conv3d] = []
    slopes: list[float] = []
    excitation = None
    for module in layer.voxel_layers:
        if isinstance(module, nn.Conv3d):
            convs.append(module)
        elif isinstance(module, nn.BatchNorm3d):
            convs[-1] = fuse_conv_bn_eval(convs[-1], module)
        elif isinstance(module, nn.LeakyReLU):
            slopes.append(module.negative_slope)
        elif isinstance(module, SqueezeExcitation3d):
            excitation = module
    return convs, (slopes[0], slopes[1]), excitation
