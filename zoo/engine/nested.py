"""Tensors in tuples and dicts: a model may take several, and a detector gives and learns from a dict of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """``value``, a tensor or tuples, lists and dicts of them, with ``function`` of each tensor in its place."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    return tuple(map_tensors(function, item) for item in value)
