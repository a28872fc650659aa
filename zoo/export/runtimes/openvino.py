"""OpenVINO on the CPU (https://docs.openvino.ai)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import CheckpointError, ZooError
from zoo.export.clip_layout import keep_clips
from zoo.export.graph import ABOUT
from zoo.export.quantize import has_points, quantized_openvino
from zoo.export.runtimes import absent, as_array
from zoo.export.shift_taps import convolve_shifts
from zoo.export.signature import Network
from zoo.export.split_steps import split_steps
from zoo.processors import num_processors

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # OpenVINO would choose bfloat16 by itself where it is faster
PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "u8": "int8", "i8": "int8"}
TYPES = {"f32": torch.float32, "i64": torch.int64}
NAMES = "zoo_inputs"  # of the network, in order: OpenVINO forgets those that nothing uses
SIZES = "zoo_sizes"  # of these inputs in the example that the network was exported with
HEAVY = {"Convolution", "FullyConnected", "MatMul"}


def lack() -> str | None:
    """It is an extra."""
    return absent("OpenVINO", "openvino", "onnx", "onnxscript", "openvino")


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> OpenVINOSession:
    """See :class:`zoo.export.runtimes.Runtime`."""
    if example[0].device.type != "cpu":
        raise ZooError("the runtime openvino computes on the CPU: move model and example there with .cpu()")
    # In bfloat16 convolutions of clips are slower than those of frames, see docs/shift_forms.md.
    model = read(network.onnx(example) if precision == "bf16" else _in_its_form(network, example))
    if precision == "int8":
        model = quantized_openvino(network, model)
    floats = "bf16" if precision == "int8" and _halves(network) else precision
    session = OpenVINOSession(model, list(network.signature.inputs), floats, num_threads, [x.shape for x in example])
    if session.precision != precision:
        raise ZooError(f"OpenVINO computes in {session.precision} on this processor, not in {precision}: ask for that")
    return session


@cache
def core() -> Any:
    """What OpenVINO does everything with: one, for as long as the process lives.

    Where processors have units for matrices, its plugin gives the thread a stack for signals, and takes it away when
    the plugin goes. With two that overlap, the thread is left with one that is gone: the next signal ends the process.
    """
    import openvino

    return openvino.Core()


def _halves(network: Network) -> bool:
    """Whether what int8 leaves out may have half the bits: the processor computes in them, and no places of points."""
    return not has_points(network) and "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def write(path: Path, network: Network, example: Sequence[Tensor], about: str) -> None:
    """See :class:`zoo.export.files.FileRuntime`."""
    import openvino

    model = read(_in_its_form(network, example))
    if network.calibration:
        model = quantized_openvino(network, model)
    model.set_rt_info(about, [ABOUT])
    model.set_rt_info(",".join(network.signature.inputs), [NAMES])
    model.set_rt_info(";".join(",".join(map(str, x.shape)) for x in example), [SIZES])
    openvino.save_model(model, path, compress_to_fp16=False)


def load(path: Path, num_threads: int | None) -> tuple[OpenVINOSession, str | None]:
    """See :class:`zoo.export.files.FileRuntime`."""
    try:
        model = read(str(path))
        about, named, sized = (
            model.get_rt_info([key]).astype(str) if model.has_rt_info([key]) else "" for key in (ABOUT, NAMES, SIZES)
        )
        names = named.split(",") if named else [each.get_any_name() for each in model.inputs]
        sizes = [[int(size) for size in each.split(",")] for each in sized.split(";")] if sized else []
        return OpenVINOSession(model, names, "fp32", num_threads, sizes), about or None
    except (ZooError, ValueError, IndexError) as error:  # the last two where somebody changed what the file says
        raise CheckpointError(f"{path}: {error}; export it again, and keep the .bin beside it") from error


def _in_its_form(network: Network, example: Sequence[Tensor]) -> bytes:
    """The network as an ONNX file in which shifts have the form that is fastest here, see docs/shift_forms.md."""
    import onnx

    content = network.onnx(example)
    model = onnx.load_from_string(content)
    floats = not network.calibration  # int8 has other fast forms
    if network.signature.is_step:
        changed = floats and split_steps(model)
    else:
        changed = keep_clips(model)
        if changed and floats:
            convolve_shifts(model)
    return model.SerializeToString() if changed else content


def read(model: bytes | str) -> Any:
    """An OpenVINO model from an ONNX or an OpenVINO file, or the bytes of the former.

    Raises:
        ZooError: OpenVINO has no counterpart of one of its operators.
    """
    try:
        return core().read_model(model)
    except RuntimeError as error:
        raise _cannot("read", error) from error


class OpenVINOSession:
    """A model in OpenVINO.

    Args:
        model: of OpenVINO.
        names: of the inputs that it is called with.
        precision: what floating point numbers are asked to be computed in; what is quantised stays so.
        num_threads: by default those of PyTorch.
        sizes: of the inputs as they come most often. OpenVINO is faster where it knows them beforehand; other sizes
            have a model of their own, compiled at the first call with one.

    Attributes:
        precision: what its layers really compute in.
    """

    def __init__(
        self,
        model: Any,
        names: Sequence[str],
        precision: str,
        num_threads: int | None,
        sizes: Sequence[Sequence[int]] = (),
    ):
        threads = num_threads or torch.get_num_threads()
        self._model = model
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Sessions of few threads would all be tied to the same, the first processors.
            "ENABLE_CPU_PINNING": threads >= num_processors(),
        }
        types = {each.get_any_name(): _type_of(each) for each in model.inputs}
        self._inputs = [(position, name, types[name]) for position, name in enumerate(names) if name in types]
        self._sizes = {name: tuple(sizes[position]) for position, name, _ in self._inputs} if sizes else None
        self._compiling = threading.Lock()
        self._compiled: dict[bool, Any] = {}  # by whether it is for these sizes
        self._own = threading.local()  # a request holds the outputs of one call: every thread has its own
        self.precision = computed_in(self._compile(sized=self._sizes is not None))

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        # NumPy makes copies on this thread alone; those of PyTorch spin for a while and would take the runtime's time.
        arrays = {name: as_array(inputs[position], dtype) for position, name, dtype in self._inputs}
        sized = {name: array.shape for name, array in arrays.items()} == self._sizes
        try:
            return [torch.from_numpy(out) for out in self._request(sized)(arrays)]
        except RuntimeError as error:
            raise _cannot("run", error) from error

    def _request(self, sized: bool) -> _Request:
        if not hasattr(self._own, "requests"):
            self._own.requests = {}
        if sized not in self._own.requests:
            self._own.requests[sized] = _Request(self._compile(sized))
        return self._own.requests[sized]

    def _compile(self, sized: bool) -> Any:
        with self._compiling:
            if sized not in self._compiled:
                model = self._model
                try:
                    if sized:
                        model = model.clone()
                        model.reshape({name: list(size) for name, size in (self._sizes or {}).items()})
                    self._compiled[sized] = core().compile_model(model, "CPU", self._settings)
                except RuntimeError as error:
                    raise _cannot("run", error) from error
            return self._compiled[sized]


class _Request:
    """Calls of a compiled model, one after another.

    To hand over tensors, and to get those that OpenVINO makes, takes longer than to copy what small inputs and outputs
    hold: a step of an online model has eleven of each. So where all sizes are known they stay.

    Args:
        compiled: a model of OpenVINO.
    """

    def __init__(self, compiled: Any):
        self._request = compiled.create_infer_request()
        self._outputs = range(len(compiled.outputs))
        self._kept_inputs: dict[str, Any] = {}
        self._kept_outputs: list[Any] = []
        if all(each.partial_shape.is_static for each in (*compiled.inputs, *compiled.outputs)):
            names = [each.get_any_name() for each in compiled.inputs]
            self._kept_inputs = {name: self._request.get_tensor(name).data for name in names}
            self._kept_outputs = [self._request.get_output_tensor(index).data for index in self._outputs]

    def __call__(self, arrays: dict[str, Any]) -> list[Any]:
        """The outputs, which are the caller's."""
        import openvino

        shared = []  # which have to live for as long as it computes
        for name, array in arrays.items():
            if name in self._kept_inputs:
                np.copyto(self._kept_inputs[name], array)
            else:
                shared.append(np.ascontiguousarray(array))
                self._request.set_tensor(name, openvino.Tensor(shared[-1], shared_memory=True))
        try:
            self._request.start_async()
        finally:  # also where a signal ends the program's patience: what runs writes here
            self._request.wait()
        outputs = self._kept_outputs or [self._request.get_output_tensor(index).data for index in self._outputs]
        return [out.copy() for out in outputs]


def _cannot(do: str, error: RuntimeError) -> ZooError:
    """The last line of what OpenVINO says, which is the reason."""
    return ZooError(f"OpenVINO cannot {do} this model ({str(error).strip().splitlines()[-1].strip()})")


def _type_of(value: Any) -> torch.dtype:
    kind = value.element_type.get_type_name()
    if kind not in TYPES:
        raise ZooError(f"its input {value.get_any_name()} is {kind}, which no model of the zoo has")
    return TYPES[kind]


def computed_in(compiled: Any) -> str:
    """The precision of most layers of a compiled model, as the runtime itself tells it."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        if "layerType" in about and str(about["layerType"].value) in HEAVY:
            counts[str(about["runtimePrecision"].value)] += 1
    (kind, _), *_ = counts.most_common(1) or [("f32", 0)]
    return PRECISIONS.get(kind, kind)
