"""Which implementation of the operators runs: compiled kernels, or plain PyTorch."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType
from typing import Literal

import torch

from zoo.errors import OperatorsError
from zoo.ops import reference
from zoo.ops.build import find_library

_native: ModuleType | None = None
_devices: tuple[str, ...] = ()  # whose kernels are loaded
_why_not = ""
_warned = False


def backend(device: str | torch.device = "cpu") -> Literal["native", "reference"]:
    """What computes the operators on ``device``: ``"native"`` (compiled) or ``"reference"`` (plain PyTorch).

    The environment variable ``ZOO_OPS`` forces one of the two; unset or ``"auto"`` takes the fastest that is there.

    Raises:
        OperatorsError: ``ZOO_OPS`` asks for compiled operators that are not built, or for something unknown.
    """
    return "native" if _chosen(torch.device(device).type) is not reference else "reference"


def why() -> str:
    """In words, what is in use, and why."""
    wanted = os.environ.get("ZOO_OPS", "auto")
    if backend() == "native":
        devices = [device for device in ("cpu", "cuda") if device in _devices]
        return f"compiled for {' and '.join(devices)}, {find_library('_C_cpu')}"
    return "plain PyTorch, as ZOO_OPS=reference wants" if wanted == "reference" else f"plain PyTorch: {_why_not}"


def implementation(device: torch.device) -> ModuleType:
    """The module whose functions compute the operators on ``device``."""
    global _warned
    chosen = _chosen(device.type)
    if chosen is reference and not _warned and not torch.compiler.is_compiling():
        if os.environ.get("ZOO_OPS") != "reference":
            reason = _why_not or f"the compiled operators have no kernels for {device.type}"
            warnings.warn(f"the operators run in plain PyTorch, which is slower: {reason}", stacklevel=4)
        _warned = True
    return chosen


def _chosen(device_type: str) -> ModuleType:
    wanted = os.environ.get("ZOO_OPS", "auto")
    if wanted not in ("", "auto", "native", "reference"):
        raise OperatorsError(f"ZOO_OPS is 'auto', 'native' or 'reference', not {wanted!r}")
    if wanted == "native" and _native is None:
        raise OperatorsError(f"ZOO_OPS=native, but {_why_not}; or set ZOO_OPS=reference")
    if wanted == "reference" or _native is None or device_type not in _devices:
        return reference
    return _native


def _load() -> None:
    """Load the libraries that were built."""
    global _native, _devices, _why_not
    cpu, cuda = find_library("_C_cpu"), find_library("_C_cuda")
    if cpu is None:
        _why_not = "the compiled operators are not built: run `zoo build-ops`"
        return
    try:
        torch.ops.load_library(str(cpu))
        _native = importlib.import_module("zoo.ops.native")
        _devices = ("cpu", "meta")
        if cuda is not None and torch.version.cuda is not None:
            torch.ops.load_library(str(cuda))
            _devices = ("cpu", "meta", "cuda")
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        _why_not = f"the compiled operators do not load ({reason}): build them again with `zoo build-ops --force`"


_load()
