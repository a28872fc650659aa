"""PyTorch itself, operator by operator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from zoo import ops
from zoo.errors import InputError, ZooError
from zoo.export.quantize_torch import QuantizedGraph
from zoo.export.signature import Network
from zoo.layers.fused_mobilenet import with_fused_mobilenet
from zoo.layers.pvconv import PVConv
from zoo.layers.shared_mlp import use_pointwise_products
from zoo.layers.sparse_pvconv import sparse_voxel_branches
from zoo.processors import has_feature

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def lack() -> None:
    """PyTorch is always there."""


def prepare(network: Network, example: Sequence[Tensor], precision: str, num_threads: int | None) -> EagerSession:
    """See :class:`zoo.export.runtimes.Runtime`.

    On a CPU a MobileNetV2 is one operator, and point-voxel convolutions skip empty voxels where it pays.
    """
    is_cpu = example[0].device.type == "cpu"
    if is_cpu and computes_mobilenets(precision):
        calibrate = partial(_calibrate, network, num_threads) if precision == "int8" else None
        try:
            model = with_fused_mobilenet(network.model, {**TYPES, "int8": torch.int8}[precision], calibrate)
        except ValueError as error:
            raise InputError(f"the calibration set shows no ranges: {error}") from error
        if model is not None:
            fused = Network(model, network.signature)
            return EagerSession(fused, precision, num_threads, layout=None, autocast=False)
    if precision != "int8":
        network = as_precision(network, precision)
        if is_cpu and any(isinstance(module, PVConv) for module in network.modules()):
            network = copy.deepcopy(network).eval()  # other runtimes share what was given
            sparse_voxel_branches(network)
            use_pointwise_products(network)
        return EagerSession(network, precision, num_threads)
    if not is_cpu:
        raise ZooError("PyTorch computes in int8 on the CPU here: move model and example there with .cpu()")
    graph = QuantizedGraph(network, tuple(example))
    if graph.precision != precision:
        raise ZooError("torchao has integers for 2D convolutions and linear layers alone: use the runtime openvino")
    return EagerSession(graph, precision, num_threads)


def _calibrate(network: Network, num_threads: int | None) -> None:
    with threads(num_threads):
        for inputs in network.calibration:
            network(*inputs)


def computes_mobilenets(precision: str) -> bool:
    """Whether the operator for a whole MobileNetV2 has been found to pay on such a processor.

    It has in float32 with AVX2 and with AVX-512, and in bfloat16 and int8 with units for matrices. Without AVX-512
    PyTorch multiplies in bfloat16 number by number, and loses digits in the sums.
    """
    if ops.backend() != "native" or not has_feature("avx2"):
        return False
    if precision == "fp32" or (precision == "bf16" and not has_feature("avx512")):
        return True
    if precision not in ("bf16", "int8") or not has_feature("amx_tile"):
        return False
    return bool(getattr(torch.cpu, "_init_amx", lambda: False)())  # which the system may refuse


class EagerSession:
    """A network in PyTorch, or a compiled function in its place.

    Args:
        network: takes and gives tensors.
        precision: what it computes in.
        num_threads: by default PyTorch's.
        layout: how images lie in memory when the network gets them; with none as they were.
        autocast: let PyTorch compute in bf16, where that is the precision; not if the network does so by itself.

    Attributes:
        precision: what it computes in.
    """

    def __init__(
        self,
        network: Callable[..., Sequence[Tensor]],
        precision: str,
        num_threads: int | None,
        layout: torch.memory_format | None = torch.channels_last,
        autocast: bool = True,
    ):
        self.network = network
        self.precision = precision
        self.num_threads = num_threads
        self.layout = layout
        self.autocast = autocast and precision == "bf16"

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """The outputs of the network."""
        layout = self.layout
        if layout is not None:
            inputs = tuple(x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in inputs)
        with (
            torch.inference_mode(),
            threads(self.num_threads),
            torch.autocast(inputs[0].device.type, torch.bfloat16) if self.autocast else nullcontext(),
        ):
            outputs = self.network(*inputs)
        return tuple(out.float() if out.dtype == torch.bfloat16 else out for out in outputs)


def as_precision(network: Network, precision: str) -> Network:
    """The network with the weights of its layers in this precision; what lies between them stays in float32.

    Raises:
        ZooError: PyTorch does not compute in it.
    """
    if precision not in TYPES:
        raise ZooError(f"there is no precision {precision!r} in this runtime: it is {' or '.join(TYPES)}")
    if precision == "fp32":
        return network
    lower = copy.deepcopy(network)
    for module in lower.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            module.to(TYPES[precision])
    return lower


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads; with ``None`` with those that are set."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
