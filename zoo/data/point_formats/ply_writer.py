"""Writing PLY: binary little endian, with colours and labels."""

from __future__ import annotations

import os

import numpy as np

from zoo.data.outputs import check_output, replacing
from zoo.errors import InputError

PLY_OUTPUTS = (".ply",)


def write_ply(
    path: str | os.PathLike[str], points: np.ndarray, colors: np.ndarray | None = None, labels: np.ndarray | None = None
) -> None:
    """Write a cloud that Open3D, MeshLab, CloudCompare and `read_points` read.

    Args:
        path: the file to write, which ends in .ply; it is replaced where it exists, once all is written.
        points: float [N, 3], as it is, NaN included.
        colors: uint8 [N, 3] RGB.
        labels: integers [N], as the property ``int label``.

    Raises:
        InputError: the folder does not exist, the name ends in something else, or the file cannot be written; shapes
            that do not match, colours that are not uint8, labels that are no 32-bit integers.
    """
    target = check_output(path, PLY_OUTPUTS)
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"the points to write are of shape {list(points.shape)}: give x, y and z, [N, 3]")
    columns: list[tuple[str, str, str, np.ndarray]] = [
        (axis, "float", "<f4", points[:, i]) for i, axis in enumerate("xyz")
    ]
    if colors is not None:
        colors = np.asarray(colors)
        if colors.shape != points.shape or colors.dtype != np.uint8:
            raise InputError(
                f"the colours to write are {colors.dtype} {list(colors.shape)}: give uint8 {list(points.shape)}"
            )
        columns += [(name, "uchar", "u1", colors[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != points.shape[:1] or labels.dtype.kind not in "iu":
            raise InputError(
                f"the labels to write are {labels.dtype} {list(labels.shape)}: give integers [{len(points)}]"
            )
        if labels.size and not -(2**31) <= int(labels.min()) <= int(labels.max()) < 2**31:
            raise InputError("the labels to write go beyond 32 bits: give class numbers")
        columns.append(("label", "int", "<i4", labels))
    records = np.empty(len(points), dtype=[(name, kind) for name, _, kind, _ in columns])
    for name, _, _, values in columns:
        records[name] = values
    properties = "".join(f"property {kind} {name}\n" for name, kind, _, _ in columns)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    try:
        with replacing(target) as part:
            part.write_bytes(header.encode("ascii") + records.tobytes())
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}): choose another place") from None
