"""Files that lie elsewhere: read by their address, and large ones kept for a while in a folder of bounded size."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from zoo.data.transfer import NotThereError, cache_folder, discard, fetch, read_remote, shown
from zoo.errors import InputError

CACHE_BYTES = 32 << 30


def is_remote(location: str) -> bool:
    """Whether a location is an address such as ``https://...`` or ``s3://...`` and no path."""
    return "://" in location


def beside(location: str, name: str) -> str:
    """The location of the file ``name`` in the folder of ``location``."""
    path, mark, query = _split_query(location)
    return path[: path.rfind("/") + 1] + name + mark + query


def base_name(location: str) -> str:
    """The last part of a path or an address."""
    return _split_query(location)[0].rpartition("/")[2]


def read_if_there(location: str) -> bytes | None:
    """A whole small file, or None where there is none.

    Raises:
        InputError: it is there and cannot be read.
    """
    try:
        if is_remote(location):
            return read_remote(location)
        return Path(location).read_bytes()
    except (FileNotFoundError, NotThereError):
        return None
    except OSError as error:
        raise InputError(f"{location} cannot be read ({error.strerror}): check its permissions") from error


class FileCache:
    """Remote files that were fetched whole, in a folder; those that were not used for longest make room for others.

    Any number of processes may share the folder: one of them fetches a file, the others wait for it.

    Args:
        folder: is made when it is needed; by default ``shards`` in ZOO_CACHE, or in ``~/.cache/zoo``.
        limit: bytes that the files may have together, beside the one that was fetched last.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int = CACHE_BYTES) -> None:
        self.folder, self.limit = Path(folder) if folder else cache_folder("shards"), limit

    def open(self, location: str, size: int | None = None) -> BinaryIO:
        """The file at ``location``, opened; it is fetched where it is not here.

        Args:
            location: its address.
            size: its bytes, where they are known: a file of another size is not the one that is meant.

        Raises:
            InputError: it cannot be fetched, has another size, or there is no room for it.
        """
        path = self.folder / f"{hashlib.sha256(location.encode()).hexdigest()[:16]}-{base_name(location)}"
        while True:
            try:
                if not _is_whole(path, size):
                    self._fetch(location, path, size)
                with contextlib.suppress(FileNotFoundError):  # where another process has just made room
                    os.utime(path)
                    return path.open("rb")
            except OSError as error:
                raise InputError(
                    f"{self.folder} cannot hold {shown(location)} ({error.strerror}): make room or name another folder"
                ) from error

    def _fetch(self, location: str, path: Path, size: int | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if _is_whole(path, size):
                return
            part = Path(f"{path}.part")  # of this file alone: what a killed process left is continued
            fetch(location, part)
            if not _is_whole(part, size):
                came = part.stat().st_size
                discard(part)
                raise InputError(
                    f"{shown(location)} has {came} bytes, but its index tells of {size}: "
                    "copy the shard there again, or write its index again"
                )
            os.replace(part, path)
            self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        """Take files away, those unused for longest first, until the rest is within the limit."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                if path.suffix not in (".lock", ".part", ".etag"):
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total > self.limit and path != newest:
                path.unlink(missing_ok=True)  # who has it open reads on
                total -= size


def _is_whole(path: Path, size: int | None) -> bool:
    try:
        return path.stat().st_size == size or size is None
    except FileNotFoundError:
        return False


def _split_query(location: str) -> tuple[str, str, str]:
    return location.partition("?") if is_remote(location) else (location, "", "")
