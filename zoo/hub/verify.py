"""Whether weights on this machine are still what they were: their hash, their keys, what they compute."""

from __future__ import annotations

from pathlib import Path

from zoo.convert import Checkpoint
from zoo.errors import CheckpointError, SourceError
from zoo.hub.bundled import bundled_names
from zoo.hub.cache import Entry, entries
from zoo.hub.download import download_from_hub
from zoo.hub.golden import GOLDEN_FOLDER, GOLDEN_INPUT, GOLDEN_OUTPUT, check_golden
from zoo.hub.network import network
from zoo.hub.resolve import Resolved, cache_entry, load, resolve
from zoo.hub.sources import HubFile


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
    folder = _golden_folder(resolved, weights.path)
    if folder is not None:
        check_golden(folder, model)
        facts.append("golden outputs")
    return ", ".join(facts)


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


def _golden_folder(resolved: Resolved, path: Path) -> Path | None:
    """Where the golden tensors of weights are; those of a repository are downloaded. None where there are none."""
    if resolved.repository is not None:
        try:
            for name in (GOLDEN_INPUT, GOLDEN_OUTPUT):
                file = HubFile(resolved.repository.repo_id, f"{GOLDEN_FOLDER}/{name}", resolved.repository.revision)
                path = download_from_hub(file).parent
        except SourceError:
            return None
    return path.parent if (path.parent / GOLDEN_FOLDER).is_dir() else None
