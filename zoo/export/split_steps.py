"""An ONNX graph of an online step in which no channels are put together (for TSM, section 3.3).

What a 1x1 convolution sees of a shifted frame is the sum of two products: of what the frame before left, and of the
frame itself with zeros for weights of the channels that moved away. The second multiplies an eighth in vain, and is
faster all the same where a ``Concat`` or a ``Slice`` would take the values out of the order in which convolutions want
them, see docs/shift_forms.md.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from zoo.export.onnx_graph import integer, shapes_of

CHANNELS = 1


def split_steps(model: Any) -> bool:
    """Let ``Conv(Concat(state, Slice(x)))`` be ``Conv(x) + Conv(state)``.

    Args:
        model: an ``onnx.ModelProto``, which changes; it computes the same of finite numbers, but for the order of
            sums.

    Returns:
        whether there was any.
    """
    from onnx import numpy_helper, shape_inference

    graph = model.graph
    shapes = shapes_of(shape_inference.infer_shapes(model).graph)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    maker = {out: node for node in graph.node for out in node.output}
    inputs = {each.name for each in graph.input}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(each.name for each in graph.output)
    nodes, gone = [], set()
    for node in graph.node:
        put = maker.get(node.input[0]) if _is_pointwise(node, constants) else None
        cut = maker.get(put.input[1]) if put is not None and _puts_before(put, inputs) else None
        weight: Any = constants.get(node.input[1]) if cut is not None else None
        if put is None or cut is None or uses[put.output[0]] > 1 or not _cuts_off(cut, constants, shapes, weight):
            nodes.append(node)
            continue
        moved = constants[cut.input[1]].item()
        now = weight.copy()
        now[:, :moved] = 0
        nodes += _sum_of_two(graph, node, (cut.input[0], now), (put.input[0], weight[:, :moved]))
        gone.add(put.output[0])
        if uses[cut.output[0]] == 1:
            gone.add(cut.output[0])
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.output[0] not in gone)
    return bool(gone)


def _is_pointwise(node: Any, constants: dict[str, Any]) -> bool:
    """It is a 1x1 convolution of all channels, with weights that are known."""
    if node.op_type != "Conv" or node.input[1] not in constants:
        return False
    return integer(node, "group", 1) == 1 and constants[node.input[1]].shape[2:] == (1, 1)


def _puts_before(node: Any, inputs: set[str]) -> bool:
    """It puts an input of the graph before some channels."""
    return (
        node.op_type == "Concat"
        and integer(node, "axis", 0) == CHANNELS
        and len(node.input) == 2
        and node.input[0] in inputs
    )


def _cuts_off(node: Any, constants: dict[str, Any], shapes: dict[str, list[int]], weight: Any) -> bool:
    """It leaves out some of the first of as many channels as ``weight`` is for, and nothing else."""
    if node.op_type != "Slice" or not all(name in constants for name in node.input[1:]) or node.input[0] not in shapes:
        return False
    (start, *more), (end, *_), axes, *steps = (constants[name].tolist() for name in node.input[1:])
    to_the_last = start > 0 and end >= shapes[node.input[0]][CHANNELS] == weight.shape[CHANNELS]
    return not more and axes == [CHANNELS] and to_the_last and all(step == [1] for step in steps)


def _sum_of_two(graph: Any, conv: Any, *terms: tuple[str, Any]) -> list[Any]:
    """``conv`` as the sum of convolutions like it, of these tensors with these weights."""
    from onnx import helper, numpy_helper

    parts = []
    for index, (name, weight) in enumerate(terms):
        part = type(conv)()
        part.CopyFrom(conv)
        part.name = part.output[0] = f"{conv.output[0]}_term_{index}"
        part.input[:] = [name, f"{part.name}_weight", *(conv.input[2:] if index == 0 else ())]
        graph.initializer.append(numpy_helper.from_array(weight.copy(), part.input[1]))
        parts.append(part)
    return [*parts, helper.make_node("Add", [part.output[0] for part in parts], conv.output[:])]
