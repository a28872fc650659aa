"""TXT, XYZ, CSV, PTS and ASC: one point a line, split by spaces, commas or semicolons."""

from __future__ import annotations

from zoo.data.point_formats.raw import RawPoints, from_columns, from_named, too_short
from zoo.data.point_formats.table import is_number, parse_table, text_lines
from zoo.errors import InputError


def read_text(path: str, data: bytes) -> RawPoints:
    """Read a table of points.

    A first line of names (``x,y,z,red,green,blue``) says what the columns are; without one, their number and values
    do, as `from_columns` describes. A first line with one integer alone is the number of points (PTS).

    Raises:
        InputError: no points, fewer points than the first line promises, a word that is no number, ragged rows,
            fewer than three columns, or no UTF-8 text.
    """
    lines = text_lines(path, data, comments=("#", "//"))
    start = next((i for i, line in enumerate(lines) if line.strip()), None)
    if start is None:
        raise InputError(f"{path} holds no points: give a file with at least one")
    words = lines[start].split()
    promised, names = 0, []
    if len(words) == 1 and words[0].isascii() and words[0].isdigit() and len(words[0]) < 20:
        promised = int(words[0])
    elif not any(is_number(word) for word in words):
        names = [word.strip("\"'").lower() for word in words]
    table = parse_table(path, lines[start + 1 :], start + 2) if promised or names else parse_table(path, lines[start:])
    if len(table) < promised:
        raise too_short(path, promised)
    if set("xyz") <= set(names) and len(names) == table.shape[1]:
        return from_named(path, dict(zip(names, table.T, strict=True)))
    return from_columns(path, table[: promised or None], intensity_first=path.lower().endswith(".pts"))
