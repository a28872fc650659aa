"""ONNX Runtime on the CPU (https://onnxruntime.ai)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import CheckpointError, ZooError
from zoo.export.graph import ABOUT, onnx_bytes
from zoo.export.quantize import onnx_errors, quantized_onnx, rewritten
from zoo.export.runtimes import absent, as_array
from zoo.export.signature import Network

ERRORS_ONLY = 3
LAYERS = {
    "fp32": ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
    "int8": ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"),
}
TYPES = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64}


def lack() -> str | None:
    """It is an extra."""
    return absent("ONNX Runtime", "onnx", "onnx", "onnxscript", "onnxruntime")


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> OnnxSession:
    """See :class:`zoo.export.runtimes.Runtime`."""
    if example[0].device.type != "cpu":
        raise ZooError("the runtime onnxruntime computes on the CPU: move model and example there with .cpu()")
    if precision == "bf16":
        raise ZooError(
            "ONNX Runtime does not compute in bfloat16 on a CPU: take precision fp32 or the runtime openvino"
        )
    model = network.onnx(example)
    session = OnnxSession(quantized_onnx(network, model) if precision == "int8" else model, num_threads)
    if session.precision != precision:
        raise ZooError(f"ONNX Runtime computes most of this model in {session.precision}, not in {precision}")
    return session


def write(path: Path, network: Network, example: Sequence[Tensor], about: str) -> None:
    """See :class:`zoo.export.files.FileRuntime`."""
    model = onnx_bytes(network, example, about)
    path.write_bytes(quantized_onnx(network, model) if network.calibration else model)


def load(path: Path, num_threads: int | None) -> tuple[OnnxSession, str | None]:
    """See :class:`zoo.export.files.FileRuntime`."""
    try:
        session = OnnxSession(path.read_bytes(), num_threads)
    except ZooError as error:
        raise CheckpointError(f"{path}: {error}; export it again") from error
    return session, session.about()


class OnnxSession:
    """An ONNX model in ONNX Runtime.

    Attributes:
        precision: what most of its layers compute in.
    """

    def __init__(self, model: bytes, num_threads: int | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except onnx_errors() as error:
            raise ZooError(f"ONNX Runtime cannot run this model ({str(error).splitlines()[0]})") from error
        self._inputs = [(each.name, _type_of(each)) for each in self._session.get_inputs()]
        self.precision = computed_in(model)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        feeds = {name: as_array(x, dtype) for (name, dtype), x in zip(self._inputs, inputs, strict=True)}
        try:
            return [torch.from_numpy(out) for out in self._session.run(None, feeds)]
        except onnx_errors() as error:
            raise ZooError(f"ONNX Runtime cannot run this model ({str(error).splitlines()[0]})") from error

    def about(self) -> str | None:
        """What the model says about itself."""
        about: str | None = self._session.get_modelmeta().custom_metadata_map.get(ABOUT)
        return about


def _type_of(value: Any) -> torch.dtype:
    if value.type not in TYPES:
        raise ZooError(f"its input {value.name} is {value.type}, which no model of the zoo has")
    return TYPES[value.type]


def computed_in(model: bytes) -> str:
    """The precision of most layers of an ONNX model, once ONNX Runtime has made the layers of it that it runs."""
    import onnx

    if not any(node.op_type == "DequantizeLinear" for node in onnx.load_from_string(model).graph.node):
        return "fp32"
    counts = Counter(node.op_type for node in onnx.load_from_string(rewritten(model, "ORT_ENABLE_EXTENDED")).graph.node)
    layers = {name: sum(counts[kind] for kind in kinds) for name, kinds in LAYERS.items()}
    return max(layers, key=layers.__getitem__)
