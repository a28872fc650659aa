"""An ONNX graph in which layers give in several tensors what would be cut behind them (for TSM, figure 3b).

A shift moves a quarter of the channels. Where the layers before give those in a tensor of their own, the rest is not
copied: ``Split(Relu(Add(Conv(x), shortcut)))`` becomes two convolutions, additions and activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

from zoo.export.onnx_graph import integer

CHANNELS = 1
ELEMENTWISE = ("Add", "Relu", "Clip")


def cut_producers(model: Any) -> int:
    """Let the layers before every ``Split`` of channels give its outputs.

    Args:
        model: an ``onnx.ModelProto``, which changes; it computes the same.

    Returns:
        how many splits are gone.
    """
    return _Cutter(model.graph).run()


class _Cutter:
    """Works on one graph.

    Attributes:
        maker: the node that gives a tensor, by name.
        parts: the tensors that together are a tensor, by its name.
    """

    def __init__(self, graph: Any):
        from onnx import numpy_helper

        self.graph = graph
        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.maker: dict[str, Any] = {out: node for node in graph.node for out in node.output}
        self.parts: dict[str, list[str]] = {}

    def run(self) -> int:
        """Cut, and put the nodes that are needed into order."""
        splits = [node for node in self.graph.node if self._cuts_channels(node)]
        if not splits or any(attribute.HasField("g") for node in self.graph.node for attribute in node.attribute):
            return 0  # a loop's own graph needs tensors too, which no input names
        renamed: dict[str, str] = {}
        for split in splits:
            sizes = tuple(int(size) for size in self.constants[split.input[1]])
            renamed |= zip(split.output, self._cut(split.input[0], sizes), strict=True)
        kept = len({self.maker[part].name for part in renamed.values() if self.maker[part].op_type == "Split"})
        for whole, parts in self.parts.items():
            if self.maker[parts[0]].op_type != "Split":
                self._add("Concat", parts, [whole], axis=CHANNELS)  # for whoever needs all channels
        for node in {id(node): node for node in self.maker.values()}.values():
            for index, name in enumerate(node.input):
                node.input[index] = renamed.get(name, name)
        nodes = list(self._in_order())
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input} | {out.name for out in self.graph.output}
        constants = [each for each in self.graph.initializer if each.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(constants)
        return len(splits) - kept

    def _cuts_channels(self, node: Any) -> bool:
        known = len(node.input) == 2 and node.input[1] in self.constants
        return bool(node.op_type == "Split" and integer(node, "axis", 0) == CHANNELS and known)

    def _cut(self, whole: str, sizes: tuple[int, ...]) -> list[str]:
        """The parts of a tensor."""
        if whole not in self.parts:
            maker = self.maker.get(whole)  # none of an input or a constant
            if maker is None:
                self.parts[whole] = self._split(whole, sizes)
            elif maker.op_type == "Conv" and integer(maker, "group", 1) == 1 and maker.input[1] in self.constants:
                self.parts[whole] = self._cut_conv(maker, sizes)
            elif maker.op_type in ELEMENTWISE and not self._has_constants(maker):
                self.parts[whole] = self._cut_elementwise(maker, sizes)
            else:
                self.parts[whole] = self._split(whole, sizes)
        return self.parts[whole]

    def _cut_conv(self, conv: Any, sizes: tuple[int, ...]) -> list[str]:
        parts, first = [], 0
        for index, size in enumerate(sizes):
            rows = [
                self._constant(f"{name}_{index}", self.constants[name][first : first + size]) for name in conv.input[1:]
            ]
            parts.append(self._copy(conv, index, [conv.input[0], *rows]))
            first += size
        return parts

    def _cut_elementwise(self, node: Any, sizes: tuple[int, ...]) -> list[str]:
        count = 2 if node.op_type == "Add" else 1
        cut = [self._cut(name, sizes) for name in node.input[:count]]
        return [
            self._copy(node, index, [*parts, *node.input[count:]]) for index, parts in enumerate(zip(*cut, strict=True))
        ]

    def _has_constants(self, node: Any) -> bool:
        return node.op_type == "Add" and not all(name in self.maker for name in node.input)

    def _split(self, whole: str, sizes: tuple[int, ...]) -> list[str]:
        import numpy as np

        names = [f"{whole}_part_{index}" for index in range(len(sizes))]
        lengths = self._constant(f"{whole}_sizes", np.array(sizes, np.int64))
        self._add("Split", [whole, lengths], names, axis=CHANNELS)
        return names

    def _copy(self, node: Any, index: int, inputs: list[str]) -> str:
        """The same for a part of the channels."""
        out = f"{node.output[0]}_part_{index}"
        copy = type(node)()
        copy.CopyFrom(node)
        copy.name = out
        copy.input[:], copy.output[:] = inputs, [out]
        self.maker[out] = copy
        return out

    def _add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        node = helper.make_node(operator, inputs, outputs, name=f"{operator}_{outputs[0]}", **attributes)
        self.maker |= dict.fromkeys(outputs, node)

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = value
            self.graph.initializer.append(numpy_helper.from_array(value.copy(), name))
        return name

    def _in_order(self) -> Iterator[Any]:
        """The nodes that the outputs of the graph need, each behind those that it needs."""
        needed: dict[str, list[str]] = {}
        open_names = [out.name for out in self.graph.output]
        while open_names:
            name = open_names.pop()
            if name in self.maker and name not in needed:
                needed[name] = [each for each in self.maker[name].input if each in self.maker]
                open_names += needed[name]
        done = set()
        for name in TopologicalSorter(needed).static_order():
            node = self.maker[name]
            if id(node) not in done:
                done.add(id(node))
                yield node
