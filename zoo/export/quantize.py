"""int8 after training: numbers become integers of eight bits, in ranges that a calibration set shows.

The weights of a layer have a range for each output channel. What flows into it has one that is found by looking at
inputs as the model gets them in use, see :mod:`zoo.export.calibration`. What comes out stays float32 numbers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.errors import ZooError
from zoo.export.signature import Network


def quantized_openvino(network: Network, model: Any) -> Any:
    """``model``, which OpenVINO read from ``network``, in int8 by NNCF (https://github.com/openvinotoolkit/nncf).

    Raises:
        ZooError: NNCF is missing, or cannot quantise this model.
    """
    if importlib.util.find_spec("nncf") is None:
        raise ZooError(
            "int8 in OpenVINO needs nncf, which is not there: pip install 'efficient-recognition-zoo[openvino]'"
        )
    with _quiet():  # it talks while it is imported
        import nncf
        from openvino.passes import ConstantFolding, Manager

        # Weights that are computed from constants would have a range for each column, which no integer kernel takes.
        passes = Manager()
        passes.register_pass(ConstantFolding())
        passes.run_passes(model)
        names = [each.get_any_name() for each in model.inputs]
        dataset = nncf.Dataset(network.calibration, lambda inputs: dict(zip(names, _arrays(inputs), strict=True)))
        try:
            return nncf.quantize(
                model,
                dataset,
                preset=nncf.QuantizationPreset.PERFORMANCE,
                subset_size=len(network.calibration),
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

    names = list(network.signature.inputs)
    reader: Any = type("Reader", (CalibrationDataReader,), {"get_next": lambda _: next(feeds, None)})
    feeds = iter(dict(zip(names, _arrays(inputs), strict=True)) for inputs in network.calibration)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.load_from_string(_folded(model)),
            path,
            reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return path.read_bytes()


def _folded(model: bytes) -> bytes:
    """The same with what follows from constants computed: only constant weights have a range for each channel."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def _arrays(inputs: Sequence[Tensor]) -> list[Any]:
    return [tensor.detach().cpu().numpy() for tensor in inputs]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without bars of progress and hints to developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
