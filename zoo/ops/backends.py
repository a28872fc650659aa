"""Which implementation of the operators runs: compiled kernels, or plain PyTorch."""

from __future__ import annotations

import functools
import importlib
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Literal

import torch
from torch.autograd import forward_ad

from zoo.errors import OperatorsError
from zoo.ops import reference
from zoo.ops.build import find_library

OLDEST_GPU = (8, 0)  # compute capability

_native: ModuleType | None = None
_devices: tuple[str, ...] = ()  # whose kernels are loaded
_why_not = ""
_warned = False
_instead: ModuleType | None = None
_turn = threading.RLock()


def backend(device: str | torch.device = "cpu") -> Literal["native", "reference"]:
    """What computes the operators on ``device``: ``"native"`` (compiled) or ``"reference"`` (plain PyTorch).

    The environment variable ``ZOO_OPS`` forces one of the two; unset or ``"auto"`` takes the fastest that is there.

    Raises:
        OperatorsError: ``ZOO_OPS`` asks for compiled operators that are not built, or for something unknown.
    """
    return "native" if _chosen(torch.device(device)) is not reference else "reference"


def why() -> str:
    """In words, what is in use, and why."""
    if backend() == "native":
        devices = [device for device in ("cpu", "cuda") if device in _devices]
        only = f"; {_why_not}" if _why_not else ""
        return f"compiled for {' and '.join(devices)}, {find_library('_C_cpu')}{only}"
    forced = os.environ.get("ZOO_OPS") == "reference"
    return "plain PyTorch, as ZOO_OPS=reference wants" if forced else f"plain PyTorch: {_why_not}"


def implementation(device: torch.device) -> ModuleType:
    """The module whose functions compute the operators on ``device``."""
    global _warned
    if _instead is not None:
        return _instead
    # Forward-mode derivatives pass by compiled operators, and would be lost.
    if getattr(forward_ad, "_current_level", -1) >= 0:
        return reference
    chosen = _chosen(device)
    if chosen is reference and not _warned and not torch.compiler.is_compiling():
        if os.environ.get("ZOO_OPS") != "reference":
            warnings.warn(f"the operators run in plain PyTorch, which is slower: {_lack(device)}", stacklevel=3)
        _warned = True
    return chosen


@contextmanager
def computed_by(module: ModuleType) -> Iterator[None]:
    """Let ``module``, which has the functions of ``reference``, compute the operators: while a network is traced."""
    global _instead
    with _turn:  # of two threads that overlapped, one would leave its module behind for good
        before, _instead = _instead, module
        try:
            yield
        finally:
            _instead = before


def _lack(device: torch.device) -> str:
    """Why there are no compiled operators for ``device``."""
    if device.type not in ("cpu", "cuda", "meta"):
        return f"there are no compiled operators for {device.type}: move model and input to the CPU or a CUDA GPU"
    if device.type != "cuda" or _why_not:
        return _why_not
    if "cuda" not in _devices:
        return "the kernels for GPUs are not built: install a CUDA toolkit and run `zoo build-ops`"
    return "this GPU is older than the kernels, which need compute capability 8.0: run on the CPU or on a newer one"


def _chosen(device: torch.device) -> ModuleType:
    wanted = os.environ.get("ZOO_OPS", "auto")
    if wanted not in ("", "auto", "native", "reference"):
        raise OperatorsError(f"ZOO_OPS is 'auto', 'native' or 'reference', not {wanted!r}")
    if wanted == "reference":
        return reference
    if _native is not None and device.type in _devices and _runs_on(device):
        return _native
    if wanted == "native":
        raise OperatorsError(f"ZOO_OPS=native, but {_lack(device)}; or set ZOO_OPS=reference")
    return reference


def _runs_on(device: torch.device) -> bool:
    """Whether the kernels run on ``device``: those for GPUs are compiled for newer ones only."""
    if device.type != "cuda" or torch.compiler.is_compiling() or not torch.cuda.is_available():
        return True
    return _capability(torch.cuda.current_device() if device.index is None else device.index) >= OLDEST_GPU


@functools.cache
def _capability(gpu: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(gpu)


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
        which = "the compiled operators" if _native is None else "the kernels for GPUs"
        reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        _why_not = f"{which} do not load ({reason}): build them again with `zoo build-ops --force`"


_load()
