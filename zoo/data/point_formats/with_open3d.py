"""The formats that only Open3D reads; it is imported when the first such file comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.point_formats.raw import RawPoints, as_colors
from zoo.errors import InputError

CLOUD_SUFFIXES = (".xyzn", ".xyzrgb")
MESH_SUFFIXES = (".stl", ".gltf", ".glb")
OWN_FORMATS = "PLY, PCD, OFF, OBJ, NPY, NPZ, BIN, TXT, XYZ, CSV and PTS"


def read_with_open3d(path: str, data: bytes) -> RawPoints:
    """Read what the zoo has no reader of its own for.

    Raises:
        InputError: Open3D is missing or lacks a system library, or it cannot read the file.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        remedy = "pip install open3d"
        if not isinstance(error, ModuleNotFoundError):
            remedy = "apt-get install libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1"
        raise InputError(f"{path} needs Open3D ({remedy}); {OWN_FORMATS} are read without it") from None
    suffix = Path(path).suffix.lower()
    if suffix == ".stl" and not data.lstrip().startswith(b"solid") and len(data) != 84 + 50 * _stl_count(data):
        raise InputError(f"{path} is not an STL file, or it is cut off: copy or export it again")
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        if suffix in CLOUD_SUFFIXES:
            cloud = open3d.io.read_point_cloud(Path(path), format=suffix[1:], remove_nan_points=False)
            xyz, colors, triangles = np.asarray(cloud.points), np.asarray(cloud.colors), None
            normals = np.asarray(cloud.normals) if cloud.has_normals() else None
        else:
            mesh = open3d.io.read_triangle_mesh(Path(path))
            xyz, colors, triangles = (
                np.asarray(mesh.vertices),
                np.asarray(mesh.vertex_colors),
                np.asarray(mesh.triangles),
            )
            normals = None
    if not len(xyz):
        raise InputError(f"{path} cannot be read by Open3D: export it as PLY")
    if triangles is not None and (not len(triangles) or triangles.max() >= len(xyz)):
        raise InputError(f"{path} is a mesh without faces: export it as PLY")
    return RawPoints(xyz, as_colors(colors) if len(colors) == len(xyz) else None, None, normals, triangles)


def _stl_count(data: bytes) -> int:
    """The number of triangles that a binary STL file promises."""
    return int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
