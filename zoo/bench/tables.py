"""Figures on paper: the same rows for programs, as CSV, and for people, as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")


def write_tables(title: str, rows: Sequence[Mapping[str, object]], about: Mapping[str, str], path: Path) -> None:
    """Write ``path``.csv and ``path``.md.

    Args:
        title: of the Markdown page.
        rows: at least one; the keys are the columns.
        about: what holds for all rows, such as the machine; in the CSV it is repeated in each.
        path: without a suffix; the folder is made where it is missing.
    """
    columns = list(rows[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += markdown_table(columns, [[str(row[column]) for column in columns] for row in rows])
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in rows]


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """The items by their key, in order."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
