"""What is asked of an ONNX graph before it is changed."""

from __future__ import annotations

from typing import Any


def shapes_of(graph: Any) -> dict[str, list[int]]:
    """The sizes of inputs and of what shape inference found, by name; 0 for one that may be any."""
    values = (*graph.input, *graph.value_info)
    return {each.name: [size.dim_value for size in each.type.tensor_type.shape.dim] for each in values}


def integer(node: Any, name: str, default: int) -> int:
    """The attribute ``name`` of a node, or what it is where it is not given."""
    return next((int(each.i) for each in node.attribute if each.name == name), default)
