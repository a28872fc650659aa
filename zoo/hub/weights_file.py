"""Safetensors files of weights, the only kind that is written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from zoo.convert.load import ALIGNMENT
from zoo.data.outputs import replacing
from zoo.errors import CheckpointError
from zoo.weights import WeightsSpec, verify

WEIGHTS_NAME = "model.safetensors"
LENGTH_BYTES = 8  # in front of the header
PLAIN = {"format": "pt"}


def load_weights(path: Path, spec: WeightsSpec) -> dict[str, Tensor]:
    """The tensors of the file at ``path`` after its hash was found right.

    Raises:
        CheckpointError: the file is missing, is another, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    verify(path, spec)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: is no safetensors file ({error}); get it again") from error
    return tensors


def write_weights(path: Path, state_dict: dict[str, Tensor], metadata: Mapping[str, str] = PLAIN) -> None:
    """Write tensors to the safetensors file ``path``, as a whole or not at all.

    They lie in it as they would in memory, as far as the format lets them, so that a model need not copy them.

    Args:
        path: the file.
        state_dict: the tensors by name.
        metadata: for the header.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    # Copies: safetensors takes no tensors that share memory.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state_dict.items()
    }
    with replacing(path) as part, open(part, "wb") as file:
        file.writelines(_aligned(save(state, metadata=dict(metadata))))


def _aligned(data: bytes) -> list[bytes | memoryview]:
    """The pieces of a safetensors file whose tensors begin at multiples of ``ALIGNMENT``; small odd ones come last."""
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    header, pieces, offset = json.loads(data[LENGTH_BYTES:end]), [], 0
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # the library's order is random
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    for name, (first, last) in sorted(places.items(), key=lambda place: (place[1][1] - place[1][0]) % ALIGNMENT != 0):
        pieces.append(memoryview(data)[end + first : end + last])
        header[name]["data_offsets"] = [offset, offset + last - first]
        offset += last - first
    text = json.dumps(header).encode()
    text += b" " * (-(LENGTH_BYTES + len(text)) % ALIGNMENT)  # the format allows spaces there
    return [len(text).to_bytes(LENGTH_BYTES, "little"), text, *pieces]


def hashes(path: Path) -> tuple[str, ...]:
    """The SHA-256 of a safetensors file, then those that files of the same tensors have had.

    They are the file without its direction of shifts, and as the format's own library lays the tensors out.
    """
    from safetensors.torch import load, save

    data = path.read_bytes()
    plain = save(load(data), metadata=PLAIN)
    return tuple(hashlib.sha256(form).hexdigest() for form in (data, b"".join(_aligned(plain)), plain))
