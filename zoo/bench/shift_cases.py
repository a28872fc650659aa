"""The temporal shift and the convolution that shifts nothing, beside what else computes the same."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from zoo import ops
from zoo.bench.cases import Bench, add_backward
from zoo.bench.peers import shift_by_slices
from zoo.bench.timing import Call
from zoo.ops import reference

SHIFTED_CONVS = ((256, 64, 56), (512, 128, 28), (1024, 256, 14), (2048, 512, 7), (24, 144, 56), (64, 384, 14))


def add_shifts(bench: Bench) -> None:
    """The shift in both layouts."""
    for layout in (torch.contiguous_format, torch.channels_last):
        add_shift(bench, layout)


def add_shift(bench: Bench, layout: torch.memory_format) -> None:
    """The shift of 8 frames of 256 channels, 56 x 56."""
    x = bench.rand(8, 256, 56, 56).contiguous(memory_format=layout)
    size = f"8 x 256 x 56 x 56 {'channels-last' if layout is torch.channels_last else 'contiguous'}"
    out, moved = torch.empty_like(x), 2 * x.numel() * x.element_size()
    calls: dict[str, Call] = {"call": lambda: ops.temporal_shift(x, 8)}
    if bench.native:
        calls["kept"] = lambda: torch.ops.zoo.temporal_shift_out(x, 8, 8, 1, -1, out)
    calls |= {"copy_": lambda: out.copy_(x), "clone": x.clone, "slices": lambda: shift_by_slices(x, 8, 8)}
    bench.add("temporal_shift", size, moved, calls)
    shifted, part = x[:, :64], x[:, :64].contiguous(memory_format=layout)
    calls = {"call": lambda: ops.temporal_shift_(x, 8)}
    if bench.native:
        calls["kept"] = lambda: torch.ops.zoo.temporal_shift_(x, 8, 8, 1, -1)
    calls |= {"move_shifted": lambda: shifted.copy_(part)}
    bench.add("temporal_shift_", size, moved // 4, calls)
    add_backward(
        bench,
        "temporal_shift",
        size,
        x,
        lambda x: ops.temporal_shift(x, 8),
        lambda x: reference.temporal_shift(x, 8, 8, False),
    )
    add_backward(
        bench,
        "temporal_shift_",
        size,
        x,
        lambda x: ops.temporal_shift_(x.clone(), 8),
        lambda x: reference.temporal_shift(x.clone(), 8, 8, False),
    )
    past = x[:, :32].contiguous(memory_format=layout)
    calls = {
        "call": lambda: ops.online_shift(x, past),
        "reference": lambda: reference.online_shift(x, past),
        "clone": x.clone,
    }
    bench.add("online_shift", size, moved + 2 * past.numel() * past.element_size(), calls)
    add_backward(
        bench,
        "online_shift",
        size,
        x,
        lambda x: ops.online_shift(x, past)[0],
        lambda x: reference.online_shift(x, past)[0],
    )


def add_shifted_convs(bench: Bench) -> None:
    """The shifted 1x1 convolution at sizes of ResNet50 and MobileNetV2."""
    for size in SHIFTED_CONVS:
        add_shifted_conv(bench, *size)


def add_shifted_conv(bench: Bench, channels: int, out_channels: int, side: int) -> None:
    """The shifted 1x1 convolution of 8 frames, against a shift and PyTorch's convolution."""
    x = bench.rand(8, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight, bias = bench.rand(out_channels, channels, 1, 1), bench.rand(out_channels)
    calls: dict[str, Call] = {
        "call": lambda: ops.shifted_pointwise_conv(x, weight, bias, 8),
        "shift, conv2d": lambda: F.conv2d(ops.temporal_shift(x, 8), weight, bias),
        "slices, conv2d": lambda: F.conv2d(shift_by_slices(x, 8, 8), weight, bias),
        "conv2d": lambda: F.conv2d(x, weight, bias),
    }
    moved = (channels + out_channels) * 8 * side**2 * x.element_size()
    size = f"8 x {channels} x {side} x {side} -> {out_channels}, channels-last"
    bench.add("shifted_pointwise_conv", size, moved, calls)
    add_backward(
        bench,
        "shifted_pointwise_conv",
        size,
        x,
        lambda x: ops.shifted_pointwise_conv(x, weight, bias, 8),
        lambda x: F.conv2d(reference.temporal_shift(x, 8, 8, False), weight, bias),
    )
