"""A whole MobileNetV2 as one operator: what it computes, on clips and on streams, and what it refuses."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from zoo import ops
from zoo.ops import ConvWeights, InvertedResidual, Mobilenet, MobilenetRanges, mobilenet_reference, prepare_mobilenet

MODULES: list[ModuleType] = [mobilenet_reference]
if ops.backend() == "native":
    from zoo.ops import mobilenet_native

    MODULES.append(mobilenet_native)

native_only = pytest.mark.skipif(len(MODULES) < 2, reason="the compiled operators are not built or not wanted")
modules = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split("_")[-1])
zoo = torch.ops.zoo


def conv(out: int, channels: int, side: int) -> ConvWeights:
    return ConvWeights(torch.randn(out, channels, side, side) * (1.5 / channels / side**2) ** 0.5, torch.randn(out) / 4)


def network(
    widths: tuple[tuple[int, int, int], ...] = ((8, 0, 1), (8, 24, 1), (16, 40, 2), (16, 96, 1)),
    stem: tuple[int, int, int] = (3, 16, 2),
    limit: float = 6.0,
    same_padding: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Mobilenet:
    """Of random weights; every block is [channels of the result, in the middle, stride]."""
    channels, width, stem_stride = stem
    first = conv(width, channels, 3)
    blocks: list[InvertedResidual] = []
    for out, middle, stride in widths:
        expand = conv(middle, width, 1) if blocks else None
        inner = middle if blocks else width
        stays = bool(blocks) and stride == 1 and out == width
        blocks.append(InvertedResidual(expand, conv(inner, 1, 3), conv(out, inner, 1), stride, stays, stays))
        width = out
    arguments = first, blocks, conv(40, width, 1), stem_stride, limit, same_padding, dtype
    return prepare_mobilenet(*arguments, ranges_of(len(blocks)) if dtype == torch.int8 else None)


def ranges_of(blocks: int, image: float = 4.0, frames: float = 8.0, inner: float = 4.0) -> MobilenetRanges:
    """About those of the networks here."""
    return MobilenetRanges([image, *[frames] * blocks], [inner] * blocks, [inner] * blocks)


def in_int8(net: Mobilenet, ranges: MobilenetRanges | None = None) -> Mobilenet:
    ranges = ranges or ranges_of(len(net.blocks))
    return prepare_mobilenet(
        net.stem, net.blocks, net.head, net.stem_stride, net.limit, net.same_padding, torch.int8, ranges
    )


def conv_block(channels: int) -> InvertedResidual:
    """A block that expands nothing."""
    return InvertedResidual(None, conv(channels, 1, 3), conv(channels, channels, 1))


def for_reference(net: Mobilenet) -> Mobilenet:
    """In float32 for bfloat16, since PyTorch's own convolutions in that are wrong for images one pixel wide."""
    return dataclasses.replace(net, dtype=torch.float32) if net.dtype == torch.bfloat16 else net


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    largest = expected.abs().max().item() if expected.numel() else 0
    torch.testing.assert_close(actual.float(), expected.float(), rtol=0, atol=tolerance * max(largest, 1))


