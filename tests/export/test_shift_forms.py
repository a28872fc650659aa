"""The shift in plain operators is the shift, in graphs whose layers give in parts what moves and what rests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.export import plain_ops
from zoo.export.cut_producers import cut_producers
from zoo.export.eager import fast_copy
from zoo.export.graph import onnx_bytes
from zoo.export.signature import Network, signature_of
from zoo.layers.temporal_shift import ClipContext, TemporalShift
from zoo.ops import reference


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("channels", [4, 16, 20])
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
        torch.testing.assert_close(plain_ops.shifted_pointwise_conv(*arguments), expected)


def test_all_channels_may_move() -> None:
    x, weight = torch.randn(6, 4, 3, 3), torch.randn(5, 4)
    arguments: tuple[Any, ...] = (x, weight, None, 3, 2, False, "none")
    expected = reference.shifted_pointwise_conv(*arguments)
    torch.testing.assert_close(plain_ops.shifted_pointwise_conv(*arguments), expected)


class Residual(nn.Module):
    def __init__(self, context: ClipContext, index: int):
        super().__init__()
        self.first = TemporalShift(nn.Conv2d(16, 8, 1), context, index)
        self.last, self.act = nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.last(self.act(self.first(x))) + x)


class Small(nn.Module):
    """Two residual blocks behind a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.context = ClipContext()
        self.stem, self.pool = nn.Conv2d(3, 16, 3), nn.MaxPool2d(2)
        self.blocks = nn.Sequential(Residual(self.context, 0), Residual(self.context, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.context.num_frames = x.shape[1]
        return self.blocks(self.pool(self.stem(x.flatten(0, 1)))).mean((2, 3)).unflatten(0, x.shape[:2]).mean(1)


@pytest.mark.slow
def test_layers_give_in_parts_what_a_shift_moves_and_what_rests() -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model, clip = Small().eval(), torch.randn(1, 4, 3, 10, 10)
    fast: Any = fast_copy(model, clip)
    graph = onnx.load_from_string(onnx_bytes(Network(fast, signature_of(fast, (clip,))), (clip,)))
    assert cut_producers(graph) == 1  # the other is behind the pooling
    onnx.checker.check_model(graph)
    assert Counter(node.op_type for node in graph.graph.node)["Split"] == 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        clips = torch.randn(batch, 4, 3, 10, 10)
        (found,) = session.run(None, {"clip": clips.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(clips), rtol=1e-4, atol=1e-5)
