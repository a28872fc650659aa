"""Point files: `read_points` gives a `PointCloud`, whatever the format."""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.point_formats import with_open3d
from zoo.data.point_formats.arrays import read_npy, read_npz
from zoo.data.point_formats.binary import read_bin
from zoo.data.point_formats.mesh import sample_mesh
from zoo.data.point_formats.obj import read_obj
from zoo.data.point_formats.off import read_off
from zoo.data.point_formats.palette import color_labels, label_colors
from zoo.data.point_formats.pcd import read_pcd
from zoo.data.point_formats.ply import read_ply
from zoo.data.point_formats.ply_writer import write_ply
from zoo.data.point_formats.raw import RawPoints, rename_columns
from zoo.data.point_formats.text import read_text
from zoo.errors import InputError

__all__ = ["POINT_SUFFIXES", "PointCloud", "color_labels", "label_colors", "read_points", "write_ply"]

_READERS: dict[str, Callable[[str, bytes], RawPoints]] = {
    ".ply": read_ply,
    ".pcd": read_pcd,
    ".off": read_off,
    ".obj": read_obj,
    ".npy": read_npy,
    ".npz": read_npz,
    ".bin": read_bin,
    **dict.fromkeys((".txt", ".xyz", ".csv", ".pts", ".asc"), read_text),
    **dict.fromkeys((*with_open3d.CLOUD_SUFFIXES, *with_open3d.MESH_SUFFIXES), with_open3d.read_with_open3d),
}
POINT_SUFFIXES = frozenset(_READERS)
"""The suffixes, in lower case, that `read_points` takes."""

_MAX_FILE, _MAX_TEXT = 4 << 30, 512 << 20  # numbers as text take many times their size while they are read
_VIDEOS = frozenset((".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v", ".flv", ".wmv", ".ts", ".gif"))
_IMAGES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))


@dataclass(frozen=True, eq=False)
class PointCloud:
    """The points of a file, in the file's order and units.

    Attributes:
        path: where they come from; None for points that were never in a file.
        points: x, y, z, float32 [N, 3]; some may be NaN or infinite.
        colors: RGB, uint8 [N, 3], or None.
        intensity: as the file has it, float32 [N], or None.
        normals: float32 [N, 3], or None.
        velocity: along the ray of a radar, as the file has it, float32 [N], or None.
        time: as the file has it, float32 [N], or None.
    """

    path: str | None
    points: np.ndarray
    colors: np.ndarray | None = None
    intensity: np.ndarray | None = None
    normals: np.ndarray | None = None
    velocity: np.ndarray | None = None
    time: np.ndarray | None = None

    @property
    def finite(self) -> np.ndarray:
        """Which points have three finite coordinates, bool [N]."""
        return np.isfinite(self.points).all(axis=1)

    def feature(self, name: str) -> np.ndarray | None:
        """What networks know as "rgb" (in 0..1), "normals", "intensity", "velocity" or "time": float32 [N, c]."""
        if name == "rgb":
            return None if self.colors is None else self.colors.astype(np.float32) / 255
        known = {"normals": self.normals, "intensity": self.intensity, "velocity": self.velocity, "time": self.time}
        values = known.get(name)
        return None if values is None else values.reshape(len(values), -1).astype(np.float32)


