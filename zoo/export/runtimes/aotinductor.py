"""AOTInductor: PyTorch's compiler ahead of time, to a package of machine code with the zoo's own operators inside."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import CheckpointError, ZooError
from zoo.export.graph import ABOUT, exported_program, quiet_tools
from zoo.export.runtimes import compiled
from zoo.export.runtimes.eager import EagerSession
from zoo.export.signature import Network


def lack() -> str | None:
    """It needs what ``torch.compile`` needs."""
    return compiled.lack()


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> EagerSession:
    """See :class:`zoo.export.runtimes.Runtime`."""
    if precision != "fp32":
        raise ZooError(f"AOTInductor computes in fp32 here, not in {precision}: use the runtime openvino")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        write(path, network, example, "")
        return load(path, num_threads)[0]


def write(path: Path, network: Network, example: Sequence[Tensor], about: str) -> None:
    """See :class:`zoo.export.files.FileRuntime`."""
    program = exported_program(network, example, plain=False)
    try:
        with quiet_tools():
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs={"aot_inductor.metadata": {ABOUT: about}}
            )
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        reason = str(error).strip().splitlines()[0]
        raise ZooError(f"AOTInductor cannot compile this model ({reason}): use another runtime") from error


def load(path: Path, num_threads: int | None) -> tuple[EagerSession, str | None]:
    """See :class:`zoo.export.files.FileRuntime`."""
    try:
        package: Any = torch._inductor.aoti_load_package(str(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: is no package of PyTorch for this machine; export it again here") from error
    about: str | None = package.get_metadata().get(ABOUT)

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        outputs: Sequence[Tensor] = package(*map(_as_compiled, inputs))
        return outputs

    return EagerSession(run, "fp32", num_threads, torch.contiguous_format), about


def _as_compiled(x: Tensor) -> Tensor:
    """The tensor in the type and layout that the package was compiled for: others it would read wrong, silently."""
    return x.to(torch.float32 if x.is_floating_point() else torch.int64).contiguous()
