"""The shift in plain operators is the shift, in graphs whose layers give in parts what moves and what rests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.export import plain_ops
from zoo.export.clip_layout import keep_clips
from zoo.export.eager import fast_copy
from zoo.export.graph import onnx_bytes
from zoo.export.shift_taps import convolve_shifts
from zoo.export.signature import Network, signature_of
from zoo.export.split_steps import split_steps
from zoo.layers.temporal_shift import ClipContext, TemporalShift
from zoo.ops import reference


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("channels", [4, 20, 256, 512])  # the last two are wide enough for two convolutions
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_a_shifted_convolution_in_plain_operators_is_the_reference(
    online: bool, channels: int, num_frames: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * num_frames, channels, 3, 3, generator=generator)
    weight, bias = torch.randn(6, channels, generator=generator), torch.randn(6, generator=generator)
    for activation in ("none", "relu", "relu6"):
        arguments: tuple[Any, ...] = (x, weight, bias, num_frames, 8, online, activation)
        expected = reference.shifted_pointwise_conv(*arguments)
        torch.testing.assert_close(plain_ops.shifted_pointwise_conv(*arguments), expected, rtol=1e-4, atol=1e-4)


def test_all_channels_may_move() -> None:
    for channels in (4, 128):
        x, weight = torch.randn(6, channels, 3, 3), torch.randn(5, channels)
        arguments: tuple[Any, ...] = (x, weight, None, 3, 2, False, "none")
        expected = reference.shifted_pointwise_conv(*arguments)
        torch.testing.assert_close(plain_ops.shifted_pointwise_conv(*arguments), expected, rtol=1e-4, atol=1e-4)


class Residual(nn.Module):
    def __init__(self, channels: int, context: ClipContext, index: int):
        super().__init__()
        self.first = TemporalShift(nn.Conv2d(channels, 8, 1), context, index)
        self.last, self.act = nn.Conv2d(8, channels, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.last(self.act(self.first(x))) + x)


class Small(nn.Module):
    """Two residual blocks behind a pooling, in the middle of which ``between`` is."""

    def __init__(self, channels: int, between: nn.Module | None = None):
        super().__init__()
        self.context = ClipContext()
        self.stem, self.pool = nn.Conv2d(3, channels, 3), nn.MaxPool2d(3, 2, 1)
        blocks = [Residual(channels, self.context, index) for index in range(2)]
        self.blocks = nn.Sequential(blocks[0], between or nn.Identity(), blocks[1])

    def forward(self, x: Tensor) -> Tensor:
        self.context.num_frames = x.shape[1]
        return self.blocks(self.pool(self.stem(x.flatten(0, 1)))).mean((2, 3)).unflatten(0, x.shape[:2]).mean(1)


def exported(model: nn.Module) -> Any:
    """The ONNX model."""
    onnx, clip = pytest.importorskip("onnx"), torch.randn(1, 4, 3, 10, 10)
    fast: Any = fast_copy(model.eval(), clip)
    return onnx.load_from_string(onnx_bytes(Network(fast, signature_of(fast, (clip,))), (clip,)))


def check_computes(graph: Any, model: nn.Module) -> None:
    """The graph is one, and gives what the model does, for any batch."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        clips = torch.randn(batch, 4, 3, 10, 10)
        (found,) = session.run(None, {"clip": clips.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(clips), rtol=1e-4, atol=1e-5)


def count(graph: Any) -> Counter[str]:
    """The operators."""
    return Counter(node.op_type for node in graph.graph.node)


@pytest.mark.slow
def test_layers_give_in_parts_what_a_shift_moves_and_what_rests() -> None:
    torch.manual_seed(0)
    model = Small(256)
    graph = exported(model)
    assert count(graph)["Split"] == 1  # behind the pooling; the other is gone
    check_computes(graph, model)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [16, 256])
def test_layers_see_clips_and_compute_the_same(channels: int) -> None:
    torch.manual_seed(0)
    model = Small(channels)
    graph = exported(model)
    unfolded = count(graph)["Reshape"]
    assert keep_clips(graph)
    assert count(graph)["Reshape"] < unfolded
    check_computes(graph, model)
    assert not keep_clips(graph)  # nothing is folded any more
    assert convolve_shifts(graph) == (2 if channels == 16 else 0)  # pads of what is cut are faster
    assert ("Pad" in count(graph)) == (channels == 256)
    check_computes(graph, model)
    assert convolve_shifts(graph) == 0


@pytest.mark.slow
def test_a_network_with_an_operator_that_is_not_known_stays_as_it_is() -> None:
    graph = exported(Small(16, nn.Softmax(dim=1)))
    before = graph.SerializeToString(deterministic=True)
    assert not keep_clips(graph)
    assert graph.SerializeToString(deterministic=True) == before


@pytest.mark.slow
def test_frames_are_flattened_without_arithmetic_of_indices() -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, clip = zoo.create_model("tsm_resnet18", num_classes=4), torch.rand(1, 8, 3, 64, 64)
    fast = fast_copy(model, clip)
    graph = onnx.load_from_string(onnx_bytes(Network(fast, signature_of(fast, (clip,))), (clip,))).graph
    assert not {"Gather", "Range"} & {node.op_type for node in graph.node}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shifts"), [("mobilenetv2", 10), ("resnet50", 16), ("resnet18", 0)])
def test_a_step_may_add_what_the_frame_before_left_in_the_place_of_putting_it_there(name: str, shifts: int) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model: Any = zoo.create_model(f"tsm_{name}_online", num_classes=3).eval()
    inputs = (torch.rand(1, 3, 64, 64), *(torch.rand_like(part) for part in model.initial_state(1, 64)))
    network = Network(fast_copy(model, inputs), signature_of(model, inputs))
    graph = onnx.load_from_string(onnx_bytes(network, inputs))
    before = count(graph)
    assert split_steps(graph) == (shifts > 0)  # shifts before 3x3 convolutions stay
    assert count(graph)["Conv"] - before["Conv"] == before["Concat"] - count(graph)["Concat"] == shifts
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip(network.signature.inputs, (x.numpy() for x in inputs), strict=True)))
    with torch.no_grad():
        for actual, expected in zip(found, network(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=1e-3, atol=1e-4)
