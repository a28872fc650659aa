"""A pickle machine that runs nothing: tensors become records of where their bytes lie, everything else an inert stub.

Python's own unpickler calls whatever a file names. This one calls only the functions of ``ALLOWED``, which are all in
this file, keeps no object but plain containers, and bounds what it reads, so that a file can neither run code nor
exhaust the memory.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import torch

UnpicklingError = pickle.UnpicklingError

MAX_BYTES = 512 * 2**20
MAX_READS = 10_000_000
MAX_LINE = 64 * 2**10
FORBIDDEN_MODULES = frozenset(
    {"os", "posix", "nt", "subprocess", "commands", "pty", "sys", "socket", "shutil"}
    | {"runpy", "importlib", "ctypes", "webbrowser", "code", "marshal"}
)
FORBIDDEN_BUILTINS = frozenset({"eval", "exec", "execfile", "compile", "open", "__import__", "breakpoint"})
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}


class ForbiddenCall(pickle.UnpicklingError):
    """The file names a function that no checkpoint needs and that an attack would call."""


class Stub:
    """What stands for an object that is not rebuilt; it takes any state and keeps none.

    Attributes:
        name: the dotted name of the class or function that the file asked for.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class StorageRecord:
    """A storage that a file promises: ``numel`` elements of ``dtype``, ``start`` elements behind those of ``key``."""

    key: str
    dtype: torch.dtype
    numel: int
    start: int = 0


@dataclass(frozen=True)
class TensorRecord:
    """A tensor that a file promises: a view of ``storage``, in elements, checked to lie inside it."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Allowed:
    """One of the functions below, under the name that files give it."""

    name: str
    call: Callable[..., Any]


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> TensorRecord:
    """What ``torch._utils._rebuild_tensor*`` would make of these arguments."""
    if not isinstance(storage, StorageRecord) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise pickle.UnpicklingError("a tensor is described by something else than a storage and two tuples")
    if len(size) != len(stride) or len(size) > 16 or not all(_is_count(n) for n in (offset, *size, *stride)):
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    assert isinstance(offset, int)  # for the type checker: _is_count has just seen to it
    if math.prod(size) > storage.numel:
        raise pickle.UnpicklingError(f"a tensor of shape {list(size)} claims more elements than its storage has")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if offset > storage.numel or (math.prod(size) and last >= storage.numel):
        raise pickle.UnpicklingError(f"a tensor of shape {list(size)} reaches beyond its storage")
    return TensorRecord(storage, offset, size, stride)


def _parameter(data: object, *_: object) -> object:
    """What ``torch._utils._rebuild_parameter*`` would make: the tensor itself."""
    return data


def _from_type(function: object, _type: object, args: object, _state: object) -> object:
    """What ``torch._tensor._rebuild_from_type_v2`` would make, the subclass left out."""
    if isinstance(function, _Allowed) and isinstance(args, tuple):
        return function.call(*args)
    return Stub("torch._tensor._rebuild_from_type_v2")


def _mapping(pairs: object = ()) -> dict[Any, Any]:
    """An ordered dictionary; Python 2 passes its items here, Python 3 sets them afterwards."""
    items = [item for item in pairs if isinstance(item, list | tuple)] if isinstance(pairs, list | tuple) else []
    return {item[0]: item[1] for item in items if len(item) == 2 and _is_key(item[0])}


def _default_mapping(*_: object) -> dict[Any, Any]:
    """A dictionary without its default factory."""
    return {}


def _bytes(text: object, encoding: object = "latin1") -> bytes:
    """How protocol 2 writes bytes: text and the codec's name."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are written with another codec than latin1")
    return text.encode("latin1")


def _size(dimensions: object = ()) -> tuple[Any, ...]:
    """A ``torch.Size``."""
    return dimensions if isinstance(dimensions, tuple) else ()


ALLOWED: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _default_mapping,
    "_codecs.encode": _bytes,
}


def _is_count(value: object) -> bool:
    """Whether ``value`` is a whole number from 0 to 2**62."""
    return type(value) is int and 0 <= value < 2**62


def _is_key(value: object) -> bool:
    """Whether ``value`` may be a key: hashing a deeply nested tuple would overflow the stack."""
    return value is None or isinstance(value, str | bytes | int | float)


@dataclass
class _Source:
    """The file behind the machine, with an end to what it gives."""

    file: BinaryIO
    bytes_left: int
    reads_left: int = MAX_READS

    def read(self, size: int) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise pickle.UnpicklingError("it holds far more objects than a checkpoint has")
        if size > self.bytes_left:
            raise EOFError
        data = self.file.read(size)
        self.bytes_left -= len(data)
        if len(data) < size:
            raise EOFError
        return data

    def readline(self) -> bytes:
        line = self.file.readline(min(MAX_LINE, self.bytes_left))
        self.bytes_left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError
        return line


@dataclass
class Storages:
    """The storages that a file has named, by key: those of the views count for the storage that they look into."""

    records: dict[str, StorageRecord] = field(default_factory=dict)

    def add(self, record: StorageRecord) -> None:
        """Remember ``record``; two that disagree about one key make the file unreadable."""
        if self.records.setdefault(record.key, record) != record:
            raise pickle.UnpicklingError(f"the storage {record.key!r} is described in two ways")


