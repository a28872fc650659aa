"""Tensors out of checkpoint files that may be damaged or hostile, without ever running what is in them."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from zoo.convert.unpickle import (
    ForbiddenCall,
    StorageRecord,
    Storages,
    Stub,
    TensorRecord,
    UnpicklingError,
    unpickle,
)
from zoo.errors import CheckpointError, InputError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
WRAPPERS = ("state_dict", "model")
MAX_NAME = 1024  # characters
AGAIN = "download it again"
AGAIN_SAFELY = "download it again from where you know it to be good"

ZIP_ERRORS = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error)

Reader = Callable[[StorageRecord], bytes]


@dataclass(frozen=True)
class RawFile:
    """What a checkpoint file holds.

    Attributes:
        format: "zip" (``torch.save``), "legacy" (``torch.save`` before version 1.6) or "safetensors".
        tensors: by name, as in the file but for a common "module." in front.
        notes: the texts under "meta", where mmaction2 keeps a network's configuration.
        metadata: the texts in the header of a safetensors file.
    """

    format: Literal["zip", "legacy", "safetensors"]
    tensors: dict[str, Tensor]
    notes: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class _Damaged(Exception):
    """Why a file cannot be read and what to do, the end of a sentence that begins with its name."""


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: a bare dictionary, or what lies under "state_dict" or "model".

    Understood are the two formats of ``torch.save`` and safetensors, told apart by their content. Objects beside the
    tensors are passed over; nothing in the file is executed.

    Raises:
        InputError: there is no such file, or it cannot be opened.
        CheckpointError: it is damaged, cut off, hostile or no checkpoint.
    """
    return read_file(path).tensors


def read_file(path: str | os.PathLike[str]) -> RawFile:
    """As :func:`read_tensors`, with the format and the notes of the file."""
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file"
            raise InputError(f"{name!r} is {kind}: name a checkpoint file")
        with open(name, "rb") as file:
            read = _read(file, name, status.st_size)
        if not all(tensor.isprintable() and len(tensor) <= MAX_NAME for tensor in read.tensors):
            raise _Damaged(f"gives a tensor a name that cannot be shown: {AGAIN_SAFELY}")
        return read
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {name!r}: check the path") from None
    except OSError as error:
        raise InputError(f"{name!r} cannot be read ({error.strerror or error}): check the file") from None
    except _Damaged as error:
        raise CheckpointError(f"{name!r} {error}") from None
    except ForbiddenCall as error:
        raise CheckpointError(
            f"{name!r} asks for {error} to be called as soon as it is opened, which is how a malicious file attacks: "
            "it was not called; delete the file"
        ) from None
    except UnpicklingError as error:
        raise CheckpointError(f"{name!r} cannot be trusted, {error}: {AGAIN_SAFELY}") from None


def _read(file: BinaryIO, name: str, size: int) -> RawFile:
    """Tell the format by the first bytes and read it."""
    head = file.read(64)
    file.seek(0)
    if not head:
        raise _Damaged(f"is empty: {AGAIN}")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(file, size)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 2**32:
        tensors, metadata = _read_safetensors(name, head, size)
        return RawFile("safetensors", _without_module(tensors), metadata=metadata)
    if head[0] == 0x80:
        return _read_legacy(file, size)
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise _Damaged("is a web page, not a checkpoint: open the link in a browser and download the file itself")
    if head.startswith(b"version https://git-lfs"):
        raise _Damaged("is only the pointer to a file: run `git lfs pull`, or download the file itself")
    raise _Damaged("is not a checkpoint (neither a file of torch.save nor safetensors): name another file")


