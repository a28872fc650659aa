"""What can run a network: one module for each runtime, all called alike."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export.signature import Network

MODULES = {
    "eager": "eager",
    "compile": "compiled",
    "aotinductor": "aotinductor",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
RUNTIMES = tuple(MODULES)


class Session(Protocol):
    """A network that is ready to run.

    Attributes:
        precision: what it really computes in: "fp32", "bf16" or "int8".
    """

    precision: str

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network, in float32."""


class Runtime(Protocol):
    """What the module of a runtime holds."""

    def lack(self) -> str | None:
        """Why it cannot be used here, in one sentence that says what to install; ``None`` where it can."""

    def prepare(self, network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> Session:
        """Make a session.

        Args:
            network: of a fast copy of the model; shared with other runtimes.
            example: inputs that the network takes.
            precision: "fp32", "bf16" or "int8".
            num_threads: by default what the runtime takes.

        Raises:
            ZooError: the runtime cannot run this network, or not in this precision.
        """


def find_runtime(name: str) -> Runtime:
    """The module of a runtime.

    Raises:
        ZooError: there is none of this name.
    """
    if name not in MODULES:
        raise ZooError(f"there is no runtime {name!r}: the runtimes are {', '.join(RUNTIMES)}, or auto")
    runtime: Runtime = importlib.import_module(f"zoo.export.runtimes.{MODULES[name]}")
    return runtime


def as_array(x: Tensor, dtype: torch.dtype) -> Any:
    """``x`` for runtimes that take arrays of NumPy. Nothing is done in vain: a step has eleven tensors."""
    if x.dtype is not dtype or x.requires_grad or not x.is_cpu:
        x = x.detach().to("cpu", dtype)
    return x.numpy()


def missing(name: str) -> str | None:
    """Why a runtime cannot be used here, with what to install; ``None`` where it can.

    Raises:
        ZooError: there is none of this name.
    """
    return find_runtime(name).lack()


def absent(what: str, extra: str, *packages: str) -> str | None:
    """What ``what`` lacks here and how to get it, by the zoo's ``extra``; ``None`` where all packages are there."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"{what} needs {package}, which is not there: pip install 'efficient-recognition-zoo[{extra}]'"
    return None
