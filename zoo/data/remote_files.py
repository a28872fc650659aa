"""Files that lie elsewhere: read by their address, and large ones kept for a while in a folder of bounded size."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from filelock import FileLock

from zoo.errors import InputError

CACHE_BYTES = 32 << 30
TIMEOUT_S = 60.0  # without a byte, after which a connection is given up
ATTEMPTS, PAUSE_S = 3, 2.0  # before a file is given up, and between them

_NOT_THERE = (403, 404, 410)  # object stores answer 403 for what is not there, where one may not list
_Result = TypeVar("_Result")


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
            return _attempt(location, lambda file: file.read())
        return Path(location).read_bytes()
    except FileNotFoundError:
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
        self.folder, self.limit = Path(folder) if folder else _default_folder(), limit

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
                    f"{self.folder} cannot hold {_shown(location)} ({error.strerror}): make room or name another folder"
                ) from error

    def _fetch(self, location: str, path: Path, size: int | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if _is_whole(path, size):
                return
            part = Path(f"{path}.part")  # of this file alone: what a killed process left is written over
            try:
                _attempt(location, lambda file: _copy(file, part))
            except FileNotFoundError as error:
                raise InputError(f"{_shown(location)} is not there, or may not be read: check the address") from error
            if not _is_whole(part, size):
                raise InputError(
                    f"{_shown(location)} has {part.stat().st_size} bytes, but its index tells of {size}: "
                    "copy the shard there again, or write its index again"
                )
            os.replace(part, path)
            self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        """Take files away, those unused for longest first, until the rest is within the limit."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                if path.suffix not in (".lock", ".part"):
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total > self.limit and path != newest:
                path.unlink(missing_ok=True)  # who has it open reads on
                total -= size


def _attempt(location: str, action: Callable[[Any], _Result]) -> _Result:
    """What ``action`` makes of the open file; a connection that fails is tried again.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, or nothing is known about addresses of its kind.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            with _open(location) as file:
                return action(file)
        except FileNotFoundError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                raise InputError(
                    f"{_shown(location)} cannot be fetched ({error}): check the address, the connection and the disk"
                ) from error
            time.sleep(PAUSE_S * attempt)
        except (ImportError, ValueError) as error:  # of fsspec: a package for such addresses is missing, or unknown
            raise InputError(f"{_shown(location)} cannot be fetched: {error}") from error


def _open(location: str) -> Any:
    if not location.startswith(("http://", "https://")):
        import fsspec

        return fsspec.open(location, "rb")
    try:
        return urllib.request.urlopen(location, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code in _NOT_THERE:
            raise FileNotFoundError(location) from error
        raise


def _copy(source: Any, target: Path) -> None:
    """All of ``source``, or an OSError: a connection that breaks looks like the end of a file."""
    promised = getattr(source, "length", None)  # that http.client counts down
    with open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if promised is not None and file.tell() != promised:
            raise OSError(f"{file.tell()} of {promised} bytes came")


def _is_whole(path: Path, size: int | None) -> bool:
    try:
        return path.stat().st_size == size or size is None
    except FileNotFoundError:
        return False


def _default_folder() -> Path:
    try:
        general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError("there is no home folder to keep fetched files in: name a folder in ZOO_CACHE") from error
    return Path(os.environ.get("ZOO_CACHE") or Path(general) / "zoo") / "shards"


def _split_query(location: str) -> tuple[str, str, str]:
    return location.partition("?") if is_remote(location) else (location, "", "")


def _shown(location: str) -> str:
    """An address for messages, without its query, which may hold a key."""
    return _split_query(location)[0]
