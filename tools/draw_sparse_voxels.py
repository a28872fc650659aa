"""Draw the picture of docs/sparse_voxels.md: what of a grid has to be computed, and what an empty grid gives.

tools/draw_sparse_voxels.py --out docs/sparse_voxels.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo import ops
from zoo.bench import clouds
from zoo.bench.plots import DPI, need_matplotlib
from zoo.cli import exit_code
from zoo.ops.sparse_reference import reach

RESOLUTION, POINTS = 32, 2048
SMALL = 8  # voxels a side of the grid whose empty response is drawn
CHANNELS = 4
SIZE = (13.0, 3.6)  # inches
EMPTY, COMPUTED, OCCUPIED = 0, 1, 2
COLORS = ("#f2f2f2", "#8fb8de", "#1f3b57")  # of these three


def draw(path: Path) -> None:
    """Write the picture.

    Raises:
        InputError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    plan = ops.voxel_plan(clouds.chair(POINTS), RESOLUTION)
    occupied, near, read = (voxels[0] for voxels in reach(plan.coords, plan.voxels, RESOLUTION, with_mean=False))
    differs = reach(plan.coords, plan.voxels, RESOLUTION, with_mean=True)[2][0]
    figure = Figure(figsize=SIZE, layout="constrained")
    *slices, response = figure.subplots(1, 4)
    panels = {"first convolution": near, "second, read by points": read, "second, with its mean": differs}
    for axes, (title, computed) in zip(slices, panels.items(), strict=True):
        _slice(axes, f"{title}: {computed.float().mean():.1%}", occupied, computed)
    _response(figure, response)
    figure.savefig(path, dpi=DPI)


def _slice(axes: Any, title: str, occupied: Tensor, computed: Tensor) -> None:
    """One plane of the grid, through the middle of the chair; z goes up."""
    from matplotlib.colors import ListedColormap

    middle = RESOLUTION // 2
    kind = torch.where(occupied, OCCUPIED, torch.where(computed, COMPUTED, EMPTY))[middle].T
    axes.imshow(kind, origin="lower", cmap=ListedColormap(COLORS), vmin=EMPTY, vmax=OCCUPIED)
    axes.set(title=title, xticks=[], yticks=[])


def _response(figure: Any, axes: Any) -> None:
    """One channel of what two convolutions with random weights make of an empty grid, in a plane along its border."""
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(2, CHANNELS, CHANNELS, 3, 3, 3, generator=generator) / (27 * CHANNELS) ** 0.5
    biases = torch.randn(2, CHANNELS, generator=generator)
    empty = ops.voxel_branch(kernels[0], biases[0], kernels[1], biases[1], SMALL).empty
    case = torch.tensor([0, *[1] * (SMALL - 2), 2])  # along an axis: the lower border, inside, the upper one
    plane = empty[1][case][:, case, 0]
    bar = figure.colorbar(axes.imshow(plane.T, origin="lower"), ax=axes, shrink=0.8)
    bar.set_label("value of a channel, before the last activation")
    axes.set(title=f"empty response, {SMALL} voxels a side", xticks=[], yticks=[])


def main() -> int:
    """Draw; 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="the picture, .png or .svg")
    options = parser.parse_args()
    return exit_code(lambda: draw(options.out))


if __name__ == "__main__":
    sys.exit(main())
