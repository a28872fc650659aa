"""Colours for class labels, told apart also by the colour-blind."""

from __future__ import annotations

import functools

import numpy as np

NO_LABEL = (128, 128, 128)
_FIRST = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip


def label_colors(num_classes: int) -> np.ndarray:
    """One colour a class, uint8 [K, 3]; a class keeps its colour whatever K is.

    The first seven are those of Okabe and Ito ("Color universal design", 2008); each further one is the colour of a
    coarse RGB grid that lies farthest, in CIELAB, from all before, from grey and from black and white.

    Raises:
        ValueError: ``num_classes`` is not 1 to 400.
    """
    if not 1 <= num_classes <= 400:
        raise ValueError(f"there are colours for 1 to 400 classes, not {num_classes}")
    return _palette(max(num_classes, len(_FIRST)))[:num_classes].copy()


def color_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The colour of every label, uint8 [N, 3], for integers [N] in 0..K-1; -1 ("no label") is grey.

    Raises:
        ValueError: a label out of range, or labels that are no integers.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu" or (labels.size and not -1 <= labels.min() <= labels.max() < num_classes):
        raise ValueError(f"labels are integers from -1 to {num_classes - 1}")
    return np.concatenate([label_colors(num_classes), np.array([NO_LABEL], dtype=np.uint8)])[labels]


@functools.cache
def _palette(num_colors: int) -> np.ndarray:
    steps = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    grid_lab = _lab(grid)
    colors = [np.array(color, dtype=np.float64) for color in _FIRST]
    avoided = _lab(np.array([*_FIRST, NO_LABEL, (0, 0, 0), (255, 255, 255)], dtype=np.float64))
    nearest = np.linalg.norm(grid_lab[:, None] - avoided, axis=2).min(axis=1)
    while len(colors) < num_colors:
        best = int(nearest.argmax())
        colors.append(grid[best])
        nearest = np.minimum(nearest, np.linalg.norm(grid_lab - grid_lab[best], axis=1))
    return np.array(colors).astype(np.uint8)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """The sRGB colours [M, 3] in 0..255 as CIELAB (D65), [M, 3]."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)
