"""The compiled 1x1 convolution of shifted frames against the reference, and what compilers ask of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from zoo import ops
from zoo.ops import reference
from zoo.ops.pointwise import ACTIVATIONS

if ops.backend() != "native":
    pytest.skip("the compiled operators are not built or not wanted", allow_module_level=True)

from zoo.ops import native, products

CLOSE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
zoo = torch.ops.zoo


def close(actual: Tensor, expected: Tensor) -> None:
    tolerance = CLOSE[expected.dtype]
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same values, laid out in another way."""
    if layout == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        return torch.stack([x, x], dim=-1)[..., 0]
    return x


def results(module, x: Tensor, weight: Tensor, bias: Tensor | None, shift, activation: str, layout: str):
    """The output and the gradients of all that has some."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    out = module.shifted_pointwise_conv(
        laid_out(leaves[0], layout), leaves[1], leaves[2] if bias is not None else None, *shift, activation
    )
    upstream = torch.linspace(-1, 1, out.numel()).view(out.shape).to(out.dtype)
    return [out, *torch.autograd.grad(out, leaves, laid_out(upstream, layout))]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.integers(1, 70),
    st.integers(1, 70),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([2, 3, 8]),
    st.booleans(),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(["contiguous", "channels last", "strided"]),
    st.data(),
)
def test_any_size(clips, channels, out_channels, size, shift_div, online, activation, layout, data) -> None:
    dtype = data.draw(st.sampled_from(list(CLOSE)))
    torch.manual_seed(0)
    x = torch.randn(clips[0] * clips[1], channels, *size).to(dtype)
    weight = (torch.randn(out_channels, channels) / channels**0.5).to(dtype)
    bias = torch.randn(out_channels).to(dtype) if data.draw(st.booleans()) else None
    shift = clips[1], shift_div, online
    both = [results(module, x, weight, bias, shift, activation, layout) for module in (native, reference)]
    close(both[0][0], both[1][0])
    if dtype == torch.float64 or activation == "none":  # else a rounding may lie on the other side of a limit
        for actual, expected in zip(*both, strict=True):
            close(actual, expected)
    past = torch.randn(len(x), channels // shift_div, *size).to(dtype)
    steps = [m.online_pointwise_conv(laid_out(x, layout), past, weight, bias, activation) for m in (native, reference)]
    close(steps[0][0], steps[1][0])
    assert torch.equal(steps[0][1], steps[1][1])


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize(
    "size", [(8, 256, 64, 29, 31), (16, 300, 520, 7, 9), (8, 24, 144, 56, 56), (8, 512, 33, 14, 14)]
)
def test_sizes_of_networks(size: tuple[int, ...], layout: str) -> None:
    torch.manual_seed(0)
    frames, channels, out_channels, *image = size
    x, weight = torch.randn(frames, channels, *image), torch.randn(out_channels, channels) / channels**0.5
    tensors, settings = (x, weight, torch.randn(out_channels)), ((8, 8, False), "none", layout)
    exact = results(reference, *(tensor.double() for tensor in tensors), *settings)  # float32 sums of 25,000 are not
    for actual, expected in zip(results(native, *tensors, *settings), exact, strict=True):
        close(actual, expected.float())


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_what_is_no_number_stays_so(layout: str) -> None:
    x = torch.ones(2, 8, 3, 3)
    x[1, 7, 1, 1] = math.nan
    out = native.shifted_pointwise_conv(laid_out(x, layout), torch.ones(3, 8), None, 2, 8, False, "relu6")
    assert out[1, :, 1, 1].isnan().all() and out.isnan().sum() == 3


def test_no_values_at_all() -> None:
    x, weight = torch.rand(0, 8, 3, 3, requires_grad=True), torch.rand(4, 8, requires_grad=True)
    out = native.shifted_pointwise_conv(x, weight, None, 2, 8, False, "none")
    out.sum().backward()
    assert out.shape == (0, 4, 3, 3) and weight.grad is not None and not weight.grad.any()


def arguments() -> dict[str, tuple]:
    """An example call of every operator, in float64."""
    torch.manual_seed(0)

    def rand(*size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, requires_grad=True)

    x, weight, bias, grad, shift = rand(6, 8, 2, 3), rand(5, 8), rand(5), rand(6, 5, 2, 3), (3, 4, 1, -1)
    nhwc = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    return {
        "shifted_pointwise_conv": (x, weight, bias, *shift, -math.inf, math.inf),
        "shifted_pointwise_conv/relu": (nhwc, weight, bias, *shift, 0.0, math.inf),
        "shifted_pointwise_conv/online": (nhwc, weight, None, 3, 4, -1, 0, 0.0, 1.0),
        "shifted_pointwise_conv_input": (grad, weight, *shift),
        "shifted_pointwise_conv_weight": (grad, x, *shift),
        "online_pointwise_conv": (x, rand(6, 2, 2, 3), weight, bias, 0.0, 6.0),
        "online_pointwise_conv/no bias": (nhwc, rand(6, 2, 2, 3), weight, None, -math.inf, math.inf),
    }


@pytest.mark.parametrize("name", arguments())
def test_what_compilers_are_told_is_true(name: str) -> None:
    opcheck(getattr(zoo, name.split("/")[0]).default, arguments()[name])


@pytest.mark.parametrize("name", arguments())
def test_gradients(name: str) -> None:
    operator = getattr(zoo, name.split("/")[0])
    assert torch.autograd.gradcheck(operator, arguments()[name])
    assert torch.autograd.gradgradcheck(operator, arguments()[name])


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_results_do_not_depend_on_the_number_of_threads(layout: str) -> None:
    torch.manual_seed(0)
    x, weight, before = torch.randn(8, 40, 30, 31), torch.randn(70, 40), torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results(native, x, weight, torch.ones(70), (4, 8, False), "relu", layout))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        assert all(torch.equal(actual, expected) for actual, expected in zip(run, runs[0], strict=True))


def test_nothing_shifted_is_kept_for_the_backward_pass() -> None:
    kept = []
    x, weight = torch.rand(4, 8, 3, 3, requires_grad=True), torch.rand(5, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()), lambda none: none):
        ops.shifted_pointwise_conv(x, weight, None, 4)
    assert set(kept) == {x.data_ptr(), weight.data_ptr()}


def test_operations_are_counted_as_those_of_the_convolution() -> None:
    x, weight = torch.rand(4, 8, 3, 3, requires_grad=True), torch.rand(5, 8, requires_grad=True)
    counts = []
    for module in (native, reference):
        with FlopCounterMode(display=False) as counter:
            module.shifted_pointwise_conv(x, weight, None, 4, 8, False, "none").sum().backward()
            module.online_pointwise_conv(x.detach(), x[:, :1].detach(), weight.detach(), None, "none")
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_it_compiles_in_one_piece() -> None:
    x, weight = torch.rand(4, 8, 3, 3), torch.rand(5, 8, 1, 1, requires_grad=True)

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return ops.shifted_pointwise_conv(x, weight, None, 4, activation="relu")

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")(x, weight)
    torch.testing.assert_close(compiled, call(x, weight))
    (gradient,) = torch.autograd.grad(compiled.sum(), weight)
    torch.testing.assert_close(gradient, torch.autograd.grad(call(x, weight).sum(), weight)[0])


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("size", [(1, 8, 64, 16), (5, 3, 24, 144), (5, 3, 48, 12), (1, 1, 20, 3), (2, 4, 99, 31)])
@pytest.mark.parametrize("shift", [(2, 1, -1), (8, 1, -1), (3, -1, 0)])
def test_products_of_views_as_on_a_gpu(size: tuple[int, ...], shift: tuple[int, ...], layout: str) -> None:
    torch.manual_seed(0)
    clips, num_frames, channels, out_channels = size
    x = laid_out(torch.randn(clips * num_frames, channels, 4, 3), layout)
    grad = laid_out(torch.randn(clips * num_frames, out_channels, 4, 3), layout)
    weight, bias = torch.randn(out_channels, channels) / channels**0.5, torch.randn(out_channels)
    calls = {
        "shifted_pointwise_conv": (x, weight, bias, num_frames, *shift, 0.0, math.inf),
        "shifted_pointwise_conv_input": (grad, weight, num_frames, *shift),
        "shifted_pointwise_conv_weight": (grad, x, num_frames, *shift),
    }
    for name, given_arguments in calls.items():
        actual, expected = getattr(products, name)(*given_arguments), getattr(zoo, name)(*given_arguments)
        close(actual, expected)
        assert actual.stride() == expected.stride()


def test_operators_that_are_called_past_the_door_check_what_they_read() -> None:
    x, weight, limits = torch.rand(4, 8, 3, 3), torch.rand(5, 8), (0.0, 1.0)
    calls = [
        lambda: zoo.shifted_pointwise_conv(x, weight[:, :7], None, 4, 8, 1, -1, *limits),
        lambda: zoo.shifted_pointwise_conv(x, weight.double(), None, 4, 8, 1, -1, *limits),
        lambda: zoo.shifted_pointwise_conv(x, weight, torch.rand(4), 4, 8, 1, -1, *limits),
        lambda: zoo.shifted_pointwise_conv(x, weight, None, 3, 8, 1, -1, *limits),
        lambda: zoo.shifted_pointwise_conv_input(x, weight, 4, 8, 1, -1),
        lambda: zoo.shifted_pointwise_conv_weight(torch.rand(4, 5, 3, 2), x, 4, 8, 1, -1),
        lambda: zoo.online_pointwise_conv(x, torch.rand(4, 9, 3, 3), weight, None, *limits),
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()
