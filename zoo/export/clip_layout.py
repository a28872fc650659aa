"""An ONNX graph in which the frames of a clip stay together: [B, C, T, H, W] in the place of [B*T, C, H, W].

A temporal shift needs time as a dimension of its own. Where the frames are folded into the batch, runtimes copy what is
shifted to unfold it and to fold it again; where layers see clips, a shift is a pad along time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo.export.onnx_graph import shapes_of

FRAMES = (0, 1, 3, 4)  # which dimension of a clip [B, C, T, H, W] each of [B*T, C, H, W] is; 0 is two of them
UNFOLDED = (0, 2, 1, 3, 4)  # and of [B, T, C, H, W]
TIME = 2
PIXELS = (3, 4)
WINDOWS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}  # attributes, and what they are for time


def keep_clips(model: Any) -> bool:
    """Let layers between the folding of frames into the batch and the mean over space work on clips.

    Args:
        model: an ``onnx.ModelProto``, which changes; it computes the same.

    Returns:
        whether it changed: it is left as it is where nothing is shifted, since that would gain nothing, and where an
        operator is met that is not known.
    """
    from onnx import shape_inference

    writer = _ClipWriter(shape_inference.infer_shapes(model).graph)
    try:
        for node in model.graph.node:
            writer.write(node)
    except _UnknownError:
        return False
    if UNFOLDED not in writer.layouts.values() or any(out.name in writer.layouts for out in model.graph.output):
        return False
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend(writer.new_constants)
    return True


class _UnknownError(Exception):
    """An operator whose counterpart for clips is not written down here."""


class _ClipWriter:
    """Writes the nodes of a graph anew.

    Attributes:
        layouts: what the dimensions of a tensor were, ``FRAMES`` or ``UNFOLDED``, where it is a clip now; by name.
        clips: the clip that it is.
        nodes: those that were written.
        new_constants: that they need.
        num_frames: of a clip.
    """

    def __init__(self, graph: Any):
        from onnx import numpy_helper

        self.constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.inputs = {each.name for each in graph.input}
        self.shapes = shapes_of(graph)
        self.layouts: dict[str, tuple[int, ...]] = {}
        self.clips: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.new_constants: list[Any] = []
        self.num_frames = 0

    def write(self, node: Any) -> None:
        """The counterpart of ``node``."""
        if any(name in self.layouts for name in node.input):
            rule = RULES.get(node.op_type)
            _check(rule is not None and len({self.layouts[name] for name in node.input if name in self.layouts}) == 1)
            assert rule is not None
            rule(self, node)
        elif self._folds(node):
            self.num_frames = self.shapes[node.input[0]][1]
            self._add("Transpose", [node.input[0]], self._clip(node.output[0], FRAMES), perm=UNFOLDED)
        else:
            self.nodes.append(node)

    def _folds(self, node: Any) -> bool:
        """It makes frames of the clips that are an input."""
        if node.op_type != "Reshape" or node.input[0] not in self.inputs:
            return False
        shape = self.shapes[node.input[0]]
        return len(shape) == len(UNFOLDED) and self._numbers(node, 1) == [-1, *shape[2:]]

    def reshape(self, node: Any) -> None:
        """Frames are unfolded, folded or stay as they are: the clip is the same."""
        layout = self._layout(node)
        shape, (_, *sides) = self._numbers(node, 1), self.shapes[node.input[0]]
        if shape != [-1, *sides]:
            unfolds = layout == FRAMES
            _check(shape == ([-1, self.num_frames, *sides] if unfolds else [-1, *sides[1:]]))
            layout = UNFOLDED if unfolds else FRAMES
        self.layouts[node.output[0]], self.clips[node.output[0]] = layout, self.clips[node.input[0]]

    def elementwise(self, node: Any) -> None:
        """What sees every element alone, beside constants of one element."""
        _check(all(name in self.layouts or not name or self._is_scalar(name) for name in node.input))
        self._copy(node)

    def _is_scalar(self, name: str) -> bool:
        return name in self.constants and self.constants[name].size == 1

    def window(self, node: Any) -> None:
        """A convolution or pooling sees every frame alone: its window is one frame long."""
        from onnx import helper

        _check(self._layout(node) == FRAMES and len(node.output) == 1)
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        _check(attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and "kernel_shape" in attributes)
        for name, of_time in WINDOWS.items():
            if name in attributes:
                sides = list(attributes[name])
                half = len(sides) // 2
                both = [of_time, *sides[:half], of_time, *sides[half:]]
                attributes[name] = both if name == "pads" else [of_time, *sides]
        inputs = list(node.input[1:])
        if inputs:
            weight = f"{node.output[0]}_clip_weight"
            self._add("Unsqueeze", [inputs[0], self._constant(f"{weight}_axis", [TIME])], weight)
            inputs[0] = weight
        self._add(node.op_type, [self.clips[node.input[0]], *inputs], self._clip(node.output[0], FRAMES), **attributes)

    def along_axis(self, node: Any) -> None:
        """``Split`` and ``Concat``."""
        axis = next((each for each in node.attribute if each.name == "axis"), None)
        _check(axis is not None and (node.op_type == "Split" or all(name in self.layouts for name in node.input)))
        assert axis is not None
        (there,) = self._places(node, [axis.i])
        copy = self._copy(node)
        next(each for each in copy.attribute if each.name == "axis").i = there

    def cut(self, node: Any) -> None:
        """``Slice``."""
        _check(len(node.input) >= 4)
        self._copy(node, {3: self._places(node, self._numbers(node, 3))})

    def pad(self, node: Any) -> None:
        """The pads are given for all dimensions: those of each go where it is now."""
        _check(len(node.input) <= 3 and self._layout(node) == UNFOLDED)
        pads = self._numbers(node, 1)
        half = len(pads) // 2
        self._copy(node, {1: [pads[first + dim] for first in (0, half) for dim in UNFOLDED]})

    def mean(self, node: Any) -> None:
        """The mean over space ends it: its output is folded as it was."""
        _check(node.op_type == "GlobalAveragePool" or len(node.input) == 2)
        axes = [2, 3] if node.op_type == "GlobalAveragePool" else self._numbers(node, 1)
        _check(self._layout(node) == FRAMES and sorted(self._places(node, axes)) == list(PIXELS))
        out = node.output[0]
        keeps = next((each.i for each in node.attribute if each.name == "keepdims"), 1)
        inputs = [self.clips[node.input[0]], self._constant(f"{out}_clip_axes", list(PIXELS))]
        self._add("ReduceMean", inputs, f"{out}_clip", keepdims=keeps)
        self._add("Transpose", [f"{out}_clip"], f"{out}_clip_frames", perm=UNFOLDED if keeps else UNFOLDED[:3])
        _check(out in self.shapes)
        self._add(
            "Reshape", [f"{out}_clip_frames", self._constant(f"{out}_clip_shape", [-1, *self.shapes[out][1:]])], out
        )

    def _layout(self, node: Any) -> tuple[int, ...]:
        _check(node.input[0] in self.layouts)
        return self.layouts[node.input[0]]

    def _places(self, node: Any, axes: list[int]) -> list[int]:
        """Which dimensions of the clip ``axes`` of the first input are."""
        layout = self._layout(node)
        _check(all(axis % len(layout) for axis in axes))
        return [layout[axis] for axis in axes]

    def _numbers(self, node: Any, index: int) -> list[int]:
        name = node.input[index]
        _check(name in self.constants)
        return [int(each) for each in self.constants[name]]

    def _clip(self, name: str, layout: tuple[int, ...]) -> str:
        self.layouts[name] = layout
        self.clips[name] = name
        return name

    def _copy(self, node: Any, numbers: dict[int, list[int]] | None = None) -> Any:
        """The same node for clips; ``numbers`` takes the place of constant inputs."""
        copy = type(node)()
        copy.CopyFrom(node)
        copy.input[:] = [self.clips.get(name, name) for name in node.input]
        for index, values in (numbers or {}).items():
            copy.input[index] = self._constant(f"{node.output[0]}_clip_input_{index}", values)
        self.nodes.append(copy)
        for name in node.output:
            self._clip(name, self._layout(node))
        return copy

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, values: list[int]) -> str:
        import numpy as np
        from onnx import numpy_helper

        self.new_constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name


def _check(known: bool) -> None:
    if not known:
        raise _UnknownError


RULES: dict[str, Callable[[_ClipWriter, Any], None]] = {
    **dict.fromkeys(("Add", "Mul", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish"), _ClipWriter.elementwise),
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool"), _ClipWriter.window),
    **dict.fromkeys(("Split", "Concat"), _ClipWriter.along_axis),
    **dict.fromkeys(("ReduceMean", "GlobalAveragePool"), _ClipWriter.mean),
    "Slice": _ClipWriter.cut,
    "Pad": _ClipWriter.pad,
    "Reshape": _ClipWriter.reshape,
}
