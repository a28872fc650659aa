"""Which models exist: architectures by name, and the tags of the weights that were trained for them."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from zoo.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import nn

    from zoo.weights import WeightsSpec

Builder = TypeVar("Builder", bound=Callable[..., "nn.Module"])

_builders: dict[str, Callable[..., nn.Module]] = {}
_tasks: dict[str, str] = {}
_weights: dict[str, dict[str, WeightsSpec]] = {}


def register_model(*, task: str) -> Callable[[Builder], Builder]:
    """A decorator that registers a function that returns a module as the architecture of its own name.

    Args:
        task: what the architecture is for, such as ``"part_segmentation"``.

    Raises:
        ValueError: the name is taken.
    """

    def register(builder: Builder) -> Builder:
        name = builder.__name__
        if name in _builders:
            raise ValueError(f"the architecture {name!r} is registered twice: rename one of the two functions")
        _builders[name] = builder
        _tasks[name] = task
        return builder

    return register


def register_weights(spec: WeightsSpec) -> None:
    """Add pretrained weights under ``spec.architecture`` and ``spec.tag``; the first tag is what a bare name takes.

    Raises:
        ValueError: the tag is taken, or no such architecture is registered.
    """
    if spec.architecture not in _builders:
        raise ValueError(f"weights {spec.name!r} are for {spec.architecture!r}, which is not a registered architecture")
    tags = _weights.setdefault(spec.architecture, {})
    if spec.tag in tags:
        raise ValueError(f"the weights {spec.name!r} are registered twice: choose another tag")
    tags[spec.tag] = spec


def list_models(pattern: str | None = None, *, task: str | None = None, pretrained: bool | None = None) -> list[str]:
    """Names of models in natural order (``c0p25`` before ``c1``, ``resnet18`` before ``resnet101``).

    Args:
        pattern: a shell wildcard such as ``"tsm_*"``; it is matched against the whole name.
        task: only models of this task, for example ``"video_classification"``.
        pretrained: ``True`` lists the loadable ``"arch.tag"`` names instead of the architectures,
            ``False`` the architectures that have no weights.
    """
    names = [spec.name for tags in _weights.values() for spec in tags.values()] if pretrained else list(_builders)
    if pretrained is False:
        names = [name for name in names if not _weights.get(name)]
    if task is not None:
        tasks = {architecture_task(name) for name in _builders}
        if task not in tasks:
            raise UnknownNameError(f"there is no task {task!r}; the tasks are {', '.join(sorted(tasks))}")
        names = [name for name in names if architecture_task(name.split(".")[0]) == task]
    if pattern is not None:
        names = [
            name for name in names if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + ".*")
        ]
    return sorted(names, key=_natural)


def find_builder(architecture: str) -> Callable[..., nn.Module]:
    """The function that builds ``architecture``.

    Raises:
        UnknownNameError: nothing bears that name; the text lists the nearest five.
    """
    if architecture not in _builders:
        raise UnknownNameError(_unknown(architecture))
    return _builders[architecture]


def find_weights(name: str) -> WeightsSpec:
    """The weights called ``name``, "arch.tag" or a bare "arch" that takes its first tag.

    Raises:
        UnknownNameError: there is no such architecture, no such tag, or no weights at all.
    """
    architecture, _, tag = name.partition(".")
    if architecture not in _builders:
        raise UnknownNameError(_unknown(name))
    tags = _weights.get(architecture, {})
    if not tags:
        raise UnknownNameError(
            f"{architecture!r} has no pretrained weights; `zoo list --pretrained` shows what has, "
            "checkpoint=PATH takes a file of your own"
        )
    if tag and tag not in tags:
        raise UnknownNameError(f"{architecture!r} has no weights {tag!r}; it has: {', '.join(sorted(tags))}")
    return tags[tag] if tag else next(iter(tags.values()))


def architecture_task(architecture: str) -> str:
    """The task that ``architecture`` was registered for."""
    find_builder(architecture)
    return _tasks[architecture]


def nearest_names(name: str) -> list[str]:
    """The five names of architectures and weights that are most like ``name``."""
    known = [*_builders, *(spec.name for tags in _weights.values() for spec in tags.values())]
    return difflib.get_close_matches(name, known, n=5, cutoff=0.0)


def _unknown(name: str) -> str:
    if os.path.isdir(name):
        return f"there is no model {name!r}: write local-dir:{name} for that folder"
    if name.startswith((".", "~")) or "/" in name or os.sep in name or os.path.isfile(name):
        return (
            f"there is no model {name!r}, which is a path: name a model (`zoo list` shows all), or a folder of one as "
            "local-dir:PATH; a checkpoint goes with checkpoint=PATH, and a file that `zoo export` wrote is for "
            "zoo.load, `zoo predict` and `zoo live`"
        )
    return (
        f"there is no model {name!r}; the nearest names are {', '.join(nearest_names(name))} "
        "(a name is 'arch' or 'arch.tag', or begins with 'hf-hub:' or 'local-dir:'; `zoo list` shows all)"
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key in which numbers count as numbers, and 'p' between digits is a decimal point."""
    parts = re.split(r"(\d+(?:p\d+)?)", name)
    return [
        (0, 0, part) if i % 2 == 0 else (1, round(float(part.replace("p", ".")) * 1e6), part)
        for i, part in enumerate(parts)
    ]
