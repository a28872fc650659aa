"""Text to numbers: decoding, comments, and an error that names the line."""

from __future__ import annotations

import numpy as np

from zoo.errors import InputError


def text_lines(path: str, data: bytes, comments: tuple[str, ...] = ("#",)) -> list[str]:
    """Decode UTF-8 and split into lines; commas and semicolons become spaces, what follows a comment mark is cut.

    Raises:
        InputError: the bytes are not UTF-8 text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"{path} is not UTF-8 text: save it as plain text, or give it the suffix of its real format")
    text = text.replace(",", " ").replace(";", " ")
    lines = text.splitlines()
    for mark in comments:
        if mark in text:
            lines = [line.split(mark, 1)[0] for line in lines]
    return lines


def parse_table(path: str, lines: list[str], first_line: int = 1) -> np.ndarray:
    """Numbers in rows of equal length, float64 [N, C]; blank lines are skipped.

    Args:
        path: the file, for the error.
        lines: its rows.
        first_line: the number of ``lines[0]`` in the file, for the error.

    Raises:
        InputError: a word that is no number, or a row longer or shorter than the first; the text names the line.
    """
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} holds no points: give a file with at least one")
    try:
        return np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        raise _diagnose(path, lines, first_line) from None


def is_number(word: str) -> bool:
    """Whether ``word`` reads as a number, nan and inf included."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _diagnose(path: str, lines: list[str], first_line: int) -> InputError:
    """The error for the first line that is wrong."""
    columns = 0
    for number, line in enumerate(lines, first_line):
        words = line.split()
        wrong = next((word for word in words if not is_number(word)), None)
        if wrong is not None:
            return InputError(f"{path}, line {number}: {wrong[:20]!r} is not a number; correct the line or remove it")
        if words and columns and len(words) != columns:
            return InputError(
                f"{path}, line {number} has {len(words)} columns where the lines before have {columns}: "
                "correct the line or remove it"
            )
        columns = columns or len(words)
    return InputError(f"{path} is not a table of numbers: export it again")