class _Machine(pickle._Unpickler):
    """Python's own pickle machine, written in Python, with every operation replaced that could call or allocate."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    if TYPE_CHECKING:
        stack: list[Any]
        append: Callable[[Any], None]
        pop_mark: Callable[[], list[Any]]
        read: Callable[[int], bytes]

    def __init__(self, source: _Source, storages: Storages) -> None:
        super().__init__(source, encoding="utf-8", errors="replace")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}"
        root = module.split(".")[0]
        is_builtin = root in ("builtins", "__builtin__", "io", "_io") and name in FORBIDDEN_BUILTINS
        if is_builtin or root in FORBIDDEN_MODULES or module == "torch.hub":
            raise ForbiddenCall(dotted)
        if module in ("torch", "torch.cuda", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        return _Allowed(dotted, ALLOWED[dotted]) if dotted in ALLOWED else Stub(dotted)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise pickle.UnpicklingError("it refers to something else than a storage")
        if pid[0] == "module":  # a pickled network: (name, class, file, source text)
            return pid[1]
        _, dtype, key, _, numel, *view = pid
        key = str(key) if type(key) is int else key
        if (
            pid[0] != "storage"
            or not isinstance(dtype, torch.dtype)
            or not isinstance(key, str)
            or not _is_count(numel)
        ):
            raise pickle.UnpicklingError("it refers to something else than a storage")
        record = StorageRecord(key, dtype, numel)
        self.storages.add(record)
        if not view or view[0] is None:
            return record
        _, start, length = view[0]
        if not _is_count(start) or not _is_count(length) or start + length > numel:
            raise pickle.UnpicklingError(f"a part of the storage {key!r} reaches beyond it")
        return StorageRecord(key, dtype, length, start)

    def _instantiate(self, klass: Any, args: Any) -> None:
        self.append(self._result(klass, tuple(args)))

    @staticmethod
    def _result(function: Any, args: Any) -> Any:
        """What calling ``function`` gives: one of ours is called, of anything else only the name is kept."""
        if isinstance(function, _Allowed):
            if not isinstance(args, tuple):
                raise pickle.UnpicklingError(f"{function.name} is called with something else than a tuple")
            return function.call(*args)
        return Stub(function.name if isinstance(function, Stub) else type(function).__name__)

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._result(self.stack[-1], args)

    def _reduce_with_keywords(self) -> None:
        self.stack.pop()
        self._reduce()

    def _drop_state(self) -> None:
        self.stack.pop()

    def _append(self) -> None:
        self._extend_top([self.stack.pop()])

    def _append_all(self) -> None:
        items = self.pop_mark()
        self._extend_top(items)

    def _extend_top(self, items: list[Any]) -> None:
        """Add ``items`` to the list or set on top; a stub takes none."""
        top = self.stack[-1]
        if type(top) is list:
            top.extend(items)
        elif type(top) is set:
            top.update(item for item in items if _is_key(item))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update_top([key, value])

    def _set_all(self) -> None:
        items = self.pop_mark()
        self._update_top(items)

    def _update_top(self, items: list[Any]) -> None:
        """Put the alternating keys and values into the dictionary on top; a stub takes none."""
        if type(self.stack[-1]) is dict:
            self.stack[-1].update({k: v for k, v in zip(items[::2], items[1::2], strict=True) if _is_key(k)})

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update_top(items)

    def _frozen_set(self) -> None:
        self.append(frozenset(item for item in self.pop_mark() if _is_key(item)))

    def _skip_frame(self) -> None:
        self.read(8)

    def _byte_array(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it uses an operation that no checkpoint needs")


for _operations, _method in {
    (pickle.REDUCE, pickle.NEWOBJ): _Machine._reduce,
    (pickle.NEWOBJ_EX,): _Machine._reduce_with_keywords,
    (pickle.BUILD,): _Machine._drop_state,
    (pickle.APPEND,): _Machine._append,
    (pickle.APPENDS, pickle.ADDITEMS): _Machine._append_all,
    (pickle.SETITEM,): _Machine._set_item,
    (pickle.SETITEMS,): _Machine._set_all,
    (pickle.DICT,): _Machine._dictionary,
    (pickle.FROZENSET,): _Machine._frozen_set,
    (pickle.FRAME,): _Machine._skip_frame,
    (pickle.EXT1, pickle.EXT2, pickle.EXT4): _Machine._refuse,
    (pickle.NEXT_BUFFER, pickle.READONLY_BUFFER): _Machine._refuse,
    (pickle.BYTEARRAY8,): _Machine._byte_array,
}.items():
    for _operation in _operations:
        _Machine.dispatch[_operation[0]] = _method


def unpickle(file: BinaryIO, size: int, storages: Storages) -> Any:
    """Read one pickle from where ``file`` stands and leave it behind its end.

    Args:
        file: open for reading in binary mode.
        size: how many bytes the pickle can have at most.
        storages: where the storages that it names are noted.

    Returns:
        Plain containers with :class:`TensorRecord` for tensors and :class:`Stub` for all other objects.

    Raises:
        ForbiddenCall: it names a function such as ``os.system``.
        EOFError: it ends too soon.
        pickle.UnpicklingError: it is no pickle, or describes something impossible.
    """
    try:
        return _Machine(_Source(file, min(size, MAX_BYTES)), storages).load()
    except (pickle.UnpicklingError, EOFError, OSError):
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError, struct.error) as error:
        raise pickle.UnpicklingError(f"it is not in order ({type(error).__name__})") from None
