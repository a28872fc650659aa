"""OpenVINO on the CPU (https://docs.openvino.ai)."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export.quantize import quantized_openvino
from zoo.export.signature import Network

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # OpenVINO would choose bfloat16 by itself where it is faster
NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}
HEAVY = {"Convolution", "FullyConnected", "MatMul"}


def lack() -> str | None:
    """It is an extra."""
    for package in ("onnx", "onnxscript", "openvino"):
        if importlib.util.find_spec(package) is None:
            return f"OpenVINO needs {package}, which is not there: pip install 'efficient-recognition-zoo[openvino]'"
    return None


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> OpenVINOSession:
    """See :class:`zoo.export.runtimes.Runtime`."""
    if example[0].device.type != "cpu":
        raise ZooError("the runtime openvino computes on the CPU: move model and example there with .cpu()")
    model = read(network.onnx(example))
    session = OpenVINOSession(
        quantized_openvino(network, model) if precision == "int8" else model, precision, num_threads
    )
    if session.precision != precision:
        raise ZooError(f"OpenVINO computes in {session.precision} on this processor, not in {precision}: ask for that")
    return session


def read(model: bytes | str) -> Any:
    """An OpenVINO model from an ONNX or an OpenVINO file, or the bytes of the former.

    Raises:
        ZooError: OpenVINO has no counterpart of one of its operators.
    """
    import openvino

    try:
        return openvino.Core().read_model(model)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ZooError(f"OpenVINO cannot read this model ({lines[-1].strip()})") from error


class OpenVINOSession:
    """A model in OpenVINO.

    Attributes:
        precision: what its layers really compute in.
    """

    def __init__(self, model: Any, precision: str, num_threads: int | None):
        import openvino

        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
        settings["INFERENCE_NUM_THREADS"] = num_threads or torch.get_num_threads()
        try:
            compiled: Any = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise ZooError(f"OpenVINO cannot run this model ({lines[-1].strip()})") from error
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))
        self.precision = computed_in(compiled)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        arrays = {index: tensor.detach().numpy() for index, tensor in enumerate(inputs)}
        found = self._request.infer(arrays, share_inputs=True, share_outputs=False)
        return [torch.from_numpy(found[index]) for index in self._outputs]


def computed_in(compiled: Any) -> str:
    """The precision of most layers of a compiled model, as the runtime itself tells it."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        if "layerType" in about and str(about["layerType"].value) in HEAVY:
            counts[str(about["runtimePrecision"].value)] += 1
    (kind, _), *_ = counts.most_common(1) or [("f32", 0)]
    return NAMES.get(kind, kind)
