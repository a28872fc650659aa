"""OFF meshes, also with the header that ModelNet runs together with its counts (``OFF700 664 0``)."""

from __future__ import annotations

import re

import numpy as np

from zoo.data.point_formats.mesh import triangles_from_lines
from zoo.data.point_formats.raw import RawPoints, as_colors, too_short
from zoo.data.point_formats.table import parse_table, text_lines
from zoo.errors import InputError

_HEADER = re.compile(r"\s*(ST)?(C)?(N)?OFF(?![A-Za-z])(.*)")


def read_off(path: str, data: bytes) -> RawPoints:
    """Read a text OFF file: OFF, COFF (vertex colours), NOFF (vertex normals), CNOFF; colours of faces are skipped.

    Raises:
        InputError: no OFF, more vertices or faces promised than there are, a negative count, a word that is no
            number, a face with an index out of range.
    """
    if b" BINARY" in data[:40].upper():
        raise InputError(f"{path} is a binary OFF file, which is not read: export it as text")
    lines = text_lines(path, data)
    filled = [i for i, line in enumerate(lines) if line.strip()]
    header = _HEADER.fullmatch(lines[filled[0]].upper()) if filled else None
    if header is None:
        raise InputError(f"{path} is not an OFF file: give it the suffix of its real format, or export it again")
    counts_line, body = (
        (header[4], filled[1:]) if header[4].strip() else (lines[filled[1]] if filled[1:] else "", filled[2:])
    )
    words = counts_line.split()
    if len(words) < 2 or not all(word.isascii() and word.isdigit() and len(word) < 20 for word in words):
        raise InputError(f"{path} does not begin with its numbers of vertices and faces: export it again")
    num_vertices, num_faces = int(words[0]), int(words[1])
    if num_vertices + num_faces > len(body):
        raise too_short(path, num_vertices + num_faces, "vertices and faces")
    if not num_vertices:
        raise InputError(f"{path} holds no points: give a file with at least one vertex")
    table = parse_table(path, [lines[i] for i in body[:num_vertices]], body[0] + 1)
    if table.shape[1] < 3:
        raise InputError(f"{path} has {table.shape[1]} columns for a vertex: it needs x, y and z")
    normals = table[:, 3:6] if header[3] and table.shape[1] >= 6 else None
    first = 6 if header[3] else 3
    colors = table[:, first : first + 3] if header[2] and table.shape[1] >= first + 3 else None
    triangles = None
    if num_faces:
        rows = [lines[i] for i in body[num_vertices : num_vertices + num_faces]]
        triangles = triangles_from_lines(path, rows, body[num_vertices] + 1, num_vertices)
    return RawPoints(
        np.ascontiguousarray(table[:, :3]), None if colors is None else as_colors(colors), None, normals, triangles
    )
