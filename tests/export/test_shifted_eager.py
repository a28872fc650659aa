"""The eager form of a network with shifts moves nothing, and computes activations with its convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.export import fast_copy
from zoo.layers.shifted_conv import ShiftedPointwiseConv
from zoo.layers.temporal_shift import ClipContext, TemporalShift


def shifted_convs(model: nn.Module) -> list[ShiftedPointwiseConv]:
    return [module for module in model.modules() if isinstance(module, ShiftedPointwiseConv)]


@pytest.mark.parametrize(("name", "activation"), [("tsm_resnet50", "relu"), ("tsm_mobilenetv2_online", "relu6")])
def test_the_activation_behind_every_shifted_convolution_is_computed_with_it(name: str, activation: str) -> None:
    torch.manual_seed(0)
    model, clip = zoo.create_model(name, num_classes=5).eval(), torch.rand(1, 3, 3, 64, 64)
    fast = fast_copy(model, clip)
    assert len(shifted_convs(fast)) == len(model.shifts) and not shifted_convs(model)
    assert {conv.activation for conv in shifted_convs(fast)} == {activation}
    with torch.inference_mode():
        expected = model(clip)
        torch.testing.assert_close(fast(clip), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


class Branched(nn.Module):
    """Frames whose shifted convolution is seen by an activation, and by something else as well."""

    def __init__(self) -> None:
        super().__init__()
        self.context = ClipContext()
        self.conv, self.act = TemporalShift(nn.Conv2d(8, 4, 1), self.context, 0), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.context.num_frames = x.shape[1]
        y = self.conv(x.flatten(0, 1))
        return self.act(y).mean((2, 3)) + y.amin((2, 3))


def test_an_activation_stays_where_something_else_sees_what_is_before_it() -> None:
    model, clip = Branched().eval(), torch.randn(1, 3, 8, 4, 4)
    fast = fast_copy(model, clip)
    assert [conv.activation for conv in shifted_convs(fast)] == ["none"]
    torch.testing.assert_close(fast(clip), model(clip))
