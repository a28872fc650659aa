"""ONNX Runtime on the CPU (https://onnxruntime.ai)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import CheckpointError, ZooError
from zoo.export.graph import ABOUT, onnx_bytes
from zoo.export.signature import Network

ERRORS_ONLY = 3
TYPES = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64}


def lack() -> str | None:
    """It is an extra."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            return f"ONNX Runtime needs {package}, which is not there: pip install 'efficient-recognition-zoo[onnx]'"
    return None


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> OnnxSession:
    """See :class:`zoo.export.runtimes.Runtime`."""
    if example[0].device.type != "cpu":
        raise ZooError("the runtime onnxruntime computes on the CPU: move model and example there with .cpu()")
    if precision == "bf16":
        raise ZooError(
            "ONNX Runtime does not compute in bfloat16 on a CPU: take precision fp32 or the runtime openvino"
        )
    return OnnxSession(network.onnx(example), precision, num_threads)


def write(path: Path, network: Network, example: Sequence[Tensor], about: str) -> None:
    """See :class:`zoo.export.files.FileRuntime`."""
    path.write_bytes(onnx_bytes(network, example, about))


def load(path: Path, num_threads: int | None) -> tuple[OnnxSession, str | None]:
    """See :class:`zoo.export.files.FileRuntime`."""
    try:
        session = OnnxSession(str(path), "fp32", num_threads)
    except ZooError as error:
        raise CheckpointError(f"{path}: {error}; export it again") from error
    return session, session.about()


class OnnxSession:
    """An ONNX model in ONNX Runtime.

    Attributes:
        precision: what it computes in.
    """

    def __init__(self, model: bytes | str, precision: str, num_threads: int | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _errors() as error:
            raise ZooError(f"ONNX Runtime cannot run this model ({str(error).splitlines()[0]})") from error
        self._inputs = [(each.name, TYPES[each.type]) for each in self._session.get_inputs()]
        self.precision = precision

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        feeds = {
            name: tensor.detach().to("cpu", dtype).numpy()
            for (name, dtype), tensor in zip(self._inputs, inputs, strict=True)
        }
        try:
            return [torch.from_numpy(out) for out in self._session.run(None, feeds)]
        except _errors() as error:
            raise ZooError(f"ONNX Runtime cannot run this model ({str(error).splitlines()[0]})") from error

    def about(self) -> str | None:
        """What the model says about itself."""
        about: str | None = self._session.get_modelmeta().custom_metadata_map.get(ABOUT)
        return about


def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its errors have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))
