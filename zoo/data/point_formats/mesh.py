"""Meshes: polygons to triangles, and points drawn from the surface by area."""

from __future__ import annotations

import numpy as np

from zoo.data.point_formats.raw import RawPoints
from zoo.errors import InputError


def fan_triangles(path: str, flat: np.ndarray, sizes: np.ndarray, num_vertices: int) -> np.ndarray:
    """Split polygons into fans of triangles around their first vertex.

    Args:
        path: the file, for the error.
        flat: the polygons' vertex indices one after another, int64 [sum(sizes)].
        sizes: corners of each polygon, int64 [F]; below three there is no triangle.
        num_vertices: how many vertices there are.

    Returns:
        int64 [T, 3]

    Raises:
        InputError: an index out of range.
    """
    wrong = (flat < 0) | (flat >= num_vertices)
    if wrong.any():
        raise InputError(
            f"{path} has a face with vertex {flat[wrong][0]}, but {num_vertices} vertices from 0 on: export it again"
        )
    counts = np.maximum(sizes - 2, 0)
    polygon = np.repeat(np.arange(len(sizes)), counts)
    corner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = (np.cumsum(sizes) - sizes)[polygon]
    return np.stack([flat[first], flat[first + corner + 1], flat[first + corner + 2]], axis=1)


def triangles_from_lines(path: str, lines: list[str], first_line: int, num_vertices: int, skip: int = 0) -> np.ndarray:
    """Triangles [T, 3] of text lines ``k i1 ... ik``, with ``skip`` words before k and any after.

    Raises:
        InputError: a line with fewer words than it promises, a word that is no integer, an index out of range.
    """
    if len({line.count(" ") for line in lines}) == 1:
        try:
            table = np.loadtxt(lines, dtype=np.int64, comments=None, ndmin=2)
        except ValueError:
            table = np.zeros((0, 0), dtype=np.int64)
        if table.size and skip < table.shape[1]:
            size = int(table[0, skip])
            if 0 <= size < table.shape[1] - skip and (table[:, skip] == size).all():
                flat = table[:, skip + 1 : skip + 1 + size]
                return fan_triangles(path, flat.ravel(), np.full(len(flat), size), num_vertices)
    flat_words: list[str] = []
    sizes = []
    for number, line in enumerate(lines, first_line):
        words = line.split()[skip:]
        size = int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 10 else -1
        if not 0 <= size < len(words):
            raise InputError(
                f"{path}, line {number} is not a face 'k i1 ... ik' of k vertices: correct it or export again"
            )
        sizes.append(size)
        flat_words += words[1 : size + 1]
    try:
        flat = np.array(flat_words, dtype=np.str_).astype(np.int64) if flat_words else np.zeros(0, dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{path} has faces whose vertices are no integers: export it again") from None
    return fan_triangles(path, flat, np.array(sizes, dtype=np.int64), num_vertices)


def sample_mesh(path: str, mesh: RawPoints, num_samples: int) -> RawPoints:
    """Draw points uniformly from the surface of a mesh; the same mesh always gives the same points.

    Triangles are drawn in proportion to their area and points within them uniformly (Osada et al., "Shape
    distributions", 2002, equation 1). Colours and intensities are interpolated; the normals are the triangles'.
    Without triangles the cloud is given back as it is.

    Raises:
        InputError: the surface has no area.
    """
    if mesh.triangles is None:
        return mesh
    corners = mesh.xyz.astype(np.float64)[mesh.triangles]
    with np.errstate(all="ignore"):
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        doubled = np.linalg.norm(cross, axis=1)
    doubled[~np.isfinite(doubled)] = 0
    total = np.cumsum(doubled)
    if not total.size or not 0 < total[-1] < np.inf:
        raise InputError(
            f"{path} is a mesh without area: give one with faces of some size, or mesh_samples=0 for its vertices"
        )
    rng = np.random.default_rng(0)
    chosen = np.searchsorted(total, rng.random(num_samples) * total[-1], side="right").clip(max=len(total) - 1)
    root, along = np.sqrt(rng.random(num_samples)), rng.random(num_samples)
    weights = np.stack([1 - root, root * (1 - along), root * along], axis=1)
    colors = intensity = None
    if mesh.colors is not None:
        colors = np.rint(_interpolate(mesh.colors[mesh.triangles[chosen]], weights)).astype(np.uint8)
    if mesh.intensity is not None:
        intensity = _interpolate(mesh.intensity[mesh.triangles[chosen], None], weights)[:, 0]
    return RawPoints(_interpolate(corners[chosen], weights), colors, intensity, cross[chosen] / doubled[chosen, None])


def _interpolate(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Corner values [M, 3, C] by barycentric weights [M, 3] to [M, C]."""
    return np.einsum("mkc,mk->mc", values.astype(np.float64), weights)
