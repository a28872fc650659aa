"""A checkpoint of any known layout, read safely and brought under our names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from torch import Tensor, nn

from zoo.convert import mmaction2, torch_pointcloud, tsm
from zoo.convert.safe_pickle import read_file
from zoo.convert.source import Source, State
from zoo.errors import CheckpointError

SHIFT_KEY = "zoo.shift"
ORIGIN_KEY = "zoo.origin"
POINT_PARTS = ("point_features.", "sa_layers.", "inst_seg_net.")


def _same(state: State) -> State:
    """The tensors as they are."""
    return state


PVCNN = Source(
    "pvcnn",
    "authors' PVCNN layout",
    "point_features., sa_layers. or inst_seg_net.",
    lambda state: any(name.startswith(POINT_PARTS) for name in state),
    _same,
)
ZOO = Source("zoo", "our own layout", "backbone.", lambda state: any(n.startswith("backbone.") for n in state), _same)
SOURCES = (tsm.CLIP, tsm.ONLINE, mmaction2.SOURCE, torch_pointcloud.SOURCE, PVCNN, ZOO)
DESCRIPTIONS = {source.name: source.description for source in SOURCES}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint under our names.

    Attributes:
        path: the file.
        source: "tsm", "tsm_online", "mmaction2", "pvcnn", "torch_pointcloud" or "zoo".
        state_dict: what a model of ours would have in its ``state_dict()``.
        shift: "online" or "bidirectional", the direction in which the network shifts along time, where the file tells:
            both have tensors of the same names and shapes.
        origin: the source that the weights are from, also where the file was converted since.
    """

    path: str
    source: str
    state_dict: dict[str, Tensor] = field(repr=False)
    shift: str | None = None
    origin: str = "zoo"

    def metadata(self) -> dict[str, str]:
        """What a safetensors file of ``state_dict`` should have as its metadata, so that nothing is lost."""
        return file_metadata(self.shift) | {ORIGIN_KEY: self.origin}


def file_metadata(shift: str | None) -> dict[str, str]:
    """The metadata of a safetensors file of weights: its names of tensors do not tell in which direction they shift."""
    return {"format": "pt"} | ({SHIFT_KEY: shift} if shift else {})


def shift_of(model: nn.Module) -> str | None:
    """The direction in which ``model`` shifts along time; None where it does not."""
    return getattr(model, "direction", None) if getattr(model, "shifts", None) else None


def stored_shift(path: str | os.PathLike[str]) -> str | None:
    """The direction that the metadata of a safetensors file tell, if they do."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return _direction((file.metadata() or {}).get(SHIFT_KEY))


def _direction(text: str | None) -> str | None:
    return text if text in ("online", "bidirectional") else None


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint; its layout is told by the names of its tensors. Nothing in the file is executed.

    Args:
        path: a file of ``torch.save``, old or new, or safetensors, in one of the layouts that this package knows.

    Raises:
        InputError: there is no such file, or it cannot be opened.
        CheckpointError: it is damaged, hostile, of an unknown layout, or of a network that no model here computes.
    """
    file = read_file(path)
    source = next((source for source in SOURCES if source.matches(file.tensors)), None)
    if source is None:
        known = "; ".join(f"{s.description} ({s.example})" for s in SOURCES)
        raise CheckpointError(
            f"{os.fspath(path)!r} has a layout that is not known here, its tensors are called "
            f"{', '.join(list(file.tensors)[:5])}, ...; known are: {known}"
        )
    state = source.convert(file.tensors)
    if source is mmaction2.SOURCE and any(".nl." in name for name in state):
        mode = mmaction2.attention_mode(file.notes)
        if mode != "embedded_gaussian":
            raise CheckpointError(
                f"{os.fspath(path)!r} has non-local blocks of the kind {mode!r}, which no model here computes: "
                "take one with 'embedded_gaussian'"
            )
        if mmaction2.attention_is_scaled(file.notes):
            raise CheckpointError(
                f"{os.fspath(path)!r} has non-local blocks with use_scale=True, mmcv's default, which no model here "
                "computes: take one with use_scale=False"
            )
    # The authors' point models and ours share their names; only ours come as safetensors.
    name = "zoo" if source is PVCNN and file.format == "safetensors" else source.name
    shift = source.shift or file.metadata.get(SHIFT_KEY)
    origin = file.metadata.get(ORIGIN_KEY, name) if name == "zoo" else name
    return Checkpoint(os.fspath(path), name, state, _direction(shift), origin)
