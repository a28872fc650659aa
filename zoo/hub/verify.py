"""Whether weights on this machine are still what they were: their hash, their keys, what they compute."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from zoo.convert import Checkpoint
from zoo.errors import CheckpointError, SourceError
from zoo.hub.bundled import bundled_names, checkpoints_folder, golden_file
from zoo.hub.cache import Entry, entries
from zoo.hub.download import download_from_hub
from zoo.hub.golden import GOLDEN_FOLDER, GOLDEN_INPUT, GOLDEN_OUTPUT, check_golden, check_golden_output
from zoo.hub.network import network
from zoo.hub.resolve import Resolved, Weights, cache_entry, load, resolve
from zoo.hub.sources import HubFile

COMPARED = "golden outputs"


def verifiable() -> list[str]:
    """The names of all weights on this machine: those of checkpoints/ and those in the cache."""
    return [*bundled_names(), *(entry.name for entry in entries())]


def verify(name: str) -> str:
    """Hash the weights called ``name``, build their network and compare what it computes with the golden tensors.

    No weights are downloaded.

    Args:
        name: as for ``zoo.load``.

    Returns:
        What was found right, for people.

    Raises:
        UnknownNameError: nothing bears the name.
        CheckpointError: something is not right, or the weights are not on this machine.
        SourceError: the description in a repository cannot be had.
    """
    resolved = resolve(name, pretrained=True)
    entry = cache_entry(resolved)
    if entry is not None:
        _check_hash(name, entry)
    weights = load(resolved)
    model = network(weights.spec, Checkpoint(str(weights.path), "zoo", weights.tensors))
    facts = [f"sha256 {weights.spec.sha256}", f"{len(weights.tensors)} tensors"]
    return ", ".join([*facts, _check_golden(resolved, weights, model)])


def fetch_golden(name: str) -> None:
    """Download the golden tensors of a repository, so that `verify` needs no network for them.

    Raises:
        SourceError: they cannot be had; the text says why.
    """
    repository = resolve(name, pretrained=True).repository
    if repository is not None:
        _golden_folder(repository)


def _check_hash(name: str, entry: Entry) -> None:
    """Refuse a file in the cache whose hash is another than when it entered."""
    record = entry.read()
    if record is None:
        raise CheckpointError(f"{name} is not on this machine: `zoo pull {name}` gets it")
    if not entry.is_unchanged(record):
        raise CheckpointError(
            f"{entry.file(record)}: is missing, or not the file any more that entered the cache; delete {entry.folder} "
            f"and run `zoo pull {name}`"
        )


def _check_golden(resolved: Resolved, weights: Weights, model: nn.Module) -> str:
    """Compare what ``model`` computes with the golden tensors of its weights; what came of it, for people."""
    if weights.path.parent == checkpoints_folder():
        check_golden_output(golden_file(weights.path), model)
        return COMPARED
    folder = weights.path.parent
    if resolved.repository is not None:
        try:
            folder = _golden_folder(resolved.repository)
        except SourceError as error:
            return f"golden outputs not compared ({error})"
    elif not (folder / GOLDEN_FOLDER).is_dir():
        return "no golden outputs are beside them"
    check_golden(folder, model)
    return COMPARED


def _golden_folder(repository: HubFile) -> Path:
    """The folder of a repository, with its golden tensors, which are downloaded where they are not there."""
    for name in (GOLDEN_INPUT, GOLDEN_OUTPUT):
        path = download_from_hub(HubFile(repository.repo_id, f"{GOLDEN_FOLDER}/{name}", repository.revision))
    return path.parents[1]
