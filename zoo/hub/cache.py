"""The cache of weights: a folder a name, with the file in our layout and a record of where it came from.

A file is hashed when it enters the cache and by ``zoo verify``; its size and time of change say in between that it is
still the same. A file without a record that fits is as good as none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from zoo.data.outputs import replacing
from zoo.data.transfer import cache_folder
from zoo.errors import CheckpointError, InputError
from zoo.weights import file_sha256

RECORD_NAME = "record.json"


@dataclass(frozen=True)
class Record:
    """What is known of one file.

    Attributes:
        name: what it is called by: "arch.tag", or "hf-hub:owner/repo@commit".
        path: the file in our layout; a path within the record's folder is relative to it.
        sha256: of that file.
        size: of that file, in bytes.
        mtime_ns: when it was last changed, as the file system says.
        found_at: the address of the source that it came from.
        source_sha256: of the file that came from there.
        is_published: whether that hash was published with the file; otherwise it was recorded at the first download.
        first_seen: the hashes of what first came from each source, by the source.
    """

    name: str
    path: str
    sha256: str
    size: int
    mtime_ns: int
    found_at: str
    source_sha256: str
    is_published: bool
    first_seen: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Where the file came from and what vouches for it, for people."""
        if self.is_published:
            return f"{self.found_at} (its sha256 is the published one)"
        return f"{self.found_at} (its sha256 was recorded at the first download, none is published)"


class Entry:
    """The place of one name in the cache.

    Args:
        name: as in a `Record`.

    Attributes:
        folder: which need not exist.
    """

    def __init__(self, name: str):
        self.name = name
        self.folder = cache_folder("weights") / name.replace(":", "--").replace("/", "--")

    def read(self) -> Record | None:
        """The record, or None where there is none that can be read."""
        try:
            record = Record(**json.loads((self.folder / RECORD_NAME).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return record if record.name == self.name else None

    def file(self, record: Record) -> Path:
        """The path of the file that ``record`` is of."""
        return self.folder / record.path

    def intact(self) -> Record | None:
        """The record, where its file is still the one that it is of."""
        record = self.read()
        if record is None:
            return None
        try:
            status = self.file(record).stat()
            if (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns):
                return record
        except OSError:
            return None
        if not self.is_unchanged(record):
            return None
        record = dataclasses.replace(record, mtime_ns=status.st_mtime_ns)  # a copy of the cache has other times
        with contextlib.suppress(OSError):
            self._write(record)
        return record

    def is_unchanged(self, record: Record) -> bool:
        """Whether the file has the hash that it entered the cache with; it is hashed."""
        try:
            return file_sha256(self.file(record)) == record.sha256
        except OSError:
            return False

    def enter(self, path: Path, found_at: str, source: str, source_sha256: str, is_published: bool) -> Record:
        """Remember ``path`` as the file of this name.

        Args:
            path: the file; it is hashed.
            found_at: the address that it came from.
            source: the source that the address belongs to.
            source_sha256: of what came from there.
            is_published: whether that is the published hash.
        """
        before = self.read()
        status = path.stat()
        record = Record(
            self.name,
            path.name if path.parent == self.folder else str(path),
            file_sha256(path),
            status.st_size,
            status.st_mtime_ns,
            found_at,
            source_sha256,
            is_published,
            {**(before.first_seen if before else {}), source: source_sha256},
        )
        self._write(record)
        return record

    def check(self, source: str, sha256: str, published: str = "") -> None:
        """Refuse a file of another hash than is published, or, where none is, than the first one from the same source.

        Raises:
            CheckpointError: it is another file.
        """
        if published:
            if sha256 != published:
                raise CheckpointError(
                    f"{source}: its sha256 is {sha256}, the published one is {published}: it was changed or damaged on "
                    "the way; try again, and tell its owner if that does not help"
                )
            return
        before = self.read()
        first = before.first_seen.get(source) if before else None
        if first and sha256 != first:
            raise CheckpointError(
                f"{source}: is not the file that was downloaded first, its sha256 is {sha256} and was {first}; if you "
                f"know that the change is meant, delete {self.folder}"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A block that one process at a time is in.

        Raises:
            InputError: the cache cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written ({error.strerror}): name another folder in ZOO_CACHE"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, record: Record) -> None:
        with replacing(self.folder / RECORD_NAME) as part:
            part.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def entries() -> list[Entry]:
    """All names in the cache, in order."""
    found = []
    for path in sorted(cache_folder("weights").glob(f"*/{RECORD_NAME}")):
        try:
            name = json.loads(path.read_text())["name"]
        except (OSError, ValueError, TypeError, KeyError):
            name = path.parent.name
        if isinstance(name, str) and re.fullmatch(r"[\w.:/@-]+", name):
            found.append(Entry(name))
    return found
