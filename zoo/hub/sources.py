"""Where the weights of a tag lie, in the order in which they are looked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from zoo.errors import ZooError
from zoo.registry import register_weights
from zoo.weights import WeightsSpec

_sources: dict[str, tuple[Source, ...]] = {}
_class_orders: dict[str, Mapping[str, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class BundledFile:
    """A file in ``checkpoints/``, described and hashed by the index there.

    Attributes:
        name: of the file.
    """

    name: str

    def __str__(self) -> str:
        return f"checkpoints/{self.name}"


@dataclass(frozen=True)
class HubFile:
    """A file in a repository on the Hub.

    Attributes:
        repo_id: "owner/name".
        filename: within the repository.
        revision: a branch, a tag or, so that it stays the same, the 40 digits of a commit.
    """

    repo_id: str
    filename: str = "model.safetensors"
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf-hub:{self.repo_id}@{self.revision}/{self.filename}"


@dataclass(frozen=True)
class UrlFile:
    """A file at an address.

    Attributes:
        url: the address.
        mirrors: of the same file.
        sha256: of the file, where it was published; otherwise what came first is the measure.
    """

    url: str
    mirrors: tuple[str, ...] = ()
    sha256: str = ""

    def __str__(self) -> str:
        return self.url


Source = BundledFile | HubFile | UrlFile


def register(spec: WeightsSpec, *sources: Source, class_orders: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """Add pretrained weights that lie in ``sources``, best first.

    Args:
        spec: their description.
        sources: where they are looked for.
        class_orders: the classes in the order of the logits, by the layout of a file, where that is another than the
            description's.

    Raises:
        ValueError: the tag is taken, or no such architecture is registered.
    """
    register_weights(spec)
    _sources[spec.name] = sources
    _class_orders[spec.name] = class_orders or {}


def class_order(name: str, layout: str) -> tuple[str, ...] | None:
    """The classes of the weights ``name`` as files of ``layout`` have them; None where they are as in the description.

    Args:
        name: "arch.tag", or the name of anything else.
        layout: the project that a file is from, as ``zoo.convert.Checkpoint`` calls it.
    """
    return _class_orders.get(name, {}).get(layout)


def sources_of(spec: WeightsSpec) -> tuple[Source, ...]:
    """Where the weights of a registered tag are looked for: the repository of ZOO_HUB_ORG comes behind checkpoints/.

    Raises:
        ZooError: ZOO_HUB_ORG is no name of an organisation.
    """
    sources = _sources[spec.name]
    organisation = os.environ.get("ZOO_HUB_ORG")
    if not organisation:
        return sources
    if not re.fullmatch(r"[\w.-]+", organisation):
        raise ZooError(f"ZOO_HUB_ORG is the name of an organisation or a user on the Hub, not {organisation!r}")
    bundled = [source for source in sources if isinstance(source, BundledFile)]
    others = [source for source in sources if not isinstance(source, BundledFile)]
    return (*bundled, HubFile(f"{organisation}/{spec.name}"), *others)


def tag_of(repo_id: str) -> str | None:
    """The name of the weights that lie in a repository on the Hub, if any are known to."""
    for name, sources in _sources.items():
        if any(isinstance(source, HubFile) and source.repo_id == repo_id for source in sources):
            return name
    return None
