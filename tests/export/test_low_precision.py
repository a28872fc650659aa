"""Models in int8 and bfloat16 are called as before, say what they compute in, and stay close to themselves."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from tests.export.trained import make
from zoo.cli import main
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video
from zoo.errors import InputError, ZooError
from zoo.export import missing
from zoo.export.calibration import MOST_FILES, calibration_list
from zoo.export.sensitivity import layer_sensitivity, sensitivity_report
from zoo.weights import PointInput, WeightsSpec


def needs(runtime, *packages):
    lacks = [missing(runtime), *(f"{name} is not installed" for name in packages if not importlib.util.find_spec(name))]
    why = next((lack for lack in lacks if lack), "")
    return pytest.param(runtime, marks=pytest.mark.skipif(bool(why), reason=why))


INT8 = [needs("onnxruntime"), needs("openvino", "nncf"), needs("eager", "torchao")]
FILES = [
    pytest.param("onnx", ".onnx", marks=INT8[0].marks),
    pytest.param("openvino", ".xml", marks=INT8[1].marks),
]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", INT8)
def test_a_clip_model_in_int8_is_close_for_any_batch(runtime):
    model, (clip,) = make("tsm_resnet18", num_classes=5, num_frames=2)
    clips = [torch.randn_like(clip) for _ in range(4)]
    fast = zoo.optimize(model, runtime=runtime, precision="int8", calibration=clips)
    assert (fast.runtime, fast.precision) == (runtime, "int8")
    both = torch.cat(clips[:2])
    with torch.no_grad():
        expected = model(both)
    logits = fast(both)
    assert logits.dtype == torch.float32 and not torch.equal(logits, expected)
    assert (logits - expected).norm() < 0.2 * expected.norm()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", INT8)
def test_an_online_model_in_int8_follows_streams(runtime):
    model, (clip,) = make("tsm_mobilenetv2_online", num_classes=5)
    fast = zoo.optimize(model, runtime=runtime, precision="int8", calibration=[clip, clip.flip(1)])
    assert fast.precision == "int8"
    state, fast_state = model.initial_state(1, 64), fast.initial_state(1, 64)
    for frame in clip.unbind(1):
        with torch.no_grad():
            logits, state = model.step(frame, state)
        fast_logits, fast_state = fast.step(frame, fast_state)
        assert [tensor.shape for tensor in fast_state] == [tensor.shape for tensor in state]
        assert (fast_logits - logits).norm() < 0.3 * logits.norm()


@pytest.mark.parametrize("runtime", INT8[:2])
def test_a_point_model_in_int8_is_close_for_the_largest_of_the_clouds_too(runtime):
    model, (points,) = make("pointnet_cls", num_classes=4, width_multiplier=0.125)
    clouds = [torch.rand_like(points) * size for size in (1.0, 0.1, 0.2, 0.05)]
    fast = zoo.optimize(model, runtime=runtime, precision="int8", calibration=clouds)
    assert fast.precision == "int8"
    with torch.no_grad():
        expected = model(clouds[0])
    assert (fast(clouds[0]) - expected).norm() < 0.2 * expected.norm()


@pytest.mark.parametrize("runtime", [needs("openvino"), needs("onnxruntime"), needs("eager")])
def test_bfloat16_is_computed_or_refused_with_the_reason(runtime):
    model, (points,) = make("pointnet_cls", num_classes=4, width_multiplier=0.125)
    try:
        fast = zoo.optimize(model, points, runtime, "bf16")
    except ZooError as error:
        assert "bfloat16" in str(error) or "on this processor" in str(error)
        return
    assert fast.precision == "bf16"
    with torch.no_grad():
        expected = model(points)
    logits = fast(points)
    assert not torch.allclose(logits, expected, rtol=1e-5, atol=1e-6)  # fewer bits are seen
    assert (logits - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("runtime", INT8)
def test_sums_of_large_integers_are_not_cut_off(runtime):
    class Sum(nn.Module):
        """Adds up sixteen bits and more, in pairs of products that fill fifteen."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(64, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False)
            for convolution in (self.first, self.second):
                nn.init.ones_(convolution.weight)

        def forward(self, x):
            return self.second(self.first(x.flatten(0, 1))).mean((2, 3))

    ones = torch.ones(1, 1, 64, 8, 8)
    fast = zoo.optimize(Sum().eval(), ones, runtime, "int8", calibration=[ones])
    torch.testing.assert_close(fast(ones), torch.full((1, 4), 512.0), rtol=0.03, atol=0)


