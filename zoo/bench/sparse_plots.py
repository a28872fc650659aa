"""A picture of what a grid costs with and without its empty voxels: against its resolution, and how full it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.bench.plots import DPI, grouped, need_matplotlib

SIZE = (12.0, 4.2)
STYLES = {"sparse": "o-", "dense": "s--", "switched": "x:"}
Rows = Sequence[Mapping[str, Any]]


def write_sparse_plot(rows: Rows, path: Path) -> None:
    """Draw the rows of ``tools/bench_sparse.py`` that have a resolution or an occupancy.

    Raises:
        InputError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    sizes = [row | {"R": float(row["size"][4:])} for row in map(dict, rows) if row["MB"]]
    filled = [row | {"full": float(match[1])} for row in map(dict, rows) if (match := _occupied(row["size"]))]
    figure = Figure(figsize=SIZE, layout="constrained")
    over_size, memory, over_fill = figure.subplots(1, 3)
    _draw(over_size, sizes, "R", "ms", "voxels along one side", "median time, ms")
    _draw(memory, sizes, "R", "MB", "voxels along one side", "memory of a forward pass, MB")
    _draw(over_fill, filled, "full", "ms", "voxels that hold points, %", "median time, ms")
    resolutions = sorted({row["R"] for row in sizes})
    for axes in (over_size, memory):
        axes.set_xticks(resolutions, [f"{side:.0f}" for side in resolutions], minor=False)
    figure.savefig(path, dpi=DPI)


def _draw(axes: Any, rows: Rows, x: str, y: str, xlabel: str, ylabel: str) -> None:
    """A line for every way to compute a thing; figures below one are drawn as one."""
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    for (what, way), same in grouped(rows, lambda row: (row["what"], row["way"])).items():
        if way in STYLES:
            axes.plot(
                [row[x] for row in same], [max(float(row[y]), 1.0) for row in same], STYLES[way], label=f"{what}, {way}"
            )
    axes.minorticks_off()
    if axes.lines:
        axes.legend(fontsize=7)


def _occupied(size: str) -> re.Match[str] | None:
    return re.search(r"([\d.]+)% occupied", size)
