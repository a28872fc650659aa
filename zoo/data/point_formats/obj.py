"""OBJ (Wavefront): vertices with optional colours, and polygon faces; without faces, a cloud of its vertices."""

from __future__ import annotations

import numpy as np

from zoo.data.point_formats.mesh import fan_triangles
from zoo.data.point_formats.raw import RawPoints, as_colors
from zoo.data.point_formats.table import parse_table, text_lines
from zoo.errors import InputError


def read_obj(path: str, data: bytes) -> RawPoints:
    """Read a text OBJ file; of a corner ``vertex/texture/normal`` only the vertex counts.

    A vertex is ``x y z``, ``x y z w`` or ``x y z r g b``. Negative indices count back from the latest vertex.

    Raises:
        InputError: no vertex, a word that is no number, a face whose index is zero, no integer or out of range.
    """
    lines = text_lines(path, data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" "))
    vertices: list[str] = []
    corners: list[int] = []
    sizes: list[int] = []
    first_line = 0
    for number, line in enumerate(lines, 1):
        kind, _, rest = line.lstrip().partition(" ")
        if kind == "v":
            vertices.append(rest)
            first_line = first_line or number
        elif kind == "f":
            try:
                indices = [int(word.partition("/")[0]) for word in rest.split()]
            except ValueError:
                indices = [0]
            if 0 in indices or max(indices, default=0) > 1 << 40:
                raise InputError(
                    f"{path}, line {number} is a face whose vertices are not 1, 2, ... or -1, -2, ...: correct it"
                )
            corners += [
                index - 1 if index > 0 else _from_the_end(path, number, index, len(vertices)) for index in indices
            ]
            sizes.append(len(indices))
    if not vertices:
        raise InputError(f"{path} holds no vertex 'v x y z': give it the suffix of its real format, or export it again")
    table = parse_table(path, vertices, first_line)
    if table.shape[1] < 3:
        raise InputError(f"{path} has {table.shape[1]} columns for a vertex: it needs x, y and z")
    colors = as_colors(table[:, 3:6]) if table.shape[1] >= 6 else None
    triangles = None
    if sizes:
        flat = np.array(corners, dtype=np.int64)
        triangles = fan_triangles(path, flat, np.array(sizes, dtype=np.int64), len(table))
    return RawPoints(table[:, :3], colors, triangles=triangles)


def _from_the_end(path: str, number: int, index: int, num_vertices: int) -> int:
    if -index > num_vertices:
        raise InputError(
            f"{path}, line {number} is a face with vertex {index} of {num_vertices}: correct it or export again"
        )
    return num_vertices + index
