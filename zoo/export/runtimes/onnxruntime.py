"""ONNX Runtime on the CPU (https://onnxruntime.ai)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export.quantize import quantized_onnx
from zoo.export.signature import Network

ERRORS_ONLY = 3


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
    model = network.onnx(example)
    return OnnxSession(quantized_onnx(network, model) if precision == "int8" else model, precision, num_threads)


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
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail as error:
            raise ZooError(f"ONNX Runtime cannot run this model ({str(error).splitlines()[0]})") from error
        self._inputs = [each.name for each in self._session.get_inputs()]
        self.precision = precision

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        feeds = {name: tensor.detach().numpy() for name, tensor in zip(self._inputs, inputs, strict=True)}
        return [torch.from_numpy(out) for out in self._session.run(None, feeds)]
