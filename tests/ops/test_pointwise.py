"""The 1x1 convolution of shifted frames: the values at the ends of clips, streams, autocast, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zoo import ops
from zoo.ops.pointwise import ACTIVATIONS

FRAMES, WEIGHT = torch.rand(4, 8, 2, 2), torch.rand(3, 8)


def test_every_share_of_the_channels_comes_from_its_frame() -> None:
    x = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(3, 8, 1, 1)  # the frames 1, 2, 3
    eye = torch.eye(8)
    both = ops.shifted_pointwise_conv(x, eye, None, 3, shift_div=4)[:, :, 0, 0]
    assert both.tolist() == [[2, 2, 0, 0, 1, 1, 1, 1], [3, 3, 1, 1, 2, 2, 2, 2], [0, 0, 2, 2, 3, 3, 3, 3]]
    online = ops.shifted_pointwise_conv(x, eye, None, 3, 4, "online")[:, :, 0, 0]
    assert online.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 2, 2, 2, 2, 2, 2], [2, 2, 3, 3, 3, 3, 3, 3]]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 2, 5, 12])
def test_what_lies_beyond_the_ends_of_a_clip_does_not_count_even_if_it_is_infinite(side, memory_format) -> None:
    x = torch.ones(6, 8, side, side)
    x[:2] = x[4:] = torch.inf  # the clips around the second one
    x = x.contiguous(memory_format=memory_format)
    out = ops.shifted_pointwise_conv(x, torch.ones(40, 8), None, 2)
    assert out[2:4].eq(7).all()  # one channel of eight came from outside
    online = ops.shifted_pointwise_conv(x, torch.ones(40, 8), None, 2, direction="online")
    assert online[2].eq(7).all() and online[3].eq(8).all()


def test_gradients_do_not_cross_the_ends_of_a_clip() -> None:
    x = torch.rand(4, 8, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(ops.shifted_pointwise_conv(x, WEIGHT, None, 2)[2:].sum(), x)
    assert not gradient[:2].any() and gradient[2:].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_steps_give_what_the_clip_gives(activation) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 16, 3, 4), torch.randn(6, 16), torch.randn(6)
    clip = ops.shifted_pointwise_conv(x.flatten(0, 1), weight, bias, 5, 8, "online", activation).unflatten(0, (2, 5))
    past = torch.zeros(2, 2, 3, 4)
    for t, frame in enumerate(x.unbind(1)):
        out, past = ops.online_pointwise_conv(frame, past, weight, bias, activation)
        torch.testing.assert_close(out, clip[:, t], rtol=1e-5, atol=1e-5)
        assert torch.equal(past, frame[:, :2])


def test_the_weight_of_a_convolution_is_taken_as_it_is() -> None:
    flat = ops.shifted_pointwise_conv(FRAMES, WEIGHT, None, 4)
    assert torch.equal(ops.shifted_pointwise_conv(FRAMES, WEIGHT[:, :, None, None], None, 4), flat)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_its_type_and_gives_gradients_in_float32(dtype: torch.dtype) -> None:
    x, weight = FRAMES.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    with torch.autocast("cpu", dtype):
        out = ops.shifted_pointwise_conv(x, weight, torch.rand(3), 4)
        step, kept = ops.online_pointwise_conv(FRAMES, FRAMES[:, :1], WEIGHT, None)
    assert out.dtype == step.dtype == dtype and kept.dtype == torch.float32
    out.float().sum().backward()
    assert x.grad is not None and weight.grad is not None
    assert x.grad.dtype == weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ops.shifted_pointwise_conv(FRAMES[0], WEIGHT, None, 4), r"x must have the shape \[N\*T, C, H, W\]"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT, None, 3), "4 frames are not a whole number of clips of 3"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT, None, 4, 1), "shift_div 1 would move more"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT, None, 4, 8, "up"), "not 'up'"),  # type: ignore[arg-type]
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT[:, :5], None, 4), "for 5 channels, and x has 8"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, torch.rand(3, 8, 3, 3), None, 4), r"weight must .*\[O, C\]"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, None, None, 4), "weight must be a tensor, not NoneType"),  # type: ignore[arg-type]
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT, torch.rand(4), 4), "4 values for 3 channels"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT.double(), None, 4), "one dtype"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT.to("meta"), None, 4), "one device"),
        (lambda: ops.shifted_pointwise_conv(FRAMES, WEIGHT, None, 4, activation="gelu"), "not 'gelu'"),  # type: ignore[arg-type]
        (lambda: ops.online_pointwise_conv(FRAMES, FRAMES[:2, :1], WEIGHT, None), "online_pointwise_conv: past"),
    ],
)
def test_wrong_arguments_are_a_value_error(call: Callable[[], Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
