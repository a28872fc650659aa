"""PLY: ascii and binary of both byte orders, with vertex properties of any order and type, and polygon faces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from zoo.data.point_formats.mesh import fan_triangles, triangles_from_lines
from zoo.data.point_formats.raw import RawPoints, from_named, too_short
from zoo.data.point_formats.table import parse_table, text_lines
from zoo.errors import InputError

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER = 1 << 20
_FACE_LISTS = ("vertex_indices", "vertex_index")


@dataclass
class _Property:
    """One property; ``count_type`` is that of the length before a list."""

    name: str
    type: str
    count_type: str | None = None


@dataclass
class _Element:
    """One element of the header, such as vertex or face."""

    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(prop.count_type for prop in self.properties)

    def smallest(self, order: str) -> int:
        """Bytes that a record takes at least: in text a digit and a separator a property."""
        if not order:
            return 2 * len(self.properties)
        return sum(np.dtype(prop.count_type or prop.type).itemsize for prop in self.properties)


def read_ply(path: str, data: bytes) -> RawPoints:
    """Read a PLY file; elements and properties that are not understood are skipped.

    Raises:
        InputError: no PLY, an unknown type, a negative count, more elements promised than the file holds, no x, y
            or z, a face with an index out of range, text that is no number.
    """
    order, elements, offset, header_lines = _parse_header(path, data)
    lines = [line for line in text_lines(path, data[offset:]) if line.strip()] if not order else []
    line = header_lines + 1
    vertices: RawPoints | None = None
    faces: tuple[np.ndarray, np.ndarray] | list[str] | None = None
    face_line = skip = 0
    for element in elements:
        remaining = len(data) - offset
        if element.count * element.smallest(order) > remaining + 1 or (not order and len(lines) < element.count):
            raise too_short(path, element.count, f"elements '{element.name}'")
        if not element.properties or not element.count:
            continue
        is_face = element.name == "face" and element.count > 0 and _face_list(element) is not None
        if not order:
            rows, lines = lines[: element.count], lines[element.count :]
            if element.name == "vertex" and rows:
                table = parse_table(path, rows, line)
                if table.shape[1] < len(element.properties):
                    raise InputError(
                        f"{path} has {table.shape[1]} columns, fewer than its header names: export it again"
                    )
                vertices = from_named(
                    path, {prop.name: table[:, i].astype(prop.type) for i, prop in enumerate(element.properties)}
                )
            elif is_face:
                faces, face_line, skip = rows, line, _words_before_list(path, element)
            line += element.count
        elif element.has_lists:
            found, offset = _read_lists(path, data, offset, element, order)
            faces = found if is_face else faces
        else:
            dtype = np.dtype([(f"{i}", order + prop.type) for i, prop in enumerate(element.properties)])
            if element.count * dtype.itemsize > remaining:
                raise too_short(path, element.count, f"elements '{element.name}'")
            if element.name == "vertex":
                records = np.frombuffer(data, dtype, element.count, offset)
                vertices = from_named(path, {prop.name: records[f"{i}"] for i, prop in enumerate(element.properties)})
            offset += element.count * dtype.itemsize
    if vertices is None:
        raise InputError(f"{path} holds no points: give a file with at least one vertex")
    if faces is None:
        return vertices
    if isinstance(faces, list):
        triangles = triangles_from_lines(path, faces, face_line, len(vertices.xyz), skip)
    else:
        triangles = fan_triangles(path, *faces, len(vertices.xyz))
    return RawPoints(vertices.xyz, vertices.colors, vertices.intensity, vertices.normals, triangles)


def _parse_header(path: str, data: bytes) -> tuple[str, list[_Element], int, int]:
    """The byte order ("" is text), the elements, where the body starts, and the header's number of lines."""
    end = data.find(b"end_header", 0, _MAX_HEADER)
    if data[:3] != b"ply" or end < 0:
        raise InputError(f"{path} is not a PLY file: give it the suffix of its real format, or export it again")
    newline = data.find(b"\n", end)
    offset = len(data) if newline < 0 else newline + 1
    lines = data[:end].decode("latin-1").splitlines()
    order: str | None = None
    elements: list[_Element] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        match words:
            case [] | ["ply"] | ["comment" | "obj_info", *_]:
                pass
            case ["format", name, *_] if name in _FORMATS:
                order = _FORMATS[name]
            case ["element", name, count] if _is_count(count):
                elements.append(_Element(name, int(count)))
            case ["property", "list", count_type, kind, name] if elements and {count_type, kind} <= _TYPES.keys():
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count_type]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case _:
                raise InputError(
                    f"{path}, line {number} of its header is not understood ({line[:60]!r}): export it again"
                )
    if order is None:
        raise InputError(f"{path} does not say its format in its header: export it again as ascii or binary PLY")
    for element in elements:
        counts = [prop.count_type for prop in element.properties if prop.count_type]
        if any(kind.startswith("f") for kind in counts) or (element.name == "vertex" and counts):
            raise InputError(
                f"{path} has a list in its element '{element.name}' that cannot be read: export it without"
            )
    return order, elements, offset, len(lines) + 1


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 20


