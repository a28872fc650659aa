"""BIN: bare float32 rows as KITTI, SemanticKITTI, nuScenes, ScanNet and SUN RGB-D tools write them."""

from __future__ import annotations

import numpy as np

from zoo.data.point_formats.raw import RawPoints, as_colors
from zoo.errors import InputError

_LAYOUTS = (4, 5, 6, 3)


def read_bin(path: str, data: bytes, num_columns: int | None = None) -> RawPoints:
    """Read little-endian float32 rows without a header: x, y, z, then intensity (4 or 5 columns) or colours (6).

    The number of columns is not in the file. Without ``num_columns`` it is the first of these that divides the size
    and fits the values: 4 with an intensity in 0..1 (KITTI); 5 with an intensity of at least 0 and a laser's number
    0..255 (nuScenes); 6 with colours in 0..1 or 0..255; 4 with an intensity in 0..65535; and where none fits, the
    first of 4, 5, 6 and 3 that divides the size.

    Raises:
        InputError: the size is no whole number of rows, or the values are no coordinates.
    """
    if num_columns is not None and num_columns < 3:
        raise InputError(f"num_columns is {num_columns} for {path}: a point needs at least x, y and z")
    if num_columns is None:
        num_columns = _guess(path, data)
    elif len(data) % (4 * num_columns):
        raise InputError(
            f"{path} has {len(data)} bytes, no whole rows of {num_columns} float32: give the right num_columns"
        )
    table = np.frombuffer(data, "<f4").reshape(-1, num_columns)
    xyz = table[:, :3]
    known = np.abs(xyz[np.isfinite(xyz) & (xyz != 0)])
    # Text read as float32 stays below 2.4e-4, and random bytes are mostly far outside these bounds.
    if known.size and (known.max() < 1e-3 or ((known < 1e-9) | (known > 1e8)).mean() > 0.1):
        raise InputError(f"{path} does not hold float32 coordinates: give it the suffix of its real format")
    if num_columns == 6 and _is_color(table[:, 3:6]):
        return RawPoints(xyz, colors=as_colors(table[:, 3:6]))
    return RawPoints(xyz, intensity=table[:, 3] if num_columns in (4, 5) else None)


def _guess(path: str, data: bytes) -> int:
    """The number of columns that fits size and values."""
    fitting = [columns for columns in _LAYOUTS if len(data) % (4 * columns) == 0]
    if not fitting:
        raise InputError(
            f"{path} has {len(data)} bytes, no whole rows of 4, 5, 6 or 3 float32: it is cut off or no BIN file"
        )
    tables = {columns: np.frombuffer(data, "<f4").reshape(-1, columns) for columns in fitting}
    if 4 in tables and _within(tables[4][:, 3], 1):
        return 4
    if 5 in tables and _within(tables[5][:, 3], 65535) and _within(tables[5][:, 4], 255) and _whole(tables[5][:, 4]):
        return 5
    if 6 in tables and _is_color(tables[6][:, 3:6]):
        return 6
    if 4 in tables and _within(tables[4][:, 3], 65535):
        return 4
    return fitting[0]


def _is_color(values: np.ndarray) -> bool:
    return _within(values, 1) or (_within(values, 255) and _whole(values))


def _within(values: np.ndarray, top: float) -> bool:
    """Whether all known values lie in 0..top."""
    known = values[np.isfinite(values)]
    return bool(((known >= 0) & (known <= top)).all())


def _whole(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool((known == np.rint(known)).all())
