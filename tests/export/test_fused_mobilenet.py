"""The eager runtime lets one operator compute a MobileNetV2, where it is one that the operator knows."""

from __future__ import annotations

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
from zoo.export.runtimes.eager import computes_mobilenets
from zoo.layers.fused_mobilenet import FusedMobilenet, with_fused_mobilenet
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
    plain = fast_copy(model, clip)
    fast: Any = with_fused_mobilenet(plain)
    assert len(fused(fast)) == 1 and not fused(plain)
    with torch.inference_mode():
        expected = model(clip)
        torch.testing.assert_close(fast(clip), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@native_only
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("fp32", 1e-4), ("bf16", 0.2), ("int8", 0.3)],  # OpenVINO's bf16 is up to 0.1 off
)
def test_streams_give_the_same(precision: Any, tolerance: float) -> None:
    if precision == "int8" and not computes_mobilenets("int8"):
        pytest.skip("this processor has no units for matrices of integers")
    model = make("tsm_mobilenetv2_online")
    calibration = [torch.randn(1, 4, 3, SIZE, SIZE) for _ in range(4)] if precision == "int8" else None
    fast: Any = zoo.optimize(model, torch.randn(2, 3, SIZE, SIZE), "eager", precision, calibration=calibration)
    assert bool(fused(fast.session.network)) == computes_mobilenets(precision)
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
    assert bool(fused(fast.session.network)) == computes_mobilenets("fp32") and not fused(model)


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


def _with_excitation(model: Any) -> None:
    model.backbone.blocks[2][1].se = nn.ReLU()


def _with_another_pooling(model: Any) -> None:
    model.backbone.global_pool.pool_type = "max"


def _with_reflections(model: Any) -> None:
    model.backbone.blocks[2][1].conv_dw.padding_mode = "reflect"


def _with_two_limits(model: Any) -> None:
    model.backbone.blocks[2][1].bn2 = nn.ReLU()


def _with_a_hook(model: Any) -> None:
    model.backbone.blocks[2][1].register_forward_hook(lambda *_: None)


def _with_a_dilation(model: Any) -> None:
    conv = model.backbone.blocks[2][1].conv_dw
    conv.dilation = conv.padding = (2, 2)


@pytest.mark.parametrize(
    "change",
    [
        *(_with_a_shift_of_ones_own, _without_activation, _with_another_activation, _with_excitation, _with_a_hook),
        *(_with_a_dilation, _with_another_pooling, _with_reflections, _with_two_limits),
    ],
)
def test_what_is_built_otherwise_is_left_alone(change: Callable[[Any], None]) -> None:
    fast: Any = fast_copy(make("tsn_mobilenetv2"), torch.randn(1, 1, 3, SIZE, SIZE))
    assert with_fused_mobilenet(fast) is not None
    change(fast)
    assert with_fused_mobilenet(fast) is None


@pytest.mark.parametrize("name", ["tsm_resnet18", "pointnet_cls"])
def test_other_networks_are_left_alone(name: str) -> None:
    assert with_fused_mobilenet(make(name)) is None


@pytest.mark.parametrize(
    "backbone", ["efficientnet_lite0", "mobilenetv3_small_050", "tf_mobilenetv3_small_minimal_100"]
)
def test_relatives_are_left_alone(backbone: str) -> None:
    model = make("tsm", backbone=backbone, shift_place=None)
    assert with_fused_mobilenet(fast_copy(model, torch.randn(1, 1, 3, SIZE, SIZE))) is None


def test_what_learns_is_left_alone() -> None:
    assert with_fused_mobilenet(make("tsn_mobilenetv2")) is None  # norms are not folded
    assert with_fused_mobilenet(fast_copy(make("tsn_mobilenetv2"), torch.randn(1, 1, 3, SIZE, SIZE)).train()) is None


def test_a_stream_may_begin_with_nothing_and_be_of_any_type() -> None:
    model, frame = make("tsm_mobilenetv2_online"), torch.randn(1, 3, SIZE, SIZE)
    fast: Any = with_fused_mobilenet(fast_copy(model, frame))
    with torch.inference_mode():
        expected, _ = fast.step(frame, model.initial_state(1, SIZE))
        assert torch.equal(fast.step(frame, (None,) * 10)[0], expected)
        logits, state = fast.step(frame.half(), tuple(x.half() for x in model.initial_state(1, SIZE)))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-2 * expected.abs().max().item())
    assert {x.dtype for x in state} == {torch.float16}


def test_ranges_are_those_of_the_calibration_set() -> None:
    fast: Any = fast_copy(make("tsn_mobilenetv2"), torch.randn(1, 1, 3, SIZE, SIZE))
    clip = torch.randn(1, 2, 3, SIZE, SIZE)
    seen: list[float] = []
    hook = fast.backbone.blocks[1][0].register_forward_pre_hook(lambda _, given: seen.append(given[0].abs().max()))
    fast(clip)
    hook.remove()
    quantized: Any = with_fused_mobilenet(fast, torch.int8, lambda: (fast(clip), fast(clip / 2)))
    scales = quantized.backbone.network.integers.scales
    assert scales[0] == pytest.approx(clip.abs().max().item() / 127)
    assert scales[1] == pytest.approx(seen[0] / 127)
    assert with_fused_mobilenet(fast) is not None  # nothing is left of what watched it


def test_calibration_that_shows_nothing_is_refused() -> None:
    fast: Any = fast_copy(make("tsn_mobilenetv2"), torch.randn(1, 1, 3, SIZE, SIZE))
    clip = torch.randn(1, 2, 3, SIZE, SIZE)
    for calibrate, message in (
        (None, "int8 needs calibrate="),
        (lambda: None, "above 0"),
        (lambda: fast(torch.zeros_like(clip)), "above 0"),
        (lambda: (fast(clip), fast(clip.masked_fill(clip > 2, torch.nan)), fast(clip)), "finite inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            with_fused_mobilenet(fast, torch.int8, calibrate)
    with pytest.raises(ValueError, match="nothing else takes it"):
        with_fused_mobilenet(fast, torch.float32, lambda: fast(clip))
    assert with_fused_mobilenet(make("tsm_resnet18"), torch.int8, lambda: None) is None


@pytest.fixture(scope="module")
def real_clips(test_data: Path) -> tuple[Any, torch.Tensor]:
    """A network and clips of its subject."""
    predictor = zoo.load("tsm_mobilenetv2.fights")
    model: Any = predictor.model
    paths = sorted((test_data / "video/fights_mp4").glob("*fi00*.mp4"))
    clips = [read_clip(path, model.num_frames).frames.permute(0, 3, 1, 2) for path in paths]
    return model, torch.stack([predictor.transform(clip) for clip in clips])


@native_only
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_real_video_is_told_the_same(precision: Any, real_clips: tuple[Any, torch.Tensor]) -> None:
    model, inputs = real_clips
    fast: Any = zoo.optimize(model, inputs, "eager", precision)
    with torch.inference_mode():
        expected, logits = model(inputs), fast(inputs)
    assert (logits - expected).abs().max() < (1e-4 if precision == "fp32" else 0.1) * expected.abs().max()


@native_only
def test_integers_tell_a_real_video_about_the_same(real_clips: tuple[Any, torch.Tensor]) -> None:
    model, inputs = real_clips
    plain: Any = fast_copy(model, inputs)
    fast: Any = with_fused_mobilenet(plain, torch.int8, lambda: plain(inputs))
    with torch.inference_mode():
        expected, logits = model(inputs), fast(inputs)
    assert (logits - expected).abs().mean() < 0.3 * expected.abs().mean()  # ONNX Runtime's: 0.16 of twelve videos