def test_mistakes_in_the_calibration_set_are_told_in_a_sentence(tmp_path):
    model, (points,) = make("pointnet_cls", num_classes=4, width_multiplier=0.125)

    def quantize(calibration):
        return zoo.optimize(model, points, "eager", "int8", calibration=calibration)

    with pytest.raises(InputError, match="int8 needs calibration="):
        quantize(None)
    with pytest.raises(InputError, match="the calibration set is empty: pass some tens of inputs"):
        quantize([])
    with pytest.raises(InputError, match="the calibration set is empty: there is no point cloud in"):
        quantize(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        quantize(tmp_path / "missing")
    with pytest.raises(InputError, match="calibration input 1 is no tensor"):
        quantize([points, "cloud.ply"])
    with pytest.raises(InputError, match=r"calibration input 0 does not fit: points must have the shape \[B, 3, N\]"):
        quantize([points[:, :2]])


def test_a_folder_of_clouds_or_videos_is_a_calibration_set(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "clouds" / "more").mkdir(parents=True)
    for number in range(MOST_FILES + 6):
        write_ply(tmp_path / "clouds" / "more" / f"{number:03}.ply", rng.random((50, 3)).astype(np.float32))
    points = zoo.create_model("pointnet_cls", num_classes=4, width_multiplier=0.125)
    clouds = calibration_list(points, tmp_path / "clouds")
    assert len(clouds) == MOST_FILES and clouds[0].shape == (1, 3, points.spec.input.num_points)
    write_video(tmp_path / "wave.mp4", rng.integers(0, 255, (9, 64, 64, 3), dtype=np.uint8), fps=8)
    video = zoo.create_model("tsm_resnet18", num_classes=4)
    (clip,) = calibration_list(video, tmp_path)
    assert clip.shape == (1, 8, 3, 224, 224)
    Image.new("RGB", (64, 64)).save(tmp_path / "preview.png")
    (same,) = calibration_list(video, tmp_path)
    assert torch.equal(same, clip), "a picture beside videos makes no video of their folder"


def test_the_report_names_the_layer_that_suffers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calm, self.wild, self.last = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1)
            nn.init.eye_(self.calm.weight.data[:, :, 0, 0])
            self.calm.weight.data[7] = 1e4  # one of the channels takes all of the range
            self.wild.weight.data[:, 7] = 0.0

        def forward(self, x):
            return self.last(self.wild(self.calm(x.flatten(0, 1))).relu()).mean((2, 3))

    torch.manual_seed(0)
    model = Net().eval()
    before = [parameter.clone() for parameter in model.parameters()]
    found = layer_sensitivity(model, [torch.rand(1, 2, 4, 6, 6) for _ in range(3)])
    assert found.layers[0].layer == "wild"
    assert {layer.layer for layer in found.layers} == {"calm", "wild", "last"}
    assert found.layers[0].left_out.error < found.together.error / 5
    assert all(map(torch.equal, before, model.parameters()))
    lines = sensitivity_report("net", found).splitlines()
    assert any(line.startswith("| wild |") for line in lines)
    with pytest.raises(InputError, match="the calibration set is empty"):
        layer_sensitivity(model, [])


@pytest.mark.parametrize(("to", "suffix"), FILES)
def test_the_command_writes_an_int8_file_and_which_layers_suffer(to, suffix, tmp_path, capfd):
    torch.manual_seed(0)
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.125)
    arguments = {"width_multiplier": 0.125}
    model.spec = WeightsSpec("pointnet_cls", "untrained", 3, PointInput(256), model_args=arguments)
    name = f"local-dir:{zoo.save_pretrained(model, tmp_path / 'shapes')}"
    (tmp_path / "clouds").mkdir()
    for number in range(3):
        write_ply(tmp_path / "clouds" / f"{number}.ply", np.random.default_rng(number).random((300, 3), np.float32))
    out, report = tmp_path / f"shapes{suffix}", tmp_path / "report.md"
    command = ["export", name, "--to", to, "--out", str(out)]
    assert main([*command, "--sensitivity", str(report)]) == 2
    assert "are for int8" in capfd.readouterr().err
    assert main([*command, "--precision", "int8"]) == 2
    assert "int8 needs --calibration FOLDER" in capfd.readouterr().err
    command += ["--precision", "int8", "--calibration", str(tmp_path / "clouds"), "--sensitivity", str(report)]
    assert main(command) == 0
    exported = zoo.load(str(out))
    assert exported.model.precision == "int8"
    scores, own = (each(tmp_path / "clouds" / "0.ply").scores for each in (exported, zoo.load(name, "cpu")))
    torch.testing.assert_close(scores, own, rtol=0.1, atol=0.02)
    assert "All layers in int8: error" in report.read_text()
