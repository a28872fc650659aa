"""A network as a graph of plain operators: batch and number of points may be any."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export import plain_ops
from zoo.export.cut_producers import cut_producers
from zoo.export.signature import Network
from zoo.ops.backends import computed_by

ABOUT = "zoo"  # the key under which a file says what it is
OPSET = 18  # what the exporter itself writes
LARGEST = 2**26  # values of a constant that is computed beforehand: weights, above all, whose shape is changed
TOOLS = ("torch.onnx", "onnxscript", "torch.utils.cpp_extension")  # whose loggers tell of themselves


def exported_program(network: Network, example: Sequence[Tensor], plain: bool = True) -> Any:
    """The graph of ``network`` as PyTorch has it.

    Args:
        network: to be traced.
        example: inputs that it takes; traced with the batch doubled, since one would be taken for a constant.
        plain: of operators that every runtime has; else with the zoo's own.

    Raises:
        ZooError: the network cannot be traced.
    """
    inputs = tuple(torch.cat([tensor, tensor]) for tensor in example)
    dynamic = torch.export.Dim.DYNAMIC
    shapes = tuple(
        {axis: dynamic for axis, size in enumerate(shape) if isinstance(size, str)}
        for shape in network.signature.inputs.values()
    )
    try:
        with quiet_tools(), torch.no_grad(), computed_by(plain_ops) if plain else contextlib.nullcontext():
            return torch.export.export(network.eval(), inputs, dynamic_shapes=(shapes,), strict=False)
    except (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ZooError(
            f"{type(network.model).__name__} cannot be traced ({reason}): use the runtime eager or compile"
        ) from error


def onnx_bytes(network: Network, example: Sequence[Tensor], about: str | None = None) -> bytes:
    """The network as an ONNX file.

    Args:
        network: to be exported.
        example: inputs that it takes.
        about: what the file says about itself.

    Raises:
        ZooError: the network cannot be exported; the text names the operator that stands in the way.
    """
    from onnxscript import optimizer

    from zoo.export import onnx_ops

    signature = network.signature
    # Behind channels-last weights the mean over a frame would become arithmetic of indices and a Gather.
    contiguous = copy.deepcopy(network.model).to(memory_format=torch.contiguous_format)
    program = exported_program(Network(contiguous, signature), example)
    try:
        with quiet_tools():
            model: Any = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                optimize=False,
                opset_version=OPSET,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                custom_translation_table=onnx_ops.TABLE,
            )
            optimizer.optimize(model.model, input_size_limit=LARGEST, output_size_limit=LARGEST)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        lines = [line for line in str(error).splitlines() if "No ONNX function" in line or "not supported" in line]
        reason = lines[0].strip() if lines else str(error).strip().splitlines()[0]
        raise ZooError(
            f"{type(network.model).__name__} cannot become ONNX ({reason}): use the runtime eager or compile"
        ) from error
    model.rename_axes(
        {
            str(there): wanted
            for value, shape in zip(model.model.graph.inputs, signature.inputs.values(), strict=True)
            for there, wanted in zip(value.shape or (), shape, strict=True)
            if isinstance(wanted, str)
        }
    )
    proto = model.model_proto
    cut_producers(proto)
    if about is not None:
        entry = proto.metadata_props.add()
        entry.key, entry.value = ABOUT, about
    written: bytes = proto.SerializeToString()
    return written


@contextlib.contextmanager
def quiet_tools() -> Iterator[None]:
    """Without what exporters and compilers say to their developers."""
    levels = {logger: logger.level for logger in map(logging.getLogger, TOOLS)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
