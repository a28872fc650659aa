"""The eager runtime lets one operator compute a MobileNetV2, where it is one that the operator knows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from zoo import ops
from zoo.data.video import read_clip
from zoo.export import fast_copy
from zoo.layers.fused_mobilenet import FusedMobilenet, fuse_mobilenet
from zoo.layers.temporal_shift import ClipContext, TemporalShift

SIZE = 64
native_only = pytest.mark.skipif(ops.backend() != "native", reason="the compiled operators are not built or not wanted")


def make(name: str, **arguments: Any) -> Any:
    """A model whose batch norms do something."""
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=5, **arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean = torch.randn(module.num_features) / 10
            module.running_var = torch.rand(module.num_features) + 0.5
    return model.eval()


def fused(model: nn.Module) -> list[FusedMobilenet]:
    return [module for module in model.modules() if isinstance(module, FusedMobilenet)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tsm_mobilenetv2", {}),
        ("tsn_mobilenetv2", {}),
        ("tsm_mobilenetv2_online", {}),
        ("tsm_mobilenetv2_online", {"tf_padding": True, "shift_div": 4}),
        ("tsm", {"backbone": "mobilenetv2_050", "modality": "flow"}),
    ],
)
def test_clips_give_the_same(name: str, arguments: dict[str, Any]) -> None:
    model = make(name, **arguments)
    clip = torch.randn(2, 3, model.in_channels, SIZE, 50)
    fast = fast_copy(model, clip)
    assert fuse_mobilenet(fast) and len(fused(fast)) == 1
    with torch.inference_mode():
        expected = model(clip)
        torch.testing.assert_close(fast(clip), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@native_only
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.2)])  # OpenVINO is up to 0.1 off
def test_streams_give_the_same(precision: Any, tolerance: float) -> None:
    model = make("tsm_mobilenetv2_online")
    fast: Any = zoo.optimize(model, torch.randn(2, 3, SIZE, SIZE), "eager", precision)
    state = fast_state = model.initial_state(2, SIZE)
    with torch.inference_mode():
        for _ in range(3):
            frame = torch.randn(2, 3, SIZE, SIZE)
            expected, state = model.step(frame, state)
            logits, fast_state = fast.step(frame, fast_state)
            assert (logits - expected).norm() < tolerance * expected.norm()
            assert [x.shape for x in fast_state] == [x.shape for x in state]
            assert {x.dtype for x in fast_state} == {torch.float32}


@native_only
def test_the_eager_runtime_takes_it_and_leaves_the_model() -> None:
    model = make("tsm_mobilenetv2")
    fast: Any = zoo.optimize(model, torch.randn(1, 3, 3, SIZE, SIZE), "eager")
    assert len(fused(fast.session.network)) == 1 and not fused(model)


def _without_activation(model: Any) -> None:
    model.backbone.blocks[2][1].bn2 = nn.Identity()


def _with_another_activation(model: Any) -> None:
    model.backbone.blocks[2][1].bn2 = nn.Hardswish()


class Otherwise(TemporalShift):
    """A shift of one's own."""

    def on_clips(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.roll(1, 0))


def _with_a_shift_of_ones_own(model: Any) -> None:
    block = model.backbone.blocks[2][1]
    block.conv_pw = Otherwise(block.conv_pw, ClipContext(), 0)


def _with_a_hook(model: Any) -> None:
    model.backbone.blocks[2][1].register_forward_hook(lambda *_: None)


def _with_a_dilation(model: Any) -> None:
    conv = model.backbone.blocks[2][1].conv_dw
    conv.dilation = conv.padding = (2, 2)


@pytest.mark.parametrize(
    "change", [_with_a_shift_of_ones_own, _without_activation, _with_another_activation, _with_a_hook, _with_a_dilation]
)
def test_what_is_built_otherwise_is_left_alone(change: Callable[[Any], None]) -> None:
    fast: Any = fast_copy(make("tsn_mobilenetv2"), torch.randn(1, 1, 3, SIZE, SIZE))
    change(fast)
    before = copy.deepcopy(fast)
    assert not fuse_mobilenet(fast) and not fused(fast)
    clip = torch.randn(1, 1, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert torch.equal(fast(clip), before(clip))


@pytest.mark.parametrize("name", ["tsm_resnet18", "pointnet_cls"])
def test_other_networks_are_left_alone(name: str) -> None:
    assert not fuse_mobilenet(make(name))


@pytest.mark.parametrize("backbone", ["efficientnet_b0", "mobilenetv3_small_050"])
def test_relatives_are_left_alone(backbone: str) -> None:
    model = make("tsm", backbone=backbone, shift_place=None)
    assert not fuse_mobilenet(fast_copy(model, torch.randn(1, 1, 3, SIZE, SIZE)))


def test_norms_that_are_not_folded_are_left_alone() -> None:
    assert not fuse_mobilenet(make("tsn_mobilenetv2"))
    assert not fuse_mobilenet(make("tsn_mobilenetv2").train())


def test_a_stream_without_a_state_is_told_where_to_get_one() -> None:
    fast: Any = fast_copy(make("tsm_mobilenetv2_online"), torch.randn(1, 3, SIZE, SIZE))
    assert fuse_mobilenet(fast)
    with pytest.raises(ValueError, match="initial_state"):
        fast.step(torch.randn(1, 3, SIZE, SIZE), (None,) * 10)


@native_only
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_real_video_is_told_the_same(precision: Any, test_data: Path) -> None:
    predictor = zoo.load("tsm_mobilenetv2.fights")
    model: Any = predictor.model
    paths = sorted((test_data / "video/fights_mp4").glob("*fi00*.mp4"))
    clips = [read_clip(path, model.num_frames).frames.permute(0, 3, 1, 2) for path in paths]
    inputs = torch.stack([predictor.transform(clip) for clip in clips])
    fast: Any = zoo.optimize(model, inputs, "eager", precision)
    with torch.inference_mode():
        expected, logits = model(inputs), fast(inputs)
    assert (logits - expected).abs().max() < (1e-4 if precision == "fp32" else 0.1) * expected.abs().max()
