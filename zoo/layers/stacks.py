"""Stacks of point layers, written as tables: how the point networks describe themselves in their papers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from torch import nn

from zoo.layers.pvconv import PVConv
from zoo.layers.set_abstraction import (
    AbstractionStage,
    FeaturePropagation,
    GlobalAbstraction,
    PropagationStage,
    SetAbstraction,
)
from zoo.layers.shared_mlp import SharedMLP


class Scale(NamedTuple):
    """Factors on the paper's widths and voxel resolutions, and how PVConvs are made."""

    width: float = 1.0
    resolution: float = 1.0
    with_se: bool = False
    normalize: bool = True

    def channels(self, paper: int) -> int:
        """The paper's number of channels at this width.

        Raises:
            ValueError: there are none.
        """
        return _at_least_one(self.width * paper, "width_multiplier", self.width)

    def voxels(self, paper: int) -> int:
        """The paper's number of voxels along one side at this resolution.

        Raises:
            ValueError: there are none.
        """
        return _at_least_one(self.resolution * paper, "voxel_resolution_multiplier", self.resolution)


def _at_least_one(size: float, name: str, factor: float) -> int:
    if not size >= 1:
        raise ValueError(f"{name} is {factor:g}, which leaves nothing of one of the layers: raise it")
    return int(size)


class Block(NamedTuple):
    """``repeats`` layers of ``channels``: PVConvs at a voxel ``resolution``, shared perceptrons without one."""

    channels: int
    repeats: int
    resolution: int | None = None


class Ball(NamedTuple):
    """One scale of a set abstraction: a PointNet of ``channels`` on ``neighbors`` points within ``radius``."""

    radius: float
    neighbors: int
    channels: Sequence[int]


class Abstraction(NamedTuple):
    """A stage that goes from many points to ``centers``, after ``before``."""

    centers: int
    balls: Sequence[Ball]
    before: Block | None = None


class Propagation(NamedTuple):
    """A stage that goes back to more points, followed by ``after``."""

    channels: Sequence[int]
    after: Block | None = None


def point_layers(blocks: Iterable[Block], in_channels: int, scale: Scale) -> tuple[list[nn.Module], list[int]]:
    """The layers of ``blocks`` one after another, and the output channels of each."""
    layers: list[nn.Module] = []
    widths: list[int] = []
    for channels, repeats, resolution in blocks:
        out_channels = scale.channels(channels)
        for _ in range(repeats):
            if resolution is None:
                layers.append(SharedMLP(in_channels, [out_channels]))
            else:
                side = scale.voxels(resolution)
                layers.append(PVConv(in_channels, out_channels, side, scale.with_se, scale.normalize))
            in_channels = out_channels
            widths.append(out_channels)
    return layers, widths


def abstraction_layers(
    stages: Iterable[Abstraction | Sequence[int]], in_channels: int, scale: Scale
) -> tuple[nn.ModuleList, list[int]]:
    """The encoder of a PointNet++.

    Args:
        stages: the last may be the bare channels of a global PointNet.
        in_channels: C, with the coordinates.
        scale: the factors.

    Returns:
        the stages, and the channels that go into each with those that come out of the last.
    """
    layers = nn.ModuleList()
    widths = [in_channels]
    extra = in_channels - 3  # point layers take coordinates among the features, set abstractions apart
    for stage in stages:
        if not isinstance(stage, Abstraction):
            layers.append(GlobalAbstraction(extra, [scale.channels(c) for c in stage]))
            widths.append(scale.channels(stage[-1]))
            continue
        before: list[nn.Module] = []
        if stage.before is not None:
            before, inner = point_layers([stage.before], widths[-1], scale)
            extra = inner[-1]
        mlps = [[scale.channels(c) for c in ball.channels] for ball in stage.balls]
        radii, neighbors = [ball.radius for ball in stage.balls], [ball.neighbors for ball in stage.balls]
        abstraction = SetAbstraction(stage.centers, radii, neighbors, extra, mlps)
        layers.append(AbstractionStage([*before, abstraction]) if before else abstraction)
        extra = abstraction.out_channels
        widths.append(extra)
    return layers, widths


def propagation_layers(
    stages: Iterable[Propagation], in_channels: int, skip_channels: Sequence[int], scale: Scale
) -> tuple[nn.ModuleList, int]:
    """The decoder of a PointNet++.

    Args:
        stages: from the fewest points to the most.
        in_channels: that come out of the encoder.
        skip_channels: features of the points that every stage goes back to.
        scale: the factors.

    Returns:
        the stages, and the channels that come out.
    """
    layers = nn.ModuleList()
    for (channels, after), skip in zip(stages, skip_channels, strict=True):
        widths = [scale.channels(c) for c in channels]
        propagation = FeaturePropagation(in_channels + skip, widths)
        in_channels = widths[-1]
        if after is None:
            layers.append(propagation)
        else:
            following, inner = point_layers([after], in_channels, scale)
            layers.append(PropagationStage([propagation, *following]))
            in_channels = inner[-1]
    return layers, in_channels


def linear_layers(in_channels: int, out_channels: Iterable[int | float], scale: Scale) -> tuple[list[nn.Module], int]:
    """Perceptrons on one vector for a cloud, [B, C]; a number below one is a dropout."""
    return _perceptrons(in_channels, out_channels, scale, _linear_perceptron)


def shared_layers(in_channels: int, out_channels: Iterable[int | float], scale: Scale) -> tuple[list[nn.Module], int]:
    """Perceptrons on every point, [B, C, N]; a number below one is a dropout."""
    return _perceptrons(in_channels, out_channels, scale, lambda channels, width: SharedMLP(channels, [width]))


def _linear_perceptron(in_channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_channels, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True))


def _perceptrons(
    in_channels: int, out_channels: Iterable[int | float], scale: Scale, perceptron: Callable[[int, int], nn.Module]
) -> tuple[list[nn.Module], int]:
    """The layers, each made by ``perceptron`` from channels in and out, and the channels that come out."""
    layers: list[nn.Module] = []
    for channels in out_channels:
        if channels < 1:
            layers.append(nn.Dropout(channels))
            continue
        width = scale.channels(int(channels))
        layers.append(perceptron(in_channels, width))
        in_channels = width
    return layers, in_channels
