"""int8 after training in PyTorch itself, by torchao (https://github.com/pytorch/ao) for x86 processors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.export.graph import exported_program
from zoo.export.quantize import quiet
from zoo.export.runtimes import absent
from zoo.export.signature import Network
from zoo.processors import has_feature

INTEGER = ("qconv", "qlinear")  # what oneDNN's operators on integers are called,
FLOAT = ("convolution", "conv1d", "conv2d", "conv3d", "linear", "addmm")  # and those on floating point numbers


class QuantizedGraph:
    """A network whose 2D convolutions and linear layers are operators of oneDNN on integers; the rest is float32.

    It is made for one batch size, and once more for every other that comes.

    Args:
        network: with a calibration set.
        example: inputs that it takes.

    Attributes:
        precision: what most of its layers compute in.

    Raises:
        ZooError: torchao is missing, or the network cannot be traced.
    """

    def __init__(self, network: Network, example: tuple[Tensor, ...]):
        lack = absent("int8 in PyTorch", "int8", "torchao")
        if lack is not None:
            raise ZooError(lack)
        with quiet(), torch.no_grad():
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

            # Numbers keep to seven bits where sums of two products would be cut off, see zoo.export.quantize.
            everywhere = x86.get_default_x86_inductor_quantization_config(reduce_range=not has_feature("vnni"))
            graph: Any = exported_program(network, example).module()
            watched = prepare_pt2e(graph, x86.X86InductorQuantizer().set_global(everywhere))
            for inputs in network.calibration:
                watched(*inputs)
            self._converted = convert_pt2e(watched)
        self._lowered: dict[tuple[torch.Size, ...], Any] = {}
        self.precision = _computed_in(self._for(example))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the network."""
        outputs: tuple[Tensor, ...] = self._for(inputs)(*inputs)
        return outputs

    def _for(self, inputs: tuple[Tensor, ...]) -> Any:
        """The graph for inputs of this size."""
        sizes = tuple(tensor.shape for tensor in inputs)
        if sizes not in self._lowered:
            with quiet(), torch.inference_mode(False), torch.no_grad():
                from torchao.quantization.pt2e.lowering import lower_pt2e_quantized_to_x86

                example = tuple(tensor.clone() for tensor in inputs)
                self._lowered[sizes] = lower_pt2e_quantized_to_x86(self._converted, example)
        return self._lowered[sizes]


def _computed_in(graph: Any) -> str:
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    integer, floating = (sum(any(kind in name for kind in kinds) for name in names) for kinds in (INTEGER, FLOAT))
    return "int8" if integer > floating else "fp32"
