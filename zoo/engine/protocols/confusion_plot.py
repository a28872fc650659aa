"""A confusion matrix as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.data.outputs import check_output, replacing
from zoo.errors import InputError

COUNTS_UP_TO = 24  # classes; with more, numbers in the cells would not be readable
LONGEST_NAME = 60  # letters; longer ones are cut


def write_confusion(path: str | os.PathLike[str], confusion: Tensor, class_names: Sequence[str] = ()) -> None:
    """Write a confusion matrix as PNG: shares of each target as colour, counts in the cells of a small one.

    The picture grows with the classes, so that the names of 174 can be read when it is enlarged.

    Args:
        path: the file, which ends in .png; it is replaced once all is written.
        confusion: counts int64 [K, K], row = target, column = prediction.
        class_names: K names; by default numbers.

    Raises:
        InputError: the file cannot be written, or matplotlib is not installed.
        ValueError: the matrix is not [K, K], or there are not K names.
    """
    path = check_output(path, (".png",))
    size = len(confusion)
    if confusion.shape != (size, size) or not size or len(class_names) not in (0, size):
        raise ValueError(f"{len(class_names)} names do not fit counts [K, K] of shape {list(confusion.shape)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import PowerNorm
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a confusion matrix as PNG needs matplotlib: pip install matplotlib") from error

    names = [_shortened(str(name)) for name in class_names] or [str(index) for index in range(size)]
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    cell, letters = (0.6, 9) if size <= COUNTS_UP_TO else (0.15, 6)  # inches, points
    margin = 1.1 + max(map(len, names)) * letters * 0.6 / 72
    side = max(2.0, cell * size)
    figure = Figure(
        figsize=(side + margin + 0.9, side + margin), dpi=130 if size <= COUNTS_UP_TO else 150, layout="tight"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # The root of the share, so that confusions of a few in a hundred are seen too.
    picture = axes.imshow(shares.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set_xticks(range(size), names, rotation=90, fontsize=letters)
    axes.set_yticks(range(size), names, fontsize=letters)
    axes.set_xlabel("prediction")
    axes.set_ylabel("target")
    right, total = int(confusion.diagonal().sum()), int(confusion.sum())
    axes.set_title(f"{right:,} of {total:,} right ({right / max(total, 1):.1%})", fontsize=10)
    figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.02, label="share of the target")
    if size <= COUNTS_UP_TO:
        for row, column in torch.nonzero(confusion).tolist():
            color = "white" if shares[row, column] > 0.3 else "black"
            text = _count(int(confusion[row, column]))
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=letters)
    else:
        axes.set_xticks([place - 0.5 for place in range(1, size)], minor=True)
        axes.set_yticks([place - 0.5 for place in range(1, size)], minor=True)
        axes.grid(which="minor", color="0.9", linewidth=0.3)
        axes.tick_params(which="minor", length=0)
    try:
        with replacing(path) as part:
            figure.savefig(part, format="png")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}); give a path that you may write to") from error


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _count(number: int) -> str:
    """At most five letters: 950, 12.3k, 4.6M."""
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.3g}k" if number < 999_500 else f"{number / 1e6:.3g}M"
