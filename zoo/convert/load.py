"""From a checkpoint into a model: every tensor must find its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.convert.checkpoint import DESCRIPTIONS, Checkpoint
from zoo.errors import CheckpointError

COUNTER = "num_batches_tracked"
LISTED = 10
SHIFTS = {  # why weights of the one direction are of no use in a network of the other
    "bidirectional": "which look at the next frame too, and a stream has none yet",
    "online": "which look only at the frame before, and this model's look at the next one too",
}
ALIGNMENT = 64  # bytes, of torch's own memory; elsewhere a tensor may give other last bits


@dataclass(frozen=True)
class Report:
    """What became of a checkpoint.

    Attributes:
        source: the layout of the file, as in :class:`~zoo.convert.Checkpoint`.
        matched: how many of its tensors the model took.
        total: how many it holds.
        skipped: the tensors of its classifier, where the model kept its own.
        found_at: where the file came from: a path, or an address and what vouches for what came from there.
    """

    source: str
    matched: int
    total: int
    skipped: tuple[str, ...] = ()
    found_at: str = ""

    def __str__(self) -> str:
        text = f"{self.matched} of {self.total} tensors matched ({DESCRIPTIONS[self.source]})"
        return f"{text}; the classifier is new" if self.skipped else text


def load_checkpoint(model: nn.Module, checkpoint: Checkpoint, *, reset_head: bool = False) -> Report:
    """Copy ``checkpoint`` into ``model``; names and shapes must agree exactly.

    A model on the meta device, which was built without memory for its tensors, takes those of the checkpoint
    themselves; its classifier stays without memory where it is not loaded.

    Only the counters of batch normalisation may be missing in the file: they have no influence on the result.

    Args:
        model: has the dotted name of its classifier as ``classifier_name``.
        checkpoint: as :func:`~zoo.convert.read_checkpoint` gives it.
        reset_head: leave the classifier of the model as it is, whatever the file holds for it.

    Raises:
        CheckpointError: the checkpoint is of another network; the text counts what matched and lists what did not.
            The model is unchanged.
    """
    shift = checkpoint.shift
    if shift and getattr(model, "shifts", True) and getattr(model, "direction", shift) != shift:
        raise CheckpointError(
            f"{checkpoint.path!r} ({DESCRIPTIONS[checkpoint.source]}) is of another network, with {shift} shifts, "
            f"{SHIFTS[shift]}: name a model that has {shift} shifts, or train this one"
        )
    head = f"{model.classifier_name}." if reset_head else None
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not _within(name, head)}
    given = {name: tensor for name, tensor in checkpoint.state_dict.items() if not _within(name, head)}
    missing = [name for name in wanted if name not in given and not name.endswith(f".{COUNTER}")]
    unexpected = [name for name in given if name not in wanted]
    common = [name for name in wanted if name in given]
    misshapen = [name for name in common if wanted[name].shape != given[name].shape]
    if missing or unexpected or misshapen:
        shapes = [f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}" for name in misshapen]
        lists = (("missing", missing), ("unexpected", unexpected), ("misshapen", shapes))
        raise CheckpointError(
            f"{checkpoint.path!r} ({DESCRIPTIONS[checkpoint.source]}) is of another network: "
            f"{len(common) - len(misshapen)} of its {len(checkpoint.state_dict)} tensors match; "
            + "; ".join(f"{len(names)} {what}: {_listed(names)}" for what, names in lists if names)
            + "; name the architecture and the arguments that it was trained with"
        )
    if any(tensor.is_meta for tensor in wanted.values()):
        _assign(model, wanted, given)
    else:
        with torch.no_grad():
            for name in common:
                wanted[name].copy_(given[name])
    skipped = tuple(name for name in checkpoint.state_dict if _within(name, head))
    return Report(checkpoint.source, len(common), len(checkpoint.state_dict), skipped)


def _assign(model: nn.Module, wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Give ``model`` the tensors of a file, each in the model's dtype; copies only where they do not lie as torch's do.

    A safetensors file is mapped into memory, so that what is not copied is read when it is used.
    """
    modules, seen = dict(model.named_modules()), set()
    for name, like in wanted.items():
        tensor = given.get(name)
        if tensor is None:  # a counter
            tensor = torch.zeros(like.shape, dtype=like.dtype)
        memory = tensor.untyped_storage()
        whole = tensor.is_contiguous() and memory.nbytes() == tensor.nbytes
        if not whole or memory.data_ptr() % ALIGNMENT or memory.data_ptr() in seen:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(memory.data_ptr())
        tensor = tensor.to(like.dtype)
        parent, _, own = name.rpartition(".")
        parameters = modules[parent]._parameters
        old = parameters.get(own)
        if old is None:
            modules[parent]._buffers[own] = tensor
        else:
            parameters[own] = nn.Parameter(tensor, old.requires_grad)


def infer_arguments(model: nn.Module, checkpoint: Checkpoint) -> dict[str, int]:
    """What to build a model with so that ``checkpoint`` fits: ``num_classes`` and ``in_channels``, as far as it tells.

    Args:
        model: the architecture with its own defaults, best on the meta device; it has the dotted names of its
            first convolution and of its classifier as ``first_conv`` and ``classifier_name``. Where its first
            convolution sees more than ``in_channels`` (a shape's one-hot vector), the difference is kept.
        checkpoint: as :func:`~zoo.convert.read_checkpoint` gives it.
    """
    arguments = {}
    classifier = _weight(checkpoint.state_dict, getattr(model, "classifier_name", None))
    if classifier is not None:
        arguments["num_classes"] = classifier.shape[0]
    first = _weight(checkpoint.state_dict, getattr(model, "first_conv", None))
    if first is not None and first.dim() > 1:
        beyond = 0
        built: Any = _weight(model.state_dict(), getattr(model, "first_conv", None))
        if built is not None and isinstance(getattr(model, "in_channels", None), int):
            beyond = built.shape[1] - int(model.in_channels)  # type: ignore[arg-type]
        arguments["in_channels"] = first.shape[1] - beyond
    return arguments


def _weight(state: dict[str, Any], module: str | None) -> Tensor | None:
    """The weight of ``module``, or of the layer that it wraps."""
    if not module:
        return None
    names = (f"{module}.weight", f"{module}.net.weight", f"{module.removesuffix('.net')}.weight")
    return next((state[name] for name in names if name in state), None)


def _within(name: str, prefix: str | None) -> bool:
    return prefix is not None and name.startswith(prefix)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
