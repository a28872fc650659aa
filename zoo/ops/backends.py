"""Which implementation of the operators runs: compiled kernels, or plain PyTorch."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Literal

from zoo.ops import reference


def backend() -> Literal["native", "reference"]:
    """What computes the operators: ``"reference"`` (plain PyTorch) or ``"native"`` (compiled).

    The environment variable ``ZOO_OPS`` forces one of the two; unset or ``"auto"`` takes the fastest that is there.

    Raises:
        RuntimeError: ``ZOO_OPS`` asks for compiled operators that are not installed, or for something unknown.
    """
    wanted = os.environ.get("ZOO_OPS", "auto")
    if wanted == "native":
        raise RuntimeError("ZOO_OPS=native, but no compiled operators are installed: unset it or set ZOO_OPS=reference")
    if wanted not in ("", "auto", "reference"):
        raise RuntimeError(f"ZOO_OPS is 'auto', 'native' or 'reference', not {wanted!r}")
    return "reference"


def implementation() -> ModuleType:
    """The module whose functions compute the operators."""
    backend()
    return reference