@native_only
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_kernel_computes_what_the_layers_do(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 99)))
    sizes = st.sampled_from([1, 3, 8, 16, 17, 33, 64, 100])
    first = draw(sizes), 0, draw(st.integers(1, 2))
    others = draw(st.lists(st.tuples(sizes, sizes, st.integers(1, 2)), max_size=3))
    same = [(first[0], draw(sizes), 1)] if draw(st.booleans()) else []
    # Sums of integers are exact; rounded to the other side, which is rare, a number differs by one in 255.
    dtype, tolerance = draw(st.sampled_from([(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.int8, 5e-3)]))
    net = network(
        (first, *same, *others),
        (draw(st.integers(1, 4)), draw(sizes), draw(st.integers(1, 2))),
        draw(st.sampled_from([6.0, 0.5, math.inf])),
        draw(st.booleans()),
        dtype,
    )
    clips, num_frames = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    x = torch.randn(clips * num_frames, net.stem.weight.shape[1], draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    shift = num_frames, draw(st.sampled_from([2, 8])), draw(st.booleans())
    expected = mobilenet_reference.mobilenet_features(x, for_reference(net), *shift)
    close(mobilenet_native.mobilenet_features(x, net, *shift), expected, tolerance)


@native_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_work_is_shared_out_among_threads(threads: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, x = (
        network(((16, 0, 1), (24, 96, 2), (24, 144, 1), (64, 200, 2)), (3, 32, 2), dtype=dtype),
        torch.randn(3, 3, 90, 70),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out = ops.mobilenet_features(x, net, 3)
        assert torch.equal(ops.mobilenet_features(x, net, 3), out)
    finally:
        torch.set_num_threads(before)
    expected = mobilenet_reference.mobilenet_features(x, for_reference(net), 3, 8, False)
    close(out, expected, 1e-5 if dtype == torch.float32 else 0.05)


@native_only
def test_integers_are_the_same_whoever_adds_them_up() -> None:
    torch.manual_seed(0)
    net, x = network(((16, 0, 1), (24, 96, 2), (24, 144, 1), (64, 200, 2)), (3, 32, 2), dtype=torch.int8), []
    frames, before = torch.randn(3, 3, 90, 70), torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            x.append(ops.mobilenet_features(frames, net, 3))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(x[0], x[1]) and torch.equal(x[0], x[2])
    close(x[0], mobilenet_reference.mobilenet_features(frames, net, 3, 8, False), 5e-3)


@modules
def test_integers_come_close_to_the_numbers(module: ModuleType) -> None:
    torch.manual_seed(0)
    net, x = network(), torch.randn(4, 3, 40, 50)
    expected = module.mobilenet_features(x, net, 2, 8, False)
    close(module.mobilenet_features(x, in_int8(net, ranges_of(4, 5, 20, 6)), 2, 8, False), expected, 0.05)


@modules
def test_what_lies_beyond_the_ranges_is_cut_off_and_what_is_no_number_too(module: ModuleType) -> None:
    torch.manual_seed(0)
    net, x = in_int8(network()), torch.randn(2, 3, 16, 16).clamp(-4 * 128 / 127, 4)
    x[0, 0, :2], x[0, 1, :2] = 4.0, -4 * 128 / 127
    out = module.mobilenet_features(x, net, 1, 8, False)
    x[0, 0, :2], x[0, 1, :2] = torch.inf, -1e30
    torch.testing.assert_close(module.mobilenet_features(x, net, 1, 8, False), out)
    x[0, 1, :2] = torch.nan
    torch.testing.assert_close(module.mobilenet_features(x, net, 1, 8, False), out)
    for image, frames, inner in ((1e-3, 0, 0), (1e-37, 1e-30, 1e-30), (1e30, 1e30, 1e30), (4, 0, 4), (4, 8, 0)):
        harsh = in_int8(net, ranges_of(4, image, frames, inner))
        features = module.mobilenet_features(x, harsh, 1, 8, False)
        assert features.isfinite().all()
        close(features, mobilenet_reference.mobilenet_features(x, harsh, 1, 8, False), 5e-3)


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-40, 1e-20])
def test_weights_of_nothing_give_the_bias(size: float) -> None:
    torch.manual_seed(0)
    net, x = network(), torch.randn(2, 3, 16, 16)
    head = ConvWeights(torch.full_like(net.head.weight, size), net.head.bias)
    project = ConvWeights(torch.full_like(net.blocks[-1].project.weight, size), net.blocks[-1].project.bias * 0)
    blocks = [*net.blocks[:-1], net.blocks[-1]._replace(project=project)]
    nothing = prepare_mobilenet(net.stem, blocks, head, dtype=torch.int8, ranges=ranges_of(4, frames=0))
    close(ops.mobilenet_features(x, nothing, 2), net.head.bias.clamp(0, 6).expand(2, -1), 1e-3)


@modules
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16])
def test_steps_give_what_the_clip_gives(module: ModuleType, state_dtype: torch.dtype, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net, x = network(dtype=dtype), torch.randn(2, 4, 3, 20, 30)  # of blocks 1 and 3 the frames are shifted
    clip = module.mobilenet_features(x.flatten(0, 1), net, 4, 8, True).unflatten(0, (2, 4))
    past = [torch.zeros(2, channels // 8, *size, dtype=state_dtype) for channels, size in ((8, (10, 15)), (16, (5, 8)))]
    for t, frame in enumerate(x.unbind(1)):
        features, kept = module.online_mobilenet_features(frame, past, net)
        close(features, clip[:, t], 1e-5 if state_dtype == torch.float32 and dtype != torch.bfloat16 else 0.02)
        assert [(state.shape, state.dtype) for state in kept] == [(state.shape, state.dtype) for state in past]
        past = [state.contiguous() if t % 2 else state for state in kept]  # in whatever layout
    assert all(state.any() for state in past)


@modules
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_what_lies_beyond_the_ends_of_a_clip_does_not_count_even_if_it_is_no_number(
    module: ModuleType, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    net, x = network(dtype=dtype), torch.randn(6, 3, 16, 16)
    alone = module.mobilenet_features(x[2:4], net, 2, 8, False)
    x[:2], x[4:] = torch.nan, torch.inf
    out = module.mobilenet_features(x, net, 2, 8, False)
    torch.testing.assert_close(out[2:4], alone)
    assert out[:2].isnan().all() or dtype == torch.int8  # which has no such numbers


@modules
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_no_frames_give_no_features(module: ModuleType, dtype: torch.dtype) -> None:
    net = network(dtype=dtype)
    assert module.mobilenet_features(torch.zeros(0, 3, 16, 16), net, 1, 8, False).shape == (0, 40)
    past = [torch.zeros(0, 1, 8, 8), torch.zeros(0, 2, 4, 4)]
    features, kept = module.online_mobilenet_features(torch.zeros(0, 3, 16, 16), past, net)
    assert features.shape == (0, 40) and [x.shape for x in kept] == [x.shape for x in past]


def test_what_does_not_fit_is_refused() -> None:
    net, x = network(), torch.randn(2, 3, 16, 16)
    past = [torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 4, 4)]
    adds = net.blocks[2]._replace(residual=True)
    for call, message in (
        (lambda: ops.mobilenet_features(x.double(), net, 2), "float32"),
        (lambda: ops.mobilenet_features(x[:, :2], net, 2), r"\[N, 3, H, W\]"),
        (lambda: ops.mobilenet_features(x[..., :0], net, 2), "at least one pixel"),
        (lambda: ops.mobilenet_features(x, net, 3), "whole number of clips"),
        (lambda: ops.online_mobilenet_features(x, past[:1], net), "2 blocks are shifted, and past has 1"),
        (lambda: prepare_mobilenet(net.stem, [], net.head), "first block"),
        (lambda: prepare_mobilenet(net.stem, net.blocks[1:], net.head), "first block"),
        (lambda: prepare_mobilenet(net.stem, [net.blocks[0], conv_block(8)], net.head), "only the first"),
        (lambda: prepare_mobilenet(net.stem, net.blocks, conv(4, 5, 1)), r"must be \[O, 16, 1, 1\]"),
        (lambda: prepare_mobilenet(net.stem, net.blocks, net.head, stem_stride=3), "strides are 1 or 2"),
        (lambda: prepare_mobilenet(net.stem, net.blocks, net.head, limit=0), "above 0"),
        (lambda: prepare_mobilenet(net.stem, net.blocks, net.head, dtype=torch.float16), "bfloat16 or int8"),
        (lambda: prepare_mobilenet(net.stem, net.blocks, net.head, dtype=torch.int8), "int8 needs ranges="),
        (lambda: prepare_mobilenet(net.stem, net.blocks, net.head, ranges=ranges_of(4)), "nothing else takes them"),
        (lambda: in_int8(net, ranges_of(3)), r"\[4, 3, 3\] numbers for \[5, 4, 4\]"),
        (lambda: in_int8(net, ranges_of(4, image=0)), "above 0"),
        (lambda: in_int8(net, ranges_of(4, frames=1e300)), "finite and not negative"),
        (
            lambda: in_int8(dataclasses.replace(net, head=ConvWeights(net.head.weight, net.head.bias + torch.inf))),
            "finite",
        ),
        (lambda: in_int8(net, ranges_of(4, math.nan)), "finite and not negative"),
        (lambda: in_int8(net, ranges_of(4, inner=-1)), "finite and not negative"),
        (lambda: prepare_mobilenet(net.stem, [net.blocks[0], adds], net.head), "stride 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(RuntimeError, match="inference"):
        ops.mobilenet_features(x.requires_grad_(), net, 2)


def test_a_state_of_other_frames_is_refused() -> None:
    x, second = torch.randn(2, 3, 16, 16), torch.zeros(2, 2, 4, 4)
    for first in (torch.zeros(2, 1, 8, 9), torch.zeros(2, 2, 8, 8), torch.zeros(2, 1, 8, 8).half()):
        with pytest.raises(ValueError, match=r"\[2, 1, 8, 8\]: begin with zeros"):
            ops.online_mobilenet_features(x, [first, second], network())
    with pytest.raises(ValueError, match="batch size"):
        ops.online_mobilenet_features(x, [torch.zeros(1, 1, 8, 8), second], network())


def arguments(net: Mobilenet) -> tuple:
    return net.packed, net.layout, net.stem_stride, net.limit, net.same_padding


@native_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_what_compilers_are_told_is_true(dtype: torch.dtype) -> None:
    net, x = network(dtype=dtype), torch.randn(2, 3, 17, 18)
    opcheck(zoo.mobilenet_features.default, (x, *arguments(net), 2, 8, 1, -1))
    past = [torch.zeros(2, 1, 9, 9), torch.zeros(2, 2, 5, 5)]
    opcheck(zoo.online_mobilenet_features.default, (x, past, *arguments(net)))


@native_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_operations_are_counted_as_those_of_the_layers(dtype: torch.dtype) -> None:
    wide = 64  # no zeros are multiplied
    net, x = network(((wide, 0, 1), (wide, wide, 1)), (wide, wide, 1), dtype=dtype), torch.randn(1, wide, 8, 8)
    counts = []
    for module in MODULES:
        with FlopCounterMode(display=False) as counter:
            module.mobilenet_features(x, net, 1, 8, False)
        counts.append(counter.get_total_flops())
    head = 2 * 64 * wide * (48 - 40)  # up to whole blocks of channels
    assert counts[1] - head == counts[0]


@native_only
def test_operators_that_are_called_past_the_door_check_what_they_read() -> None:
    net, x = network(), torch.randn(2, 3, 16, 16)
    packed, layout, *rest = arguments(net)
    past = [torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 4, 4)]
    wrong = [
        (x[:, :1].contiguous(), packed, layout),
        (x[0], packed, layout),
        (x.double(), packed, layout),
        (x[:, :, ::2], packed, layout),
        (x, packed[:-1], layout),
        (x, [*packed[:4], packed[4][..., :-1], *packed[5:]], layout),
        (x, [*packed[:3], packed[3].bfloat16(), *packed[4:]], layout),
        (x, packed, layout[:-1]),
        (x, packed, [*layout[:1], 3, *layout[2:]]),
        (x, packed, [9000, *layout[1:]]),
        (x, packed, [*layout[:-1], 0]),
        (x, packed, []),
        (x, [], layout),
    ]
    integers = in_int8(net).packed
    wrong += [(x, integers[:-1], layout), (x, [*integers[:-1], integers[-1][1:]], layout)]
    wrong += [(x, [*integers[:2], integers[2][1:], *integers[3:]], layout), (x, [*packed, integers[-1]], layout)]
    for frames, weights, numbers in wrong:
        with pytest.raises(RuntimeError, match="mobilenet_features"):
            zoo.mobilenet_features(frames, weights, numbers, *rest, 1, 8, 1, -1)
    with pytest.raises(RuntimeError, match="whole clips"):
        zoo.mobilenet_features(x, packed, layout, *rest, 3, 8, 1, -1)
    for states in (past[:1], [*past, past[0]], [past[0], past[1][0]], [past[0].expand(2, 9, 8, 8), past[1]]):
        with pytest.raises(RuntimeError, match="state"):
            zoo.online_mobilenet_features(x, states, packed, layout, *rest)
    with pytest.raises(RuntimeError, match="neither float32 nor bfloat16"):
        zoo.online_mobilenet_features(x, [past[0].double(), past[1]], packed, layout, *rest)
