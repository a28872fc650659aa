"""What PyTorch's exporter to ONNX does not know, in operators of ONNX. Needs onnxscript."""

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import FLOAT, INT64, opset18, script
from onnxscript import opset18 as op

from zoo.export import plain_ops


@script(default_opset=opset18)
def furthest_point_sample(points: FLOAT, num_samples: int) -> INT64:
    """A loop, in which every step needs the last; [B, 3, N] to indices [B, M]."""
    shape = op.Shape(points)
    batch, size = op.Slice(shape, [0], [1]), op.Slice(shape, [2], [3])
    both = op.Concat(batch, size, axis=0)
    rows = op.Reshape(op.Transpose(points, perm=[0, 2, 1]), [-1, 3])
    first = op.Range(0, op.Squeeze(batch), 1) * size
    count = op.Constant(value_int=num_samples)
    number = op.Range(0, count, 1)
    last = first * 0
    chosen = op.Expand(op.Unsqueeze(last, [1]), op.Concat(batch, op.Reshape(count, [1]), axis=0))
    distance = op.ReduceSum(points * 0.0, [1], keepdims=0) + 3.0e38
    for step in range(num_samples):
        chosen = op.Where(number == step, op.Unsqueeze(last, [1]), chosen)
        at = op.Unsqueeze(op.Gather(rows, last + first), [2])
        offset = points - at
        distance = op.Min(distance, op.ReduceSum(offset * offset, [1], keepdims=0))
        distance = op.Reshape(distance, both)  # which OpenVINO does not know to have two axes
        last = op.ArgMax(distance, axis=1, keepdims=0)
    return chosen


def stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Of equal values the operator of ONNX puts the lower index first."""
    size = op.Shape(x, start=dim, end=dim + 1 or None)
    return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)


TABLE: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sort.stable: stable_sort,
    plain_ops.sample_op: furthest_point_sample,
}
