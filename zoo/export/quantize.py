"""int8 after training: numbers become integers of eight bits, in ranges that a calibration set shows.

The weights of a layer have a range for each output channel. What flows into it has one that is found by looking at
inputs as the model gets them in use, see :mod:`zoo.export.calibration`. What comes out stays float32 numbers.

Weights keep to seven bits: processors without instructions for the purpose (VNNI) add two products of eight bits in
sixteen, where they would be cut off without a word, and a file may come to such a processor.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.export.runtimes import absent
from zoo.export.signature import Network

ERRORS_ONLY = 3
# Where points lie is computed from the same numbers that go into layers, and eight bits do not tell neighbours apart:
# in point networks nothing but layers is in int8, none of what ONNX Runtime and OpenVINO could do in it besides.
ONNX_LAYERS = ["Conv", "Gemm", "MatMul"]
# NNCF's depthwise convolutions lose much: the logits of all steps of fingertip clips are off by 0.40 of their size with
# them in int8 and by 0.20 without, by ONNX Runtime's with them by 0.15.
DEPTHWISE = ["GroupConvolution"]
OPENVINO_OTHERS = [
    *("Add", "Subtract", "Multiply", "Divide", "Power", "Maximum", "Minimum", "Gather", "Concat"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "Interpolate", "MVN"),
]


def quantized_openvino(network: Network, model: Any) -> Any:
    """``model``, which OpenVINO read from ``network``, in int8 by NNCF (https://github.com/openvinotoolkit/nncf).

    Raises:
        ZooError: NNCF is missing, or cannot quantise this model.
    """
    lack = absent("int8 in OpenVINO", "int8", "nncf")
    if lack is not None:
        raise ZooError(lack)
    with quiet():  # it talks while it is imported
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
        from openvino.passes import ConstantFolding, Manager

        # Weights that are computed from constants would have a range for each column, which no integer kernel takes.
        passes = Manager()
        passes.register_pass(ConstantFolding())
        passes.run_passes(model)
        # Its default, the mean of each input's ranges, cuts off what is usual in the later steps of a stream.
        ranges = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            overflow_fix=nncf.OverflowFix.ENABLE,
        )
        left_out = OPENVINO_OTHERS if has_points(network) else DEPTHWISE
        used = {each.get_any_name() for each in model.inputs}  # what comes to nothing is no input
        feeds = [{name: value for name, value in feed.items() if name in used} for feed in _feeds(network)]
        try:
            return nncf.quantize(
                model,
                nncf.Dataset(feeds),
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(types=left_out, validate=False),
                subset_size=len(network.calibration),
                advanced_parameters=ranges,
            )
        except (RuntimeError, nncf.ValidationError, nncf.InternalError) as error:
            raise ZooError(f"NNCF cannot quantise this model ({str(error).splitlines()[0]})") from error


def quantized_onnx(network: Network, model: bytes) -> bytes:
    """``model``, the ONNX file of ``network``, with the operators QuantizeLinear and DequantizeLinear in it.

    Raises:
        ZooError: ONNX Runtime cannot quantise this model.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    feeds = iter(_feeds(network))
    reader: Any = type("Reader", (CalibrationDataReader,), {"get_next": lambda _: next(feeds, None)})
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                onnx.load_from_string(rewritten(model, "ORT_ENABLE_BASIC")),  # only constant weights have channels
                path,
                reader(),
                op_types_to_quantize=ONNX_LAYERS if has_points(network) else None,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except onnx_errors() as error:
            raise ZooError(f"ONNX Runtime cannot quantise this model ({str(error).splitlines()[0]})") from error
        return path.read_bytes()


def onnx_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime and its tools raise; its own errors have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception))
    return RuntimeError, ValueError, *own


def rewritten(model: bytes, level: str) -> bytes:
    """An ONNX model as ONNX Runtime rewrites it before it runs it, as far as ``level`` of its optimisations goes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def has_points(network: Network) -> bool:
    """Whether the network takes points, whose places must stay exact."""
    return "points" in network.signature.inputs


def _feeds(network: Network) -> list[dict[str, Any]]:
    """The calibration set as arrays by the names of inputs."""
    names = list(network.signature.inputs)
    return [
        {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, inputs, strict=True)}
        for inputs in network.calibration
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without bars of progress and hints to developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
