"""Layers in the place of others that compute the same."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> list[str]:
    """Put what ``replacement`` gives for a module inside ``model`` in its place; ``model`` changes.

    Args:
        model: itself it is not replaced.
        replacement: of a module; none where it stays.

    Returns:
        the names of the modules that were replaced.
    """
    names = []
    for name, module in list(model.named_modules())[1:]:
        other = replacement(module)
        if other is not None:
            model.set_submodule(name, other)
            names.append(name)
    return names
