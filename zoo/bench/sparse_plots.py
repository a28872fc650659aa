"""Pictures of what a grid costs with and without its empty voxels: against its resolution, and how full it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.bench.plots import DPI, grouped, need_matplotlib

SIZE = (6.0, 4.2)  # of a panel, inches
LEAST = 0.1  # figures below are drawn as this: an axis of powers of ten has no zero
STYLES = {"sparse": "o-", "dense": "s--", "switched": "x:"}


class Panel(NamedTuple):
    """Two columns against each other, and what is written beside the axes."""

    x: str
    y: str
    xlabel: str
    ylabel: str


PANELS = {
    "resolution": [
        Panel("R", "cpu", "voxels along one side", "processors' time, ms"),
        Panel("R", "MB", "voxels along one side", "memory of a forward pass, MB"),
    ],
    "occupancy": [
        Panel("occupied %", "cpu", "voxels that hold points, %", "processors' time, ms"),
        Panel("occupied %", "MB", "voxels that hold points, %", "memory of a forward pass, MB"),
    ],
}


def write_sparse_plot(rows: Sequence[Mapping[str, Any]], panels: Sequence[Panel], path: Path) -> None:
    """Draw rows of ``tools/bench_sparse.py``: in each panel a line for every way to compute a thing.

    Raises:
        InputError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] * len(panels), SIZE[1]), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.set(xscale="log", yscale="log", xlabel=panel.xlabel, ylabel=panel.ylabel)
        axes.grid(alpha=0.3)
        for (what, way), same in grouped(list(rows), lambda row: (row["what"], row["way"])).items():
            across = [float(row[panel.x]) for row in same]
            up = [max(float(row[panel.y]), LEAST) for row in same]
            axes.plot(across, up, STYLES[way], label=f"{what}, {way}")
        if panel.x == "R":
            sides = sorted({row["R"] for row in rows})
            axes.set_xticks(sides, [str(side) for side in sides])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=DPI)
