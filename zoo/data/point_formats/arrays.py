"""NPY and NPZ: numpy's arrays, checked against the size of the file before they are read, and never unpickled."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from typing import IO

import numpy as np

from zoo.data.point_formats.raw import RawPoints, as_colors, from_columns, from_named, too_short
from zoo.errors import InputError

_POINT_KEYS = ("points", "xyz", "pos", "coords", "arr_0")
_COLOR_KEYS = ("colors", "color", "rgb")
_NORMAL_KEYS = ("normals", "normal")
_OTHER_KEYS = (("intensity",), ("velocity",), ("time",))
_FREE_SIZE, _MAX_RATIO = 64 << 20, 100


def read_npy(path: str, data: bytes) -> RawPoints:
    """Read one array [N, C], whose columns are understood as `from_columns` says, or records with fields x, y, z.

    Raises:
        InputError: no NPY, objects instead of numbers, another shape, or more rows promised than the file holds.
    """
    return _from_array(path, _read_array(path, io.BytesIO(data), len(data)))


def read_npz(path: str, data: bytes) -> RawPoints:
    """Read an archive of arrays.

    Points [N, 3 or more] are found under "points", "xyz", "pos", "coords" or "arr_0"; colours [N, 3] under "colors",
    "color" or "rgb"; normals [N, 3] under "normals" or "normal"; "intensity", "velocity" and "time" [N].

    Raises:
        InputError: no NPZ, none of those keys, arrays that do not match, objects instead of numbers, or an archive
            that unpacks to far more than its own size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            points_key = next((key for key in _POINT_KEYS if key in members), None)
            if points_key is None:
                names = ", ".join(list(members)[:8])[:200]
                raise InputError(f"{path} has no array 'points', 'xyz' or 'pos' (it has: {names}): rename one")
            keys = [points_key, *(_first(members, keys) for keys in (_COLOR_KEYS, _NORMAL_KEYS, *_OTHER_KEYS))]
            infos = [members[key] if key else None for key in keys]
            if sum(info.file_size for info in infos if info) > _FREE_SIZE + _MAX_RATIO * len(data):
                raise InputError(
                    f"{path} unpacks to more than {_MAX_RATIO} times its size: save its arrays uncompressed"
                )
            arrays: list[np.ndarray | None] = []
            for info in infos:
                if info is None:
                    arrays.append(None)
                    continue
                with archive.open(info) as stream:
                    arrays.append(_read_array(path, stream, info.file_size))
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError):
        raise InputError(f"{path} is not an NPZ archive, or a damaged one: copy it or save it again") from None
    points, colors, normals, *others = arrays
    assert points is not None
    raw = _from_array(path, points)
    intensity, velocity, time = (
        None if values is None else _matching(path, values, len(raw.xyz), 1)[:, 0] for values in others
    )
    return RawPoints(
        raw.xyz,
        raw.colors if colors is None else as_colors(_matching(path, colors, len(raw.xyz), 3)),
        raw.intensity if intensity is None else intensity,
        raw.normals if normals is None else _matching(path, normals, len(raw.xyz), 3),
        velocity=raw.velocity if velocity is None else velocity,
        time=raw.time if time is None else time,
        table=raw.table if velocity is None and time is None else None,
    )


def _first(members: dict[str, zipfile.ZipInfo], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in members), None)


def _read_array(path: str, stream: IO[bytes], size: int) -> np.ndarray:
    """The array of a stream of ``size`` bytes, after its header was held against that size."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):  # numpy warns of files from Python 2
            shape, fortran, dtype = read_header(stream)
    except (ValueError, SyntaxError, tokenize.TokenError):
        raise InputError(f"{path} is not an array of numpy's format: save it again with numpy.save") from None
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects, which are not read for safety: save an array of numbers")
    if dtype.names is None and dtype.kind not in "fiu":
        raise InputError(f"{path} holds {dtype}, not numbers: save an array of float32")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > size:
        raise too_short(path, count, "values")
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise too_short(path, count, "values")
    values = np.frombuffer(content, dtype, count) if count else np.zeros(0, dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _from_array(path: str, array: np.ndarray) -> RawPoints:
    if array.dtype.names is not None:
        numbers = [name for name in array.dtype.names if array.dtype[name].kind in "fiu"]
        return from_named(path, {name: array[name].reshape(-1) for name in numbers})
    if array.ndim != 2:
        raise InputError(f"{path} holds an array of shape {list(array.shape)}: give one cloud of shape [N, 3] or wider")
    return from_columns(path, array)


def _matching(path: str, array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``array`` as [rows, columns]."""
    if array.dtype.names is not None or array.shape not in {
        (rows, columns),
        (rows,) if columns == 1 else (rows, columns),
    }:
        raise InputError(
            f"{path} has {rows} points but an array of shape {list(array.shape)} beside them: save both alike"
        )
    return array.reshape(rows, columns)
