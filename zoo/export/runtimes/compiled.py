"""PyTorch's own compiler, ``torch.compile``, on CPUs and GPUs."""

from __future__ import annotations

import os
import shutil
import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export.graph import quiet_tools
from zoo.export.runtimes.eager import EagerSession, as_precision
from zoo.export.signature import Network


def lack() -> str | None:
    """It needs a C++ compiler."""
    if os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++"):
        return None
    return "torch.compile needs a C++ compiler: install g++, or name yours in CXX"


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> EagerSession:
    """See :class:`zoo.export.runtimes.Runtime`; compiles for the shapes of ``example``, and anew for others."""
    compiled: Any = torch.compile(_own_function(as_precision(network, precision)))
    session = EagerSession(compiled, precision, num_threads)
    try:
        with quiet_tools():
            session(*example)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        raise ZooError(f"torch.compile cannot compile this model ({reason}): use another runtime") from error
    return session


def _own_function(network: Network) -> Any:
    """What calls the network, with a code object of its own: the compiler counts recompilations by code object."""

    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = network(*inputs)
        return outputs

    return types.FunctionType(forward.__code__.replace(), forward.__globals__, closure=forward.__closure__)