def read_points(
    path: str | os.PathLike[str],
    *,
    mesh_samples: int = 10_000,
    num_columns: int | None = None,
    features: Sequence[str] = (),
) -> PointCloud:
    """Read a point cloud or a mesh; the suffix, in any case, says the format.

    PLY, PCD, OFF, OBJ, NPY, NPZ, BIN, TXT, XYZ, CSV, PTS and ASC are read with numpy alone, some others with Open3D.
    A file with faces is a mesh, and its points are drawn from its surface, always the same.

    Args:
        path: a file.
        mesh_samples: how many points to draw from a mesh; 0 takes its vertices instead.
        num_columns: float32 values a point in a BIN file; found out from size and values by default (see `read_bin`).
        features: what a model wants to know of a point besides xyz. Where "velocity" or "time" is among them, which no
            values give away, columns without names are these, in this order, if there are as many.

    Raises:
        InputError: there is no such file, it is empty, of another kind or damaged, or no point in it is finite; the
            text says what to do.
        ValueError: ``mesh_samples`` is negative.
    """
    if mesh_samples < 0:
        raise ValueError(f"mesh_samples is {mesh_samples}: give 0 for the vertices, or the number of points to draw")
    name = os.fspath(path)
    reader = _reader(name)
    data = _content(name)
    with np.errstate(all="ignore"):
        raw = read_bin(name, data, num_columns) if reader is read_bin else reader(name, data)
        if raw.table is not None and {"velocity", "time"} & set(features):
            raw = rename_columns(raw.table, features)
        if raw.triangles is not None and mesh_samples:
            raw = sample_mesh(name, raw, mesh_samples)
        points = np.ascontiguousarray(raw.xyz, dtype=np.float32)
        others = (raw.intensity, raw.normals, raw.velocity, raw.time)
        cloud = PointCloud(name, points, raw.colors, *map(_float32, others))
    if not len(points):
        raise InputError(f"{name} holds no points: give a file with at least one")
    if not cloud.finite.any():
        raise InputError(
            f"{name} holds no finite point (all {len(points)} are NaN or infinite): record or export it again"
        )
    return cloud


def _float32(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else np.ascontiguousarray(values, dtype=np.float32)


def _reader(name: str) -> Callable[[str, bytes], RawPoints]:
    """The reader for the suffix of a file that is there."""
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{name} is a directory: give one point file in it")
    if not path.exists():
        raise InputError(f"{name} does not exist: check the path")
    if not path.is_file():
        raise InputError(f"{name} is not a regular file: save the points to one first")
    suffix = path.suffix.lower()
    if suffix in _VIDEOS:
        raise InputError(_wrong_kind(name, "a video"))
    if suffix in _IMAGES:
        raise InputError(_wrong_kind(name, "an image"))
    if suffix not in _READERS:
        raise InputError(
            f"{name} has the suffix {suffix!r}, which is no known point format: give {with_open3d.OWN_FORMATS} "
            f"(or, with Open3D, {', '.join(sorted((*with_open3d.CLOUD_SUFFIXES, *with_open3d.MESH_SUFFIXES)))})"
        )
    return _READERS[suffix]


def _content(name: str) -> bytes:
    """All bytes of a file that is neither empty nor evidently something else."""
    try:
        size = os.path.getsize(name)
        if size > _MAX_FILE:
            raise InputError(f"{name} has {size >> 30} GiB, more than {_MAX_FILE >> 30}: split it into smaller clouds")
        if size > _MAX_TEXT and _is_text(name, size // 2):
            raise InputError(
                f"{name} has {size >> 20} MiB of text, more than {_MAX_TEXT >> 20}: save it as binary PLY or NPY"
            )
        data = Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}): check its permissions") from None
    if not data:
        raise InputError(f"{name} is empty: copy or export it again")
    kind = _sniff(data[:16])
    if kind == "compressed":
        raise InputError(f"{name} is compressed: unpack it first")
    if kind is not None:
        raise InputError(_wrong_kind(name, kind))
    return data


def _is_text(name: str, position: int) -> bool:
    """Whether a file is text in its middle; the header of a binary one is text too."""
    with open(name, "rb") as file:
        file.seek(position)
        return not file.read(4096).translate(None, string.printable.encode())


def _sniff(start: bytes) -> str | None:
    """What the first bytes give away, whatever the suffix says."""
    if start[4:8] == b"ftyp" or start.startswith((b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"GIF8", b"FLV\1")):
        return "a video"
    if start.startswith(b"RIFF"):
        return "an image" if start[8:12] == b"WEBP" else "a video"
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return "an image"
    if start.startswith((b"\x1f\x8b\x08", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh9")):
        return "compressed"
    return None


def _wrong_kind(name: str, kind: str) -> str:
    remedy = "give it to a video model, or a point cloud here" if kind == "a video" else "give a point cloud"
    return f"{name} is {kind}, not a point cloud: {remedy} ({with_open3d.OWN_FORMATS})"
