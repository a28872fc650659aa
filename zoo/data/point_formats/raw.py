"""What every format gives, and how columns are understood: by their names, or by their number and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.errors import InputError

MAX_COLUMNS = 64
_COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
_NORMAL_NAMES = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
_INTENSITY_NAMES = ("intensity", "scalar_intensity", "i", "reflectance", "reflectivity", "remission")
_VELOCITY_NAMES = ("velocity", "doppler", "v_r", "vr")
_TIME_NAMES = ("time", "timestamp", "t")


@dataclass(frozen=True, eq=False)
class RawPoints:
    """A file as it stands: vertices in any numeric type, and triangles where it is a mesh.

    Attributes:
        xyz: coordinates, [N, 3].
        colors: uint8 [N, 3], or None.
        intensity: [N], or None.
        normals: [N, 3], or None.
        triangles: vertex indices in 0..N-1, int64 [F, 3]; None for a plain cloud.
        velocity: [N], or None.
        time: [N], or None.
        table: all columns [N, C], where none bears a name.
    """

    xyz: np.ndarray
    colors: np.ndarray | None = None
    intensity: np.ndarray | None = None
    normals: np.ndarray | None = None
    triangles: np.ndarray | None = None
    velocity: np.ndarray | None = None
    time: np.ndarray | None = None
    table: np.ndarray | None = None


def from_named(path: str, columns: Mapping[str, np.ndarray]) -> RawPoints:
    """Build a cloud from columns [N] that bear names, of any case and in any order.

    Raises:
        InputError: x, y or z is missing.
    """
    lower = {name.lower(): values for name, values in columns.items()}
    missing = [axis for axis in "xyz" if axis not in lower]
    if missing:
        raise InputError(f"{path} has no {' and no '.join(missing)}: export it with x, y and z for every point")
    colors = _pick(lower, _COLOR_NAMES)
    return RawPoints(
        xyz=np.stack([lower["x"], lower["y"], lower["z"]], axis=1),
        colors=None if colors is None else as_colors(colors),
        intensity=_first(lower, _INTENSITY_NAMES),
        normals=_pick(lower, _NORMAL_NAMES),
        velocity=_first(lower, _VELOCITY_NAMES),
        time=_first(lower, _TIME_NAMES),
    )


def from_columns(path: str, table: np.ndarray, intensity_first: bool = False) -> RawPoints:
    """Build a cloud from columns without names, [N, C]: x, y, z, then what their number and values say.

    - 4 and 5 columns: the fourth is the intensity.
    - 6 and more: the next three are colours if all are integers in 0..255 and some exceed 1; normals if their
      length is 1; colours if all lie in 0..1. What follows is read the same way once more, and labels are left alone.
    - 7 and more: an intensity may stand before colours (``x y z intensity r g b``), where the fourth column is no
      colour, or with ``intensity_first`` (the rule of PTS files).

    Raises:
        InputError: fewer than three columns, or so many that the array must be transposed.
    """
    num_columns = table.shape[1]
    if num_columns < 3:
        raise InputError(f"{path} has {num_columns} column{'s'[: num_columns != 1]}: a point needs at least x, y and z")
    if num_columns > MAX_COLUMNS:
        raise InputError(f"{path} has {num_columns} columns: give one row a point, [N, C], by transposing it")
    colors = normals = intensity = None
    column = 3
    if num_columns in (4, 5):
        return RawPoints(table[:, :3], intensity=table[:, 3], table=table)
    if num_columns >= 7 and _is_rgb(table[:, 4:7]) and (intensity_first or not _is_rgb(table[:, 3:6])):
        intensity, column = table[:, 3], 4
    while column + 3 <= num_columns:
        block = table[:, column : column + 3]
        if colors is None and _is_rgb(block):
            colors = as_colors(block)
        elif normals is None and _is_unit(block):
            normals = block
        elif colors is None and column == 3 and _is_fraction(block):
            colors = as_colors(block)
        else:
            break
        column += 3
    return RawPoints(table[:, :3], colors=colors, intensity=intensity, normals=normals, table=table)


def rename_columns(table: np.ndarray, features: Sequence[str]) -> RawPoints:
    """Build a cloud from columns [N, C] that are x, y, z and ``features`` if there are as many, else from xyz."""
    widths = [3 if feature in ("rgb", "normals") else 1 for feature in features]
    if table.shape[1] != 3 + sum(widths):
        return RawPoints(table[:, :3])
    parts = np.split(table, np.cumsum([3, *widths])[:-1], axis=1)[1:]
    values = {name: part if part.shape[1] > 1 else part[:, 0] for name, part in zip(features, parts, strict=True)}
    colors = values.pop("rgb", None)
    return RawPoints(table[:, :3], None if colors is None else as_colors(colors), **values)


def as_colors(values: np.ndarray) -> np.ndarray:
    """Bring colours [N, 3] of any type to uint8: fractions in 0..1 are scaled by 255, 16-bit integers by 1/257."""
    if values.dtype == np.uint8:
        return values
    top = values.max(initial=0) if values.dtype.kind in "ui" else np.nanmax(values, initial=0)
    if values.dtype.kind in "ui":
        values = values // 257 if top > 255 else values
    elif top <= 1:
        values = np.nan_to_num(values) * 255
    return np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8)


def too_short(path: str, promised: int, what: str = "points") -> InputError:
    """The error of a header that promises more than the file holds."""
    return InputError(f"{path} promises {promised} {what} but holds fewer: it is cut off, so copy or export it again")


def _pick(columns: Mapping[str, np.ndarray], choices: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    """The first triple of names that is there in full, as [N, 3]."""
    for names in choices:
        if all(name in columns for name in names):
            return np.stack([columns[name] for name in names], axis=1)
    return None


def _first(columns: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((columns[name] for name in names if name in columns), None)


def _is_rgb(block: np.ndarray) -> bool:
    known = _known(block)
    return bool(((known >= 0) & (known <= 255) & (known == np.rint(known))).all() and known.max(initial=0) > 1)


def _is_fraction(block: np.ndarray) -> bool:
    known = _known(block)
    return bool(len(known) and ((known >= 0) & (known <= 1)).all())


def _is_unit(block: np.ndarray) -> bool:
    """Whether at least 95 % of the rows have length 1: real files hold a few zero normals."""
    known = _known(block).astype(np.float64)
    return bool(len(known) and (np.abs(np.linalg.norm(known, axis=1) - 1) < 0.02).mean() >= 0.95)


def _known(block: np.ndarray) -> np.ndarray:
    """The rows without NaN and infinity."""
    return block[np.isfinite(block).all(axis=1)]