def _read_safetensors(name: str, head: bytes, size: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file; its library checks every bound."""
    from safetensors import SafetensorError, safe_open

    header = struct.unpack("<Q", head[:8])[0]
    if header > size - 8:
        raise _Damaged(f"is cut off: it ends after {size} bytes, within its header; {AGAIN}")
    try:
        with safe_open(name, framework="pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError) as error:
        raise _Damaged(f"is damaged or cut off, it ends after {size} bytes ({error}): {AGAIN}") from None


def _read_zip(file: BinaryIO, size: int) -> RawFile:
    """A file of ``torch.save``: an uncompressed zip archive of one pickle and one record a storage."""
    try:
        archive = zipfile.ZipFile(file)
    except ZIP_ERRORS:
        raise _Damaged(f"is cut off: it ends after {size} bytes, before the end of the archive; {AGAIN}") from None
    with archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [
            entry.removesuffix("data.pkl") for entry in entries if entry.endswith("/data.pkl") or entry == "data.pkl"
        ]
        if any(entry.endswith("constants.pkl") for entry in entries):
            raise _Damaged("is a TorchScript program, which can run code: name a file that holds a state_dict")
        if len(roots) != 1:
            raise _Damaged("is an archive, but not one that torch.save wrote: name another file")

        def record(name: str, expected: int | None = None) -> bytes:
            info = entries.get(roots[0] + name)
            if info is None:
                raise _Damaged(f"lacks the record {name!r}: {AGAIN}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise _Damaged(f"holds {name!r} compressed, which torch.save never does: {AGAIN}")
            if expected is not None and info.file_size != expected:
                raise _Damaged(f"promises {expected} bytes in {name!r} and holds {info.file_size}: {AGAIN}")
            try:
                return archive.read(info)
            except ZIP_ERRORS as error:
                raise _Damaged(f"is damaged at {name!r} ({error}): {AGAIN}") from None

        if roots[0] + "byteorder" in entries and record("byteorder") != b"little":
            raise _Damaged("was written on a big-endian machine: save it again on another one")
        pickled = record("data.pkl")
        try:
            content = unpickle(io.BytesIO(pickled), len(pickled), Storages())
        except EOFError:
            raise _Damaged(f"is damaged, its index ends too soon: {AGAIN}") from None
        return RawFile("zip", _tensors(content, lambda s: record(f"data/{s.key}", _nbytes(s)), size), _notes(content))


def _read_legacy(file: BinaryIO, size: int) -> RawFile:
    """A file of ``torch.save`` before version 1.6: five pickles, then the storages one behind the other."""
    storages = Storages()
    try:
        if unpickle(file, size, storages) != LEGACY_MAGIC:
            raise _Damaged("is a pickle, but not one that torch.save wrote: name another file")
        if unpickle(file, size, storages) != LEGACY_PROTOCOL:
            raise _Damaged("has an unknown version: save it again with a newer PyTorch")
        system = unpickle(file, size, storages)
        if isinstance(system, dict) and system.get("little_endian") is False:
            raise _Damaged("was written on a big-endian machine: save it again on another one")
        content = unpickle(file, size, storages)
        keys = unpickle(file, size, storages)
    except EOFError:
        raise _Damaged(f"is cut off: it ends after {size} bytes, within its index; {AGAIN}") from None
    order = [str(key) for key in keys] if isinstance(keys, list) else []
    if sorted(order) != sorted(storages.records):
        raise _Damaged(f"is damaged, its list of storages does not fit its index: {AGAIN}")
    places: dict[str, int] = {}
    position = file.tell()
    for key in order:
        places[key] = position + 8  # behind the number of elements
        position += 8 + _nbytes(storages.records[key])
    if position > size:
        raise _Damaged(f"is cut off: it ends after {size} bytes of {position}; {AGAIN}")

    def read(storage: StorageRecord) -> bytes:
        file.seek(places[storage.key] - 8)
        (numel,) = struct.unpack("<q", file.read(8))
        if numel != storage.numel:
            raise _Damaged(f"is damaged, a storage of {storage.numel} elements has {numel}: {AGAIN}")
        return file.read(_nbytes(storage))

    def whole(storage: StorageRecord) -> bytes:
        return read(storages.records[storage.key])

    return RawFile("legacy", _tensors(content, whole, size), _notes(content))


def _tensors(content: Any, read: Reader, size: int) -> dict[str, Tensor]:
    """Find the dictionary of tensors in ``content`` and read the bytes of each, no more than ``size`` in all."""
    records = _without_module(_find_records(content))
    data: dict[str, Tensor] = {}
    left = size
    tensors: dict[str, Tensor] = {}
    for name, record in records.items():
        key, dtype = record.storage.key, record.storage.dtype
        if key not in data:
            raw = bytearray(read(record.storage))
            left -= len(raw)
            if left < 0:
                raise _Damaged(f"promises more bytes than it has: {AGAIN}")
            data[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        tensors[name] = data[key].as_strided(record.size, record.stride, record.storage.start + record.offset)
    return tensors


def _find_records(content: Any) -> dict[str, TensorRecord]:
    """The dictionary of tensors: under one of the usual names, or ``content`` itself."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict | Stub)), content)
    if isinstance(content, Stub):
        raise _Damaged(
            f"holds {content.name} in the place of its tensors, which is not rebuilt for safety: "
            "save the state_dict() of the network instead"
        )
    if not isinstance(content, dict) or not any(isinstance(value, TensorRecord) for value in content.values()):
        raise _Damaged(
            f"holds no tensors, neither on its own nor under {' or '.join(map(repr, WRAPPERS))}: name another file"
        )
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, TensorRecord):
            kind = value.name if isinstance(value, Stub) else type(value).__name__
            raise _Damaged(f"holds {kind} under {name!r} where a tensor should be: {AGAIN_SAFELY}")
    return content


def _without_module(tensors: dict[str, Any]) -> dict[str, Any]:
    """Take away the "module." that ``DataParallel`` puts in front of every name."""
    if not all(name.startswith("module.") for name in tensors):
        return tensors
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _nbytes(storage: StorageRecord) -> int:
    return storage.numel * storage.dtype.itemsize


def _notes(content: Any) -> str:
    """The texts under "meta"."""
    meta = content.get("meta") if isinstance(content, dict) else None
    return "\n".join(value for value in meta.values() if isinstance(value, str)) if isinstance(meta, dict) else ""
