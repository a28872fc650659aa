"""Bytes from elsewhere: opened by their address, tried again where the connection fails, resumed where it broke."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import InputError
from zoo.ops.build import cache_root

TIMEOUT_S, IMPATIENT_TIMEOUT_S = 60.0, 15.0  # without a byte, after which a connection is given up
ATTEMPTS, PAUSE_S, LONGEST_PAUSE_S = 3, 2.0, 30.0  # before a file is given up, and between them
BLOCK_BYTES = 1 << 18

_NOT_THERE = (403, 404, 410)  # object stores answer 403 for what is not there, where one may not list
FOR_NOW = (408, 425, 429, 500, 502, 503, 504)
_Result = TypeVar("_Result")


class TransferError(InputError):
    """A file that cannot be fetched; the text says from where and why."""


class NotThereError(TransferError):
    """A file that is not at its address, or may not be read by anyone who asks."""


class _UnknownProtocol(Exception):
    """An address of a kind that nothing is known about."""


def read_remote(location: str) -> bytes:
    """A whole small file.

    Raises:
        NotThereError: there is none.
        TransferError: it cannot be fetched.
    """

    def read() -> bytes:
        with _open(location, {}, TIMEOUT_S) as file:
            content: bytes = file.read()
            return content

    return _attempt(location, read, patient=True)


def fetch(location: str, part: Path, *, patient: bool = True, progress: bool = False) -> None:
    """Write the file at ``location`` to ``part``, all of it.

    What an earlier attempt left in ``part``, in this process or in one that was killed, is continued where the server
    says that the file is still the same. What is needed to ask it lies in ``PART.etag`` until the end.

    Args:
        location: the address.
        part: the path to write to; no other process may write to it.
        patient: try again, and wait longer, where the other machine does not answer at all, or wishes a long pause.
        progress: show a bar on a terminal.

    Raises:
        NotThereError: there is no such file.
        TransferError: it cannot be fetched.
        InputError: there is no room for it.
    """
    timeout = TIMEOUT_S if patient else IMPATIENT_TIMEOUT_S
    _attempt(location, lambda: _continue(location, part, timeout, progress), patient)
    _validator(part).unlink(missing_ok=True)


def discard(part: Path) -> None:
    """Take away what ``fetch`` left."""
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def shown(location: str) -> str:
    """An address for messages, without its query, which may hold a key."""
    return location.partition("?")[0]


def wished_pause(headers: Mapping[str, str] | Message) -> float | None:
    """How many seconds a server wants one to wait; None where it does not say."""
    wished = headers.get("Retry-After") or ""
    return float(wished) if wished.isdecimal() else None


def cache_folder(kind: str) -> Path:
    """The folder ``kind`` in ZOO_CACHE, or in ``~/.cache/zoo``.

    Raises:
        InputError: there is no home folder, and ZOO_CACHE names none.
    """
    try:
        return cache_root() / kind
    except RuntimeError as error:
        raise InputError("there is no home folder to keep fetched files in: name a folder in ZOO_CACHE") from error


def _attempt(location: str, action: Callable[[], _Result], patient: bool) -> _Result:
    """What ``action`` gives; it is called again where the connection fails."""
    attempt = 0
    while True:
        attempt += 1
        pause = PAUSE_S * attempt
        try:
            return action()
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}".strip()
            if error.code in _NOT_THERE:
                raise NotThereError(
                    f"{shown(location)} is not there, or may not be read ({reason}): check the address"
                ) from error
            again, wished = error.code in FOR_NOW, wished_pause(error.headers)
            if wished is not None:
                reason += f", to be asked again in {wished:.0f} s"
                again &= patient or wished <= LONGEST_PAUSE_S
                pause = min(wished, LONGEST_PAUSE_S)
        except FileNotFoundError as error:
            raise NotThereError(f"{shown(location)} is not there, or may not be read: check the address") from error
        except urllib.error.URLError as error:
            again, reason = patient, str(error.reason)
        except (OSError, http.client.HTTPException) as error:
            again, reason = True, str(error) or type(error).__name__
        except (ImportError, _UnknownProtocol) as error:  # of fsspec: a package for such addresses is missing
            raise TransferError(f"{shown(location)} cannot be fetched: {error}") from error
        if not again or attempt == ATTEMPTS:
            raise TransferError(
                f"{shown(location)} cannot be fetched ({reason}): check the address and the connection"
            ) from None
        time.sleep(pause)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address of the web, but never from an encrypted one to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        kept = "https://" if req.full_url.startswith("https://") else ("http://", "https://")
        if not newurl.startswith(kept):
            reason = f"leads from {shown(req.full_url)} to {shown(newurl)}, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(location: str, headers: dict[str, str], timeout: float) -> Any:
    if location.startswith(("http://", "https://")):
        opener = urllib.request.build_opener(_SafeRedirects)
        return opener.open(urllib.request.Request(location, headers=headers), timeout=timeout)
    import fsspec

    try:
        return fsspec.open(location, "rb")
    except ValueError as error:
        raise _UnknownProtocol(str(error)) from error


def _continue(location: str, part: Path, timeout: float, progress: bool) -> None:
    """Append to ``part`` what it lacks, or begin again."""
    validator = _validator(part)
    begun = part.stat().st_size if part.is_file() and validator.is_file() else 0
    headers = {"Range": f"bytes={begun}-", "If-Range": validator.read_text()} if begun else {}
    try:
        source = _open(location, headers, timeout)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        discard(part)  # it was whole already, or the file has become shorter
        source = _open(location, {}, timeout)
    with source as file:
        if getattr(file, "status", None) != http.client.PARTIAL_CONTENT:
            begun = 0
            _begin(part, getattr(file, "headers", {}))
        _copy(file, part, begun, shown(location).rpartition("/")[2], progress)


def _begin(part: Path, headers: Any) -> None:
    """Start a new part, and note down by what the server knows this version of the file, if it says."""
    discard(part)
    etag = headers.get("ETag") or ""
    version = etag if etag.startswith('"') else headers.get("Last-Modified")
    if version:
        with _room_for(part):
            _validator(part).write_text(version)


def _copy(source: Any, part: Path, begun: int, name: str, progress: bool) -> None:
    """Append all of ``source``, or raise an OSError: a connection that breaks looks like the end of a file."""
    from tqdm import tqdm

    promised = getattr(source, "length", None)  # that http.client counts down
    total = None if promised is None else begun + promised
    disable = None if progress else True  # None: without a terminal
    with (
        _room_for(part),
        open(part, "ab") as file,
        tqdm(desc=name, total=total, initial=begun, unit="B", unit_scale=True, disable=disable) as bar,
    ):
        while block := _read(source):
            file.write(block)
            bar.update(len(block))
        came = file.tell()
    if total is not None and came != total:
        raise OSError(f"{came} of {total} bytes came")


def _read(source: Any) -> bytes:
    """The next block; an error of the connection is told from one of the disk."""
    try:
        block: bytes = source.read(BLOCK_BYTES)
    except OSError as error:
        raise http.client.HTTPException(str(error)) from error
    return block


@contextmanager
def _room_for(part: Path) -> Iterator[None]:
    """A block in which an OSError means that ``part`` cannot be written; it goes away then, and makes room."""
    try:
        yield
    except OSError as error:
        discard(part)
        raise InputError(
            f"{part.parent} has no room for {part.name} ({error.strerror}): make some, or name another folder in "
            "ZOO_CACHE"
        ) from error


def _validator(part: Path) -> Path:
    return Path(f"{part}.etag")
