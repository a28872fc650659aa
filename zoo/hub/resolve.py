"""From a name to the weights that it stands for: a description, and a file that was checked."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from zoo.errors import CheckpointError, UnknownNameError
from zoo.hub.bundled import checkpoints_folder
from zoo.hub.cache import Entry, Record
from zoo.hub.config_file import CONFIG_NAME, read_description
from zoo.hub.download import checked_from_hub, download_from_hub
from zoo.hub.fetch import fetch
from zoo.hub.sources import BundledFile, HubFile, sources_of, tag_of
from zoo.hub.weights_file import load_weights
from zoo.registry import find_builder, find_weights
from zoo.weights import WeightsSpec

LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"


@dataclass(frozen=True)
class Resolved:
    """What a name stands for.

    Attributes:
        architecture: a registered name.
        spec: the description of the weights; None for an architecture alone.
        folder: where the weights lie, if not in the places of a registered tag.
        repository: where they come from, if that is a repository that was named.
    """

    architecture: str
    spec: WeightsSpec | None = None
    folder: Path | None = None
    repository: HubFile | None = None


@dataclass(frozen=True)
class Weights:
    """Weights that were found and checked.

    Attributes:
        spec: their description, with the hash of the file.
        path: the file.
        tensors: what it holds.
        found_at: where it came from, for people.
    """

    spec: WeightsSpec
    path: Path
    tensors: dict[str, Tensor]
    found_at: str


def resolve(name: str, pretrained: bool) -> Resolved:
    """What ``name`` stands for. The description of a repository on the Hub is downloaded.

    Args:
        name: "arch", "arch.tag", "hf-hub:owner/repo[@revision]" or "local-dir:PATH".
        pretrained: whether weights are wanted, so that a bare architecture takes its first tag.

    Raises:
        UnknownNameError: nothing bears that name.
        CheckpointError: the folder or repository is not one that ``save_pretrained`` wrote.
        SourceError: the repository cannot be read; the text says why, and what to do.
    """
    if name.startswith(LOCAL_PREFIX):
        folder = Path(name.removeprefix(LOCAL_PREFIX))
        spec = read_description(folder)
        return Resolved(spec.architecture, spec, folder)
    if name.startswith(HUB_PREFIX):
        return _repository(name)
    if not pretrained and "." not in name:
        find_builder(name)
        return Resolved(name)
    spec = find_weights(name)
    return Resolved(spec.architecture, spec)


def load(resolved: Resolved) -> Weights:
    """The weights that a name stands for, downloaded and converted where they are not on this machine yet.

    Raises:
        CheckpointError: the file is damaged, or another than the one described.
        SourceError: none of the sources gives the file; the text lists them.
        InputError: there is no room for it.
    """
    spec = resolved.spec
    assert spec is not None
    if resolved.repository is not None:
        return _load_from_repository(spec, resolved.repository)
    if resolved.folder is not None:
        path = resolved.folder / spec.file
        return Weights(spec, path, load_weights(path, spec), str(resolved.folder))
    bundled = _bundled(spec)
    if bundled is not None:
        return Weights(spec, bundled, load_weights(bundled, spec), str(bundled))
    return _from_cache(*fetch(spec), spec)


def cache_entry(resolved: Resolved) -> Entry | None:
    """The place of the weights in the cache; None where they lie elsewhere."""
    spec, repository = resolved.spec, resolved.repository
    if repository is not None:
        return _repository_entry(repository)
    return None if spec is None or resolved.folder is not None or _bundled(spec) is not None else Entry(spec.name)


def _bundled(spec: WeightsSpec) -> Path | None:
    """The file in checkpoints/ that a tag stands for, if it is there."""
    first = sources_of(spec)[0]
    path = checkpoints_folder() / first.name if isinstance(first, BundledFile) else None
    return path if path is not None and path.is_file() else None


def _repository_entry(source: HubFile) -> Entry:
    return Entry(f"{HUB_PREFIX}{source.repo_id}@{source.revision}")


def whereabouts(resolved: Resolved) -> str:
    """Where the weights of a name are, in a line for people; nothing is downloaded."""
    spec = resolved.spec
    assert spec is not None
    if resolved.folder is not None:
        return _file_line(resolved.folder / spec.file, spec.size, spec.sha256)
    if resolved.repository is not None:
        return _file_line(resolved.repository, spec.size, spec.sha256)
    path = _bundled(spec)
    if path is not None:
        return _file_line(path, spec.size, spec.sha256)
    entry = Entry(spec.name)
    record = entry.intact()
    if record is None:
        return "not downloaded yet; to be had from " + ", or ".join(map(str, sources_of(spec)))
    return f"{_file_line(entry.file(record), record.size, record.sha256)}, from {record.origin}"


def _file_line(path: object, size: int, sha256: str) -> str:
    return f"{path}, {size / 1e6:.1f} MB, sha256 {sha256}"


def _repository(name: str) -> Resolved:
    """What a repository on the Hub says of itself, and its commit."""
    repo_id, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id) or not re.fullmatch(r"(?!.*\.\.)[\w./-]*", revision):
        raise UnknownNameError(f"{name!r} names no repository: write hf-hub:owner/name or hf-hub:owner/name@revision")
    config = download_from_hub(HubFile(repo_id, CONFIG_NAME, revision or "main"))
    commit = config.parent.name  # so that the weights come from the same one
    try:
        spec = read_description(config.parent)
    except CheckpointError as error:
        known = tag_of(repo_id)
        raise CheckpointError(f"{error}{f'; its weights are loaded by the name {known!r}' if known else ''}") from error
    return Resolved(spec.architecture, spec, None, HubFile(repo_id, spec.file, commit))


def _load_from_repository(spec: WeightsSpec, source: HubFile) -> Weights:
    """The weights of a repository; they stay in the Hub's cache, ours remembers that they were found right."""
    entry = _repository_entry(source)
    record = entry.intact()
    if record is None:
        with entry.locked():
            path, sha256, published = checked_from_hub(source)
            entry.check(str(source), sha256, published)
            if sha256 != spec.sha256:
                raise CheckpointError(
                    f"{source}: is not the file that its {CONFIG_NAME} describes (sha256 differs); ask its owner to "
                    "push the model again"
                )
            record = entry.enter(path, str(source), str(source), sha256, True)
    return _from_cache(entry, record, spec)


def _from_cache(entry: Entry, record: Record, spec: WeightsSpec) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = entry.file(record)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); run `zoo verify {entry.name}`") from error
    spec = dataclasses.replace(spec, sha256=record.sha256, size=record.size)
    return Weights(spec, path, tensors, record.origin)
