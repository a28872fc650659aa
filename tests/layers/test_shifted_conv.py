"""Shifts and 1x1 convolutions as one layer: the same values, gradients, parameters and streams as before."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.layers.shifted_conv import ShiftedPointwiseConv, use_shifted_convs
from zoo.layers.temporal_shift import ClipContext, TemporalShift


def model_and_copy(name: str, **arguments) -> tuple[nn.Module, nn.Module]:
    """A model, whose residual branches say something, and the same one with shifted convolutions."""
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=5, **arguments)
    for parameter in model.parameters():
        if parameter.dim() == 1 and parameter.abs().max() < 1e-3:
            nn.init.ones_(parameter)
    fast = copy.deepcopy(model)
    assert use_shifted_convs(fast)
    return model.eval(), fast.eval()


def clips(side: int = 32) -> Tensor:
    return torch.rand(2, 4, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "shifts"), [("tsm_resnet50", 16), ("tsm_mobilenetv2", 10)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_model_computes_the_same_under_the_same_names(name, shifts, memory_format) -> None:
    model, fast = (m.to(memory_format=memory_format) for m in model_and_copy(name))
    assert sum(isinstance(module, ShiftedPointwiseConv) for module in fast.modules()) == shifts
    assert list(fast.state_dict()) == list(model.state_dict())
    fast.load_state_dict(model.state_dict())
    with torch.inference_mode():
        expected = model(clips())
        torch.testing.assert_close(fast(clips()), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_a_model_learns_the_same() -> None:
    gradients = []
    for model in model_and_copy("tsm_mobilenetv2"):
        model(clips()).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("direction", ["bidirectional", "online"])
def test_a_shift_that_learns_keeps_nothing_shifted_and_calls_the_hooks_of_its_convolution(direction) -> None:
    context = ClipContext()
    context.num_frames = 4
    shift = TemporalShift(nn.Conv2d(8, 5, 1), context, 0, direction=direction)
    x = torch.randn(4, 8, 3, 3, requires_grad=True)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()), lambda none: none):
        out = shift(x)
    if zoo.ops.backend() == "native":  # plain PyTorch moves what is shifted
        assert set(kept) == {x.data_ptr(), shift.get_parameter("net.weight").data_ptr()}
    seen: list[Tensor] = []
    shift.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(shift(x), out)
    assert len(seen) == 1 and seen[0].shape == x.shape


def test_a_stream_is_followed_as_before() -> None:
    model, fast = model_and_copy("tsm_mobilenetv2_online")
    states = [m.initial_state(2, 64) for m in (model, fast)]
    for frame in clips(64).unbind(1):
        with torch.inference_mode():
            expected, states[0] = model.step(frame, states[0])
            logits, states[1] = fast.step(frame, states[1])
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_other_shifts_stay_as_they_are() -> None:
    model = zoo.create_model("tsm_resnet18", num_classes=5)
    assert use_shifted_convs(model) == []
    with pytest.raises(ValueError, match="1x1 convolution"):
        ShiftedPointwiseConv.of(next(module for module in model.modules() if isinstance(module, TemporalShift)))


def test_a_layer_can_be_copied_compiled_and_saved() -> None:
    context = ClipContext()
    context.num_frames = 4
    layer = ShiftedPointwiseConv.of(TemporalShift(nn.Conv2d(8, 5, 1), context, 0)).eval()
    layer.activation = "relu6"
    x = torch.randn(4, 8, 3, 3)
    expected = layer(x)
    assert expected.min() == 0
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        other.context.num_frames = 4
        assert torch.equal(other(x), expected)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)