def _face_list(element: _Element) -> str | None:
    """The name of the list of vertex indices."""
    return next((p.name for p in element.properties if p.count_type and p.name in _FACE_LISTS), None)


def _words_before_list(path: str, element: _Element) -> int:
    """How many single properties stand before the list of indices in a line of text."""
    position = [prop.name for prop in element.properties].index(_face_list(element) or "")
    if any(prop.count_type for prop in element.properties[:position]):
        raise InputError(f"{path} has another list before the vertex indices of its faces: export it without")
    return position


def _read_lists(
    path: str, data: bytes, offset: int, element: _Element, order: str
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """The index list of a binary element as (flat [sum], sizes [F]), and where the element ends."""
    wanted = _face_list(element)
    sizes = _record_sizes(path, data, offset, element, order)
    fields: list[tuple[str, str, tuple[int, ...]]] = []
    for i, (prop, size) in enumerate(zip(element.properties, sizes, strict=True)):
        if prop.count_type:
            fields.append((f"{i}#", order + prop.count_type, ()))
        fields.append((f"{i}", order + prop.type, (size,) if prop.count_type else ()))
    width = sum(np.dtype(kind).itemsize * int(np.prod(shape, dtype=object)) for _, kind, shape in fields)
    if element.count * width <= len(data) - offset and width < 1 << 30:
        records = np.frombuffer(data, np.dtype(fields), element.count, offset)
        lists = [i for i, prop in enumerate(element.properties) if prop.count_type]
        if all((records[f"{i}#"] == sizes[i]).all() for i in lists):
            index = next((i for i in lists if element.properties[i].name == wanted), lists[0])
            flat = records[f"{index}"].reshape(-1).astype(np.int64)
            return (flat, np.full(element.count, sizes[index])), offset + element.count * width
    return _read_ragged_lists(path, data, offset, element, order)


def _record_sizes(path: str, data: bytes, offset: int, element: _Element, order: str) -> list[int]:
    """How many items each property of the record at ``offset`` has; 1 for what is no list."""
    sizes = []
    for prop in element.properties:
        size = 1
        if prop.count_type:
            kind = np.dtype(order + prop.count_type)
            if offset + kind.itemsize > len(data):
                raise too_short(path, element.count, f"elements '{element.name}'")
            size = int(np.frombuffer(data, kind, 1, offset)[0])
            offset += kind.itemsize
        if size < 0:
            raise InputError(f"{path} has a list of {size} items in its element '{element.name}': export it again")
        offset += size * np.dtype(prop.type).itemsize
        if offset > len(data):
            raise too_short(path, element.count, f"elements '{element.name}'")
        sizes.append(size)
    return sizes


def _read_ragged_lists(
    path: str, data: bytes, offset: int, element: _Element, order: str
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """As `_read_lists`, record by record, for lists of different lengths."""
    signed_order = "little" if order == "<" else "big"
    wanted = _face_list(element)
    kinds = [
        (
            prop.name == wanted,
            np.dtype(order + prop.type),
            np.dtype(prop.count_type).itemsize if prop.count_type else 0,
            bool(prop.count_type) and str(prop.count_type).startswith("i"),
        )
        for prop in element.properties
    ]
    parts, sizes = [np.zeros(0, dtype=np.int64)], []
    for _ in range(element.count):
        for is_wanted, kind, count_width, signed in kinds:
            size = 1
            if count_width:
                size = int.from_bytes(data[offset : offset + count_width], signed_order, signed=signed)  # type: ignore[arg-type]
                offset += count_width
            end = offset + size * kind.itemsize
            if size < 0 or end > len(data):
                raise too_short(path, element.count, f"elements '{element.name}'")
            if is_wanted:
                parts.append(np.frombuffer(data, kind, size, offset))
                sizes.append(size)
            offset = end
    return (np.concatenate(parts).astype(np.int64), np.array(sizes, dtype=np.int64)), offset
