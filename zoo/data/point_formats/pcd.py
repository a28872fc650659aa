"""PCD, the Point Cloud Library's format: ascii, binary and binary_compressed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zoo.data.point_formats.lzf import decompress_lzf
from zoo.data.point_formats.raw import RawPoints, from_named, too_short
from zoo.data.point_formats.table import parse_table, text_lines
from zoo.errors import InputError

_KINDS = {f"{letter}{size}": f"<{kind}{size}" for letter, kind in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)}
_KINDS |= {"F4": "<f4", "F8": "<f8"}
_MAX_HEADER = 1 << 16
_MAX_VALUES = 1 << 16


@dataclass(frozen=True)
class _Header:
    """What stands before the points; ``counts`` are the values of a field in one point."""

    fields: list[str]
    kinds: list[np.dtype]
    counts: list[int]
    num_points: int
    storage: str
    body: int
    num_lines: int

    @property
    def record_size(self) -> int:
        return sum(kind.itemsize * count for kind, count in zip(self.kinds, self.counts, strict=True))


def read_pcd(path: str, data: bytes) -> RawPoints:
    """Read a PCD file; ``rgb`` and ``rgba`` are colours packed in 32 bits, fields of several values are skipped.

    Raises:
        InputError: no PCD, a header without x, y or z, one that promises more points than the file holds, damaged
            compressed data, or text that is no number.
    """
    header = _parse_header(path, data)
    if header.storage == "ascii":
        columns = _read_ascii(path, data, header)
    elif header.storage == "binary":
        columns = _read_binary(path, data, header)
    else:
        columns = _read_compressed(path, data, header)
    for name in ("rgb", "rgba"):
        if name in columns:
            packed = _packed_bits(columns.pop(name))
            columns |= {"red": packed >> 16 & 255, "green": packed >> 8 & 255, "blue": packed & 255}
            columns |= {color: columns[color].astype(np.uint8) for color in ("red", "green", "blue")}
    return from_named(path, columns)


def _packed_bits(values: np.ndarray) -> np.ndarray:
    """Colours 0xAARRGGBB as uint32 [N], from integers or from the floats that share their bits."""
    if values.dtype.kind in "ui" or np.nanmax(values, initial=0) >= 1:
        return np.nan_to_num(values).astype(np.int64).astype(np.uint32)
    return values.astype(np.float32).view(np.uint32)


def _parse_header(path: str, data: bytes) -> _Header:
    entries: dict[str, list[str]] = {}
    position = num_lines = 0
    while "DATA" not in entries:
        newline = data.find(b"\n", position, _MAX_HEADER)
        if newline < 0:
            raise InputError(f"{path} is not a PCD file: give it the suffix of its real format, or export it again")
        words = data[position:newline].decode("latin-1").split("#", 1)[0].split()
        if words:
            entries[words[0].upper()] = words[1:]
        position, num_lines = newline + 1, num_lines + 1
    try:
        fields = entries["FIELDS"] if "FIELDS" in entries else entries["COLUMNS"]
        kinds = [np.dtype(_KINDS[a.upper() + b]) for a, b in zip(entries["TYPE"], entries["SIZE"], strict=True)]
        counts = [int(word) for word in entries.get("COUNT", ["1"] * len(fields))]
        size = [int(word) for word in (*entries["WIDTH"], *entries["HEIGHT"])]
        num_points = int(entries["POINTS"][0]) if "POINTS" in entries else size[0] * size[1]
        storage = entries["DATA"][0].lower()
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{path} has a PCD header that is incomplete or of unknown types: export it again") from None
    if not set("xyz") <= {name.lower() for name in fields}:
        raise InputError(f"{path} lacks x, y or z among its fields ({' '.join(fields)[:60]}): export it with all three")
    if not len(fields) == len(kinds) == len(counts) or storage not in ("ascii", "binary", "binary_compressed"):
        raise InputError(f"{path} has a PCD header whose lines contradict each other: export it again")
    if num_points < 0 or min(size, default=0) < 0 or min(counts, default=1) < 1 or sum(counts) > _MAX_VALUES:
        raise InputError(f"{path} has a PCD header with impossible counts: export it again")
    return _Header([name.lower() for name in fields], kinds, counts, num_points, storage, position, num_lines)


def _read_ascii(path: str, data: bytes, header: _Header) -> dict[str, np.ndarray]:
    num_columns = sum(header.counts)
    if header.num_points * 2 * num_columns > len(data) - header.body + 1:
        raise too_short(path, header.num_points)
    lines = text_lines(path, data[header.body :])
    table = parse_table(path, lines, header.num_lines + 1)
    if len(table) < header.num_points:
        raise too_short(path, header.num_points)
    if table.shape[1] != num_columns:
        raise InputError(f"{path} has {table.shape[1]} columns where its header names {num_columns}: export it again")
    columns, column = {}, 0
    for name, count in zip(header.fields, header.counts, strict=True):
        if count == 1:
            columns[name] = table[: header.num_points, column]
        column += count
    return columns


def _read_binary(path: str, data: bytes, header: _Header) -> dict[str, np.ndarray]:
    if header.num_points * header.record_size > len(data) - header.body:
        raise too_short(path, header.num_points)
    parts = zip(header.kinds, header.counts, strict=True)
    dtype = np.dtype([(f"{i}", kind, (count,)) for i, (kind, count) in enumerate(parts)])
    records = np.frombuffer(data, dtype, header.num_points, header.body)
    return {name: records[f"{i}"][:, 0] for i, name in enumerate(header.fields) if header.counts[i] == 1}


def _read_compressed(path: str, data: bytes, header: _Header) -> dict[str, np.ndarray]:
    """Compressed points lie field by field, behind the compressed and the full size."""
    total = header.num_points * header.record_size
    if len(data) < header.body + 8:
        raise too_short(path, header.num_points)
    packed, unpacked = (int(size) for size in np.frombuffer(data, "<u4", 2, header.body))
    start = header.body + 8
    if packed > len(data) - start or unpacked < total or unpacked > packed * 264:
        raise too_short(path, header.num_points)
    try:
        values = decompress_lzf(data[start : start + packed], unpacked)
    except ValueError as error:
        raise InputError(f"{path} holds damaged compressed points ({error}): copy or export it again") from None
    columns, offset = {}, 0
    for name, kind, count in zip(header.fields, header.kinds, header.counts, strict=True):
        if count == 1:
            columns[name] = np.frombuffer(values, kind, header.num_points, offset)
        offset += kind.itemsize * count * header.num_points
    return columns
