"""Checkpoint files such as nobody would write by accident."""

import io
import pickle
import zipfile
from pathlib import Path

import torch

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def zip_file(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A file in today's format around a pickle that is written by hand."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for name, data in (records or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path


def legacy_file(path: Path, pickled: bytes, keys: tuple[str, ...] = (), storages: bytes = b"") -> Path:
    """A file in the format before PyTorch 1.6 around a pickle that is written by hand."""
    head = b"".join(pickle.dumps(item, 2) for item in (MAGIC, PROTOCOL, {"little_endian": True}))
    path.write_bytes(head + pickled + pickle.dumps(list(keys), 2) + storages)
    return path


class _Pickler(pickle.Pickler):
    """Writes storages as ``torch.save`` does, whatever they claim."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None


class Storage:
    """A storage that claims ``numel`` elements of float32."""

    def __init__(self, numel: object, key: str = "0", view: tuple = ()):
        self.pid = ("storage", torch.FloatStorage, key, "cpu", numel, *view)


class Call:
    """What is pickled as the call of ``function``; ``torch.load`` without its guard would run it."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args

    def __call__(self):
        """Be fit for the function of another call."""


def dumps(content: object, protocol: int = 2) -> bytes:
    """``content`` as ``torch.save`` pickles it."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol).dump(content)
    return buffer.getvalue()


def tensor(storage: object, offset: object, size: object, stride: object) -> Call:
    """A tensor as ``torch.save`` pickles it, whatever it claims."""
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {})
