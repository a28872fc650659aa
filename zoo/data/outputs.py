"""Writing files: refused before any work where it cannot succeed, and then whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import InputError


def check_output(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The path of a file to write.

    Args:
        path: the file; it need not exist.
        suffixes: what its name may end in, in lower case.

    Raises:
        InputError: its name ends in something else, it is a folder, or there is no folder for it, or none that can be
            written to.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes or path.is_dir():
        raise InputError(f"{path} cannot be written: give the name of a file that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: make the folder {path.parent} first")
    _probe(path.parent)
    return path


def check_folder(path: str | os.PathLike[str]) -> None:
    """Make the folder ``path`` for files that are written later.

    Raises:
        InputError: it cannot be made, or nothing can be written there.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written to ({error.strerror}); choose another folder") from error
    _probe(path)


def _probe(folder: str | os.PathLike[str]) -> None:
    """Raises InputError where no file can be written to the folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to: it takes the place of ``path`` at the end, and goes away after an error."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
