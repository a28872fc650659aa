"""Forms of the temporal shift and networks that hold them, written down as ONNX; tools/bench_shift_forms.py times them.

The networks have random weights. Some forms change more than the shift: how producers cut their channels, or which
dimension time is. ``none`` is the network without a shift (TSN).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

FRAMES, SIDE, CLASSES, SHIFT_DIV = 8, 224, 400, 8
OPSET, IR_VERSION = 20, 10
Array = np.ndarray[Any, np.dtype[Any]]
Parts = list[str]  # the names of tensors that together are all channels of the frames


@dataclass(frozen=True)
class Block:
    """A residual block: 1x1, 3x3, 1x1.

    Attributes:
        channels: before the block, inside, and behind it.
        stride: of the 3x3 convolution.
        depthwise: the 3x3 convolution sees each channel alone.
        shortcut: "identity", "projection" or "none".
        shifted: its input is shifted.
        rectified: an activation is behind the sum.
    """

    channels: tuple[int, int, int]
    stride: int
    depthwise: bool
    shortcut: str
    shifted: bool
    rectified: bool


@dataclass(frozen=True)
class Network:
    """Stem, blocks, and channels of the convolution before pooling (0 for none)."""

    stem: tuple[int, int]  # kernel, channels
    pooled: bool
    blocks: tuple[Block, ...]
    last: int
    activation: str


def resnet50() -> Network:
    """He et al. 2016, table 1; the stride is in the 3x3 convolution."""
    blocks, channels = [], 64
    for stage, count in enumerate((3, 4, 6, 3)):
        inner = 64 << stage
        for index in range(count):
            shortcut = "identity" if index else "projection"
            stride = 2 if stage and not index else 1
            blocks.append(Block((channels, inner, 4 * inner), stride, False, shortcut, True, True))
            channels = 4 * inner
    return Network((7, 64), True, tuple(blocks), 0, "Relu")


def mobilenetv2() -> Network:
    """Sandler et al. 2018, table 2; the ten blocks with a residual are shifted."""
    blocks, channels = [Block((32, 32, 16), 1, True, "none", False, False)], 16
    for out, count, stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        for index in range(count):
            same = index > 0
            shortcut = "identity" if same else "none"
            blocks.append(Block((channels, 6 * channels, out), 1 if same else stride, True, shortcut, same, False))
            channels = out
    return Network((3, 32), False, tuple(blocks), 1280, "Clip")


class Graph:
    """ONNX nodes as they are added.

    Attributes:
        five: tensors are clips [N, C, T, H, W] and not frames [N*T, C, H, W].
    """

    def __init__(self, five: bool):
        self.five = five
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.frames: list[Any] = []  # tensors of frames that come from a reshape: one name for their number

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; gives the names of its outputs."""
        from onnx import helper

        names = [f"{operator}_{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.add(operator, *inputs, **attributes)[0]

    def constant(self, value: Array) -> str:
        """A constant tensor."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def numbers(self, *values: int) -> str:
        """A constant list of integers."""
        return self.constant(np.array(values, np.int64))

    def reshape(self, x: str, *shape: int) -> str:
        """A reshape."""
        return self.one("Reshape", x, self.numbers(*shape))

    def as_frames(self, x: str, *shape: int) -> str:
        """Frames [N*T, *shape]. That their number has a name lets ONNX Runtime see that it is one everywhere."""
        from onnx import TensorProto, helper

        out = self.reshape(x, -1, *shape)
        self.frames.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, ["frames", *shape]))
        return out

    def conv(self, x: str, weight: Array, bias: Array | None = None, stride: int = 1, groups: int = 1) -> str:
        """A convolution of every frame, or over time as well where ``weight`` is five-dimensional."""
        if self.five and weight.ndim == 4:
            weight = weight[:, :, None]
        kernel = weight.shape[2:]
        strides = [1, stride, stride][-len(kernel) :]
        inputs = [x, self.constant(weight), *([] if bias is None else [self.constant(bias)])]
        pads = [size // 2 for size in kernel] * 2
        return self.one("Conv", *inputs, kernel_shape=kernel, strides=strides, pads=pads, group=groups)

    def moved(self, x: str, by: int, dims: int, axis: int, channels: tuple[int, int, int] | None = None) -> str:
        """Every frame becomes the next (``by`` 1) or the one before (-1): one Pad, that also cuts.

        Args:
            x: with T at ``axis`` of ``dims``.
            by: which way.
            dims: of ``x``.
            axis: of T.
            channels: axis, first and number of those behind: what is cut off.
        """
        pads = [0] * (2 * dims)
        pads[axis], pads[dims + axis] = -by, by
        if channels:
            at, first, behind = channels
            pads[at], pads[dims + at] = -first, -behind
        return self.one("Pad", x, self.numbers(*pads))


Conv = Callable[[Graph, Parts, Array, Array, int], str]


@dataclass(frozen=True)
class Form:
    """How the shift and the 1x1 convolution behind it are computed.

    Attributes:
        conv: takes the parts of the frames, weight [O, C, 1, 1], bias [O] and the side of the pictures.
        five: the whole network works on clips [N, C, T, H, W].
        cuts: the layers before give so many tensors: 1 all channels, 2 those that move and those that rest, 3 those
            that move each way and those that rest.
    """

    conv: Conv
    five: bool = False
    cuts: int = 1

    def slices(self, channels: int) -> list[slice]:
        """The channels of each part."""
        fold = channels // SHIFT_DIV
        return [
            [slice(0, channels)],
            [slice(0, 2 * fold), slice(2 * fold, channels)],
            [slice(0, fold), slice(fold, 2 * fold), slice(2 * fold, channels)],
        ][self.cuts - 1]


def none(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """No shift: a TSN."""
    return g.conv(parts[0], weight, bias)


def slices_and_concat(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """Slices of time and channels, zeros, concatenation."""
    channels, fold = weight.shape[1], weight.shape[1] // SHIFT_DIV
    clips = g.reshape(parts[0], -1, FRAMES, channels, side, side)
    future, past, rest = g.add("Split", clips, g.numbers(fold, fold, channels - 2 * fold), outputs=3, axis=2)
    first, later = g.add("Split", future, g.numbers(1, FRAMES - 1), outputs=2, axis=1)
    earlier, _ = g.add("Split", past, g.numbers(FRAMES - 1, 1), outputs=2, axis=1)
    zero = g.one("Mul", first, g.constant(np.zeros(1, np.float32)))
    moved = [g.one("Concat", later, zero, axis=1), g.one("Concat", zero, earlier, axis=1)]
    return g.conv(g.as_frames(g.one("Concat", *moved, rest, axis=2), channels, side, side), weight, bias)


def pads(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """A Pad of each part that moves, which cuts it out as well; concatenation."""
    channels, fold = weight.shape[1], weight.shape[1] // SHIFT_DIV
    clips = g.reshape(parts[0], -1, FRAMES, channels, side * side)
    future = g.moved(clips, 1, 4, 1, (2, 0, channels - fold))
    past = g.moved(clips, -1, 4, 1, (2, fold, channels - 2 * fold))
    rest = g.one("Slice", clips, g.numbers(2 * fold), g.numbers(channels), g.numbers(2))
    return g.conv(g.as_frames(g.one("Concat", future, past, rest, axis=2), channels, side, side), weight, bias)


def gather(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """One Gather of rows that hold an eighth of a frame; a row of zeros is put behind them."""
    channels, rows = weight.shape[1], FRAMES * SHIFT_DIV
    clips = g.reshape(parts[0], -1, rows, channels // SHIFT_DIV * side * side)
    row = g.one("Slice", clips, g.numbers(0), g.numbers(1), g.numbers(1))
    padded = g.one("Concat", clips, g.one("Mul", row, g.constant(np.zeros(1, np.float32))), axis=1)
    index = np.arange(rows).reshape(FRAMES, SHIFT_DIV)
    index[:, 0] = [*index[1:, 0], rows]
    index[:, 1] = [rows, *index[:-1, 1]]
    frames = g.one("Gather", padded, g.constant(index.ravel()), axis=1)
    return g.conv(g.as_frames(frames, channels, side, side), weight, bias)


def sum_narrow(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """A sum of three convolutions; what two of them give is moved."""
    out, channels = weight.shape[:2]
    fold = channels // SHIFT_DIV
    future, past, rest = g.add("Split", parts[0], g.numbers(fold, fold, channels - 2 * fold), outputs=3, axis=1)

    def moved(x: str, by: int) -> str:
        return g.as_frames(g.moved(g.reshape(x, -1, FRAMES, out * side * side), by, 3, 1), out, side, side)

    total = g.one("Add", g.conv(rest, weight[:, 2 * fold :], bias), moved(g.conv(future, weight[:, :fold]), 1))
    return g.one("Add", total, moved(g.conv(past, weight[:, fold : 2 * fold]), -1))


def depthwise_time(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """A depthwise convolution over time, of which one tap of three is one."""
    channels = weight.shape[1]
    clips = g.one("Transpose", g.reshape(parts[0], -1, FRAMES, channels, side * side), perm=[0, 2, 1, 3])
    taps = g.constant(_taps(np.ones((channels, 1, 1, 1), np.float32), channels, 0)[..., None])
    moved = g.one("Conv", clips, taps, kernel_shape=[3, 1], pads=[1, 0, 1, 0], group=channels)
    frames = g.one("Transpose", moved, perm=[0, 2, 1, 3])
    return g.conv(g.as_frames(frames, channels, side, side), weight, bias)


def _taps(weight: Array, channels: int, axis: int) -> Array:
    """``weight`` [..., 1, 1] with three taps over time in the place of the last two dimensions."""
    fold = channels // SHIFT_DIV
    taps = np.zeros((*weight.shape[:2], 3), np.float32)
    for tap, part in ((2, slice(0, fold)), (0, slice(fold, 2 * fold)), (1, slice(2 * fold, channels))):
        at = (part, slice(None)) if axis == 0 else (slice(None), part)
        taps[*at, tap] = weight[*at, 0, 0]
    return taps


def pads_of_clips(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """As ``pads``, but time is a dimension of its own all the way: nothing is reshaped."""
    channels, fold = weight.shape[1], weight.shape[1] // SHIFT_DIV
    rest = g.one("Slice", parts[0], g.numbers(2 * fold), g.numbers(channels), g.numbers(1))
    future = g.moved(parts[0], 1, 5, 2, (1, 0, channels - fold))
    past = g.moved(parts[0], -1, 5, 2, (1, fold, channels - 2 * fold))
    return g.conv(g.one("Concat", future, past, rest, axis=1), weight, bias)


def three_taps(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """A 3D convolution over time, whose weights are zero but for one tap of three."""
    return g.conv(parts[0], _taps(weight, weight.shape[1], 1)[..., None, None], bias)


def depthwise_clips(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """A depthwise 3D convolution over time, then the 1x1 convolution."""
    channels = weight.shape[1]
    taps = _taps(np.ones((channels, 1, 1, 1), np.float32), channels, 0)[..., None, None]
    return g.conv(g.conv(parts[0], taps, groups=channels), weight, bias)


def cut_in_two(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """The sum of a convolution of what rests and one of what moves; a Pad cuts and moves each way."""
    channels, fold = weight.shape[1], weight.shape[1] // SHIFT_DIV
    moving, rest = parts
    if g.five:
        future, past = g.moved(moving, 1, 5, 2, (1, 0, fold)), g.moved(moving, -1, 5, 2, (1, fold, 0))
        moved = g.one("Concat", future, past, axis=1)
    else:
        clips = g.reshape(moving, -1, FRAMES, 2 * fold, side * side)
        future, past = g.moved(clips, 1, 4, 1, (2, 0, fold)), g.moved(clips, -1, 4, 1, (2, fold, 0))
        moved = g.as_frames(g.one("Concat", future, past, axis=2), 2 * fold, side, side)
    assert channels > 2 * fold
    return g.one("Add", g.conv(rest, weight[:, 2 * fold :], bias), g.conv(moved, weight[:, : 2 * fold]))


def cut_in_three(g: Graph, parts: Parts, weight: Array, bias: Array, side: int) -> str:
    """The same where each way has a tensor of its own."""
    fold = weight.shape[1] // SHIFT_DIV

    def moved(x: str, by: int) -> str:
        if g.five:
            return g.moved(x, by, 5, 2)
        return g.as_frames(g.moved(g.reshape(x, -1, FRAMES, fold * side * side), by, 3, 1), fold, side, side)

    both = g.one("Concat", moved(parts[0], 1), moved(parts[1], -1), axis=1)
    return g.one("Add", g.conv(parts[2], weight[:, 2 * fold :], bias), g.conv(both, weight[:, : 2 * fold]))


FORMS = {
    "none": Form(none),
    "slices and concat": Form(slices_and_concat),
    "pads": Form(pads),
    "gather": Form(gather),
    "sum, narrow": Form(sum_narrow),
    "depthwise over time": Form(depthwise_time),
    "cut in two": Form(cut_in_two, cuts=2),
    "cut in three": Form(cut_in_three, cuts=3),
    "clips: none": Form(none, five=True),
    "clips: pads": Form(pads_of_clips, five=True),
    "clips: three taps": Form(three_taps, five=True),
    "clips: depthwise": Form(depthwise_clips, five=True),
    "clips: cut in two": Form(cut_in_two, five=True, cuts=2),
    "clips: cut in three": Form(cut_in_three, five=True, cuts=3),
}
NETWORKS: dict[str, Callable[[], Network]] = {"resnet50": resnet50, "mobilenetv2": mobilenetv2}


def onnx_of(network: Network, form: Form) -> bytes:
    """The network as ONNX: clips [B, T, 3, H, W] to logits [B, classes]."""
    from onnx import TensorProto, helper

    g, rng = Graph(form.five), np.random.default_rng(0)

    def draw(out: int, channels: int, kernel: int, gain: float = 1.0) -> tuple[Array, Array]:
        weight = rng.standard_normal((out, channels, kernel, kernel)) * gain * (2 / (channels * kernel**2)) ** 0.5
        return weight.astype(np.float32), (rng.standard_normal(out) * 0.05).astype(np.float32)

    def activated(x: str) -> str:
        if network.activation == "Relu":
            return g.one("Relu", x)
        return g.one("Clip", x, g.constant(np.array(0, np.float32)), g.constant(np.array(6, np.float32)))

    def whole(parts: Parts) -> str:
        return parts[0] if len(parts) == 1 else g.one("Concat", *parts, axis=1)

    if form.five:
        x = g.one("Transpose", "clips", perm=[0, 2, 1, 3, 4])
    else:
        x = g.as_frames("clips", 3, SIDE, SIDE)
    kernel, channels = network.stem
    x, side = activated(g.conv(x, *draw(channels, 3, kernel), stride=2)), SIDE // 2
    if network.pooled:
        window = [[1, 3, 3], [1, 2, 2], [0, 1, 1] * 2] if form.five else [[3, 3], [2, 2], [1] * 4]
        x, side = g.one("MaxPool", x, kernel_shape=window[0], strides=window[1], pads=window[2]), side // 2
    parts = [x]
    following = [block.shifted for block in network.blocks[1:]] + [False]
    for block, cut_behind in zip(network.blocks, following, strict=True):
        before, inner, behind = block.channels
        first, middle = draw(inner, before, 1), draw(inner, 1 if block.depthwise else inner, 3)
        last, projection = draw(behind, inner, 1, 0.3), draw(behind, before, 1)
        if block.shifted and len(parts) < form.cuts:
            sizes = g.numbers(*(cut.stop - cut.start for cut in form.slices(before)))
            parts = g.add("Split", parts[0], sizes, outputs=form.cuts, axis=1)
        x = activated(form.conv(g, parts, *first, side) if block.shifted else g.conv(whole(parts), *first))
        x = activated(g.conv(x, *middle, stride=block.stride, groups=inner if block.depthwise else 1))
        cuts = form.slices(behind) if cut_behind or (len(parts) > 1 and block.shortcut == "identity") else [slice(None)]
        outs = [g.conv(x, last[0][cut], last[1][cut]) for cut in cuts]
        if block.shortcut == "projection":
            source = whole(parts)
            shortcuts = [g.conv(source, projection[0][cut], projection[1][cut], block.stride) for cut in cuts]
        else:
            shortcuts = parts
        if block.shortcut != "none":
            outs = [g.one("Add", out, shortcut) for out, shortcut in zip(outs, shortcuts, strict=True)]
        parts = [activated(out) for out in outs] if block.rectified else outs
        side, channels = side // block.stride, behind
    x = whole(parts)
    if network.last:
        x, channels = activated(g.conv(x, *draw(network.last, channels, 1))), network.last
    x = g.one("ReduceMean", x, g.numbers(*((3, 4) if form.five else (2, 3))), keepdims=0)
    x = (
        g.one("ReduceMean", x, g.numbers(2), keepdims=0)
        if form.five
        else g.one("ReduceMean", g.reshape(x, -1, FRAMES, channels), g.numbers(1), keepdims=0)
    )
    logits = g.one("MatMul", x, g.constant(draw(channels, CLASSES, 1)[0][..., 0, 0]))
    shapes: dict[str, list[str | int | None]] = {"clips": ["B", FRAMES, 3, SIDE, SIDE], logits: ["B", CLASSES]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(g.nodes, "network", ends[:1], ends[1:], g.constants, value_info=g.frames)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    content: bytes = model.SerializeToString()
    return content
