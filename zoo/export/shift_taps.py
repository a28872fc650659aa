"""An ONNX graph of clips whose temporal shifts are depthwise convolutions over time, of three taps that are 0 or 1.

That is what OpenVINO computes fastest in float32 where all channels would be copied, see docs/shift_forms.md: its
convolutions leave values in an order of their own, out of which a ``Pad`` or a ``Concat`` would have to take them.
"""

from __future__ import annotations

from typing import Any

from zoo.export.onnx_graph import integer, shapes_of

CHANNELS, TIME, DIMS = 1, 2, 5  # of clips [B, C, T, H, W]
LATER, SAME, EARLIER = 2, 1, 0  # the tap that takes the next frame, this one, or the one before


def convolve_shifts(model: Any) -> int:
    """Let what puts a clip together again, from channels that moved in time and others that rest, be a convolution.

    Args:
        model: an ``onnx.ModelProto`` whose frames are clips, see :func:`zoo.export.clip_layout.keep_clips`; it changes,
            and computes the same of finite numbers.

    Returns:
        how many shifts there were.
    """
    import numpy as np
    from onnx import helper, numpy_helper, shape_inference

    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    maker = {out: node for node in graph.node for out in node.output}
    shapes = shapes_of(shape_inference.infer_shapes(model).graph)
    count = 0
    for node in graph.node:
        clip, parts = _parts(node, maker, constants, shapes)
        if SAME not in {tap for tap, *_ in parts}:  # where only what moves is copied, pads are faster
            continue
        taps = np.zeros((parts[-1][2], 1, 3, 1, 1), np.float32)
        for tap, begin, end in parts:
            taps[begin:end, :, tap] = 1
        name = f"{node.output[0]}_taps"
        graph.initializer.append(numpy_helper.from_array(taps, name))
        window: dict[str, Any] = {"kernel_shape": [3, 1, 1], "pads": [1, 0, 0, 1, 0, 0], "group": len(taps)}
        node.CopyFrom(helper.make_node("Conv", [clip, name], node.output[:], name=node.output[0], **window))
        count += 1
    if not count:
        return 0
    used = {name for node in graph.node for name in node.input} | {out.name for out in graph.output}
    kept = [node for node in graph.node if any(name in used for name in node.output)]
    del graph.node[:]
    graph.node.extend(kept)
    return count


def _parts(
    node: Any, maker: dict[str, Any], constants: dict[str, Any], shapes: dict[str, list[int]]
) -> tuple[str, list[tuple[int, int, int]]]:
    """The clip that ``node`` puts together again, and the tap, begin and end of its parts; none where it does not."""
    if node.op_type != "Concat" or integer(node, "axis", 0) != CHANNELS:
        return "", []
    makers = [maker.get(name) for name in node.input]
    clip = next((each.input[0] for each in makers if each is not None and each.input), "")
    if len(shapes.get(clip, ())) != DIMS:
        return "", []
    parts, channels = [], 0
    for each in makers:
        cut = {"Pad": _moved, "Slice": _resting}.get(each.op_type) if each is not None else None
        if each is None or cut is None or each.input[0] != clip or not all(n in constants for n in each.input[1:] if n):
            return "", []
        found = cut(each, constants, shapes[clip][CHANNELS])
        if found is None or found[1] != channels:
            return "", []
        parts.append(found)
        channels = found[2]
    return clip, parts if channels == shapes[clip][CHANNELS] else []


def _moved(pad: Any, constants: dict[str, Any], channels: int) -> tuple[int, int, int] | None:
    """Which tap a ``Pad`` is that moves some channels by a frame, and which channels."""
    pads = constants[pad.input[1]].tolist()
    mode = next((each.s for each in pad.attribute if each.name == "mode"), b"constant")
    fills = [constants[name].item() for name in pad.input[2:3] if name]
    before, after = pads[:DIMS], pads[DIMS:]
    others = [size for index, size in enumerate(zip(before, after, strict=True)) if index not in (CHANNELS, TIME)]
    tap = {(-1, 1): LATER, (1, -1): EARLIER}.get((before[TIME], after[TIME]))
    if tap is None or mode != b"constant" or any(fills) or any(map(any, others)) or len(pad.input) > 3:
        return None
    return tap, -before[CHANNELS], channels + after[CHANNELS]


def _resting(cut: Any, constants: dict[str, Any], channels: int) -> tuple[int, int, int] | None:
    """The channels that a ``Slice`` takes as they are."""
    starts, ends, *more = (constants[name].tolist() for name in cut.input[1:])
    if len(starts) != 1 or not more or more[0] != [CHANNELS] or more[1:] not in ([], [[1]]):
        return None
    return SAME, starts[0], min(ends[0], channels)
