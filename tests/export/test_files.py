"""A model that was exported is used as the original is, from a file."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from zoo.cli import main
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video
from zoo.errors import CheckpointError, InputError, ZooError
from zoo.export import missing
from zoo.export.agreement import DisagreementError
from zoo.export.files import RUNTIMES_OF, SUFFIXES, load_file
from zoo.live.streams import Streams
from zoo.weights import PointInput, WeightsSpec

NAMES = ("chair", "table", "lamp")


def needs(to):
    lack = missing(RUNTIMES_OF[to])
    return pytest.mark.skipif(lack is not None, reason=str(lack))


@pytest.fixture
def shapes(tmp_path):
    """The name of an untrained model that tells shapes apart."""
    torch.manual_seed(0)
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.25)
    arguments = {"width_multiplier": 0.25}
    model.spec = WeightsSpec("pointnet_cls", "untrained", 3, PointInput(256), class_names=NAMES, model_args=arguments)
    return f"local-dir:{zoo.save_pretrained(model, tmp_path / 'shapes')}"


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "scan.ply"
    write_ply(path, np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32))
    return path


@needs("onnx")
def test_the_command_writes_a_file_that_predicts_as_the_original(shapes, cloud, tmp_path, capfd):
    out = tmp_path / "shapes.onnx"
    command = ["export", shapes, "--to", "onnx", "--out", str(out)]
    assert main(command) == 0
    assert f"{out}: agrees with pointnet_cls.untrained on noise" in capfd.readouterr().out
    assert main([*command, "--example", str(tmp_path / "missing.ply")]) == 2
    assert "missing.ply" in capfd.readouterr().err
    assert main([*command, "--example", str(cloud), "--precision", "int8", "--calibration", str(tmp_path)]) == 2
    assert "leave out --example" in capfd.readouterr().err
    assert main([*command, "--example", str(cloud)]) == 0
    assert f"on {cloud} and on noise" in capfd.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"shapes", "scan.ply", "shapes.onnx"}
    original, exported = zoo.load(shapes, "cpu"), zoo.load(str(out))
    assert exported.class_names == NAMES and exported.spec == original.spec
    assert exported.model.runtime == "onnxruntime"
    torch.testing.assert_close(exported(cloud).scores, original(cloud).scores, rtol=1e-3, atol=1e-4)
    assert main(["predict", str(out), str(cloud), "--topk", "1"]) == 0
    assert original(cloud).top(1)[0][0] in capfd.readouterr().out
    with pytest.raises(ZooError, match="runs on the CPU"):
        zoo.load(str(out), "meta")


@pytest.mark.slow
@pytest.mark.parametrize("to", [pytest.param(to, marks=needs(to)) for to in RUNTIMES_OF])
def test_an_online_model_predicts_and_follows_streams_from_a_file(to, gesture_model, tmp_path):
    clip = tmp_path / "clip.mp4"
    write_video(clip, np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), dtype=np.uint8), fps=8)
    original = zoo.load(gesture_model, "cpu")
    path = tmp_path / f"gesture{SUFFIXES[to]}"
    assert main(["export", gesture_model, "--to", to, "--out", str(path), "--example", str(clip)]) == 0
    exported = zoo.load(str(path))
    assert exported.class_names == original.class_names and exported.spec == original.spec
    torch.testing.assert_close(exported(clip).scores, original(clip).scores, rtol=1e-3, atol=1e-4)
    frames = torch.randn(2, 3, 3, 64, 64)
    state, own_state = exported.model.initial_state(2, 64), original.model.initial_state(2, 64)
    with torch.no_grad():
        for frame in frames.unbind(1):
            logits, state = exported.model.step(frame.to(memory_format=torch.channels_last), state)
            expected, own_state = original.model.step(frame, own_state)
            torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    Streams(exported.model, num_streams=2).step({1: frames[0, 0]})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pvcnn_sem_c0p125", "pointnet2_part_ssg"])
def test_a_package_of_machine_code_takes_any_batch_and_points(name, tmp_path):
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=4, width_multiplier=0.125).eval()
    ids = (torch.tensor([1]),) if "_part" in name else ()
    channels = 6 if "_part" in name else 9
    path = zoo.export_model(model, tmp_path / "points.pt2", "pt2", (torch.rand(1, channels, 600), *ids))
    packed = load_file(path)
    for batch, num_points in ((1, 600), (3, 700)):
        given = torch.rand(batch, channels, num_points), *(each.expand(batch) for each in ids)
        with torch.no_grad():
            torch.testing.assert_close(packed(*given), model(*given), rtol=1e-3, atol=1e-4)


class Forgetful(nn.Module):
    """Gives something else in a graph than in PyTorch."""

    def __init__(self, model):
        super().__init__()
        self.model, self.spec = model, model.spec

    def forward(self, points):
        return self.model(points) + torch.compiler.is_exporting()


@needs("onnx")
def test_a_file_that_disagrees_is_not_written(shapes, tmp_path):
    model = Forgetful(zoo.create_model(shapes, pretrained=True))
    path = tmp_path / "wrong.onnx"
    path.write_text("what was here before")
    with pytest.raises(DisagreementError, match="the onnx file disagrees with the model: logits is off by"):
        zoo.export_model(model, path, "onnx")
    assert path.read_text() == "what was here before"
    assert {each.name for each in tmp_path.iterdir()} == {"shapes", "wrong.onnx"}


def test_what_cannot_be_exported_is_told_in_a_sentence(shapes, tmp_path, capfd):
    model = zoo.create_model("pointnet_cls", width_multiplier=0.25)
    with pytest.raises(InputError, match="no format 'tflite': the formats are onnx, openvino, pt2"):
        zoo.export_model(model, tmp_path / "shapes.onnx", "tflite")
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        zoo.export_model(model, tmp_path / "shapes.pt", "onnx")
    with pytest.raises(InputError, match=r"make it with zoo\.create_model"):
        zoo.export_model(nn.Linear(3, 3), tmp_path / "shapes.onnx", "onnx")
    assert main(["export", shapes, "--to", "onnx", "--out", str(tmp_path / "missing" / "shapes.onnx")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("to", [pytest.param(to, marks=needs(to)) for to in RUNTIMES_OF])
def test_a_file_that_is_none_is_told_in_a_sentence(to, tmp_path):
    path = tmp_path / f"broken{SUFFIXES[to]}"
    with pytest.raises(InputError, match="there is no such file"):
        zoo.load(str(path))
    path.write_bytes(b"\x08\x0a what is this?")
    with pytest.raises(CheckpointError, match="export it again"):
        zoo.load(str(path))


@needs("onnx")
@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "INT32"])
def test_a_model_of_somebody_else_is_told_in_a_sentence(kind, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, getattr(TensorProto, kind), [1, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with pytest.raises(CheckpointError, match="no model of the zoo"):
        zoo.load(str(path))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_what_the_model_refuses_its_file_refuses_and_threads_share_it(to, tmp_path):
    lack = missing(RUNTIMES_OF[to])
    if lack:
        pytest.skip(lack)
    torch.manual_seed(0)
    model = zoo.create_model("pointnet_part", num_classes=5, width_multiplier=0.125).eval()
    path = zoo.export_model(model, tmp_path / f"parts{SUFFIXES[to]}", to, (torch.rand(2, 6, 40), torch.tensor([0, 3])))
    parts = load_file(path)
    points, ids = torch.rand(1, 6, 50), torch.tensor([2])
    lost = points.clone()
    lost[0, 1, 7] = torch.nan
    for wrong, word in [
        ((), "takes points, shape_ids"),
        ((points, torch.tensor([16])), "0..15"),
        ((points, torch.tensor([0.5])), "integers"),
        ((points, torch.tensor([1, 2])), "shape"),
        ((points[:, :, :0], ids), "shape"),
        ((points.byte(), ids), "floating point"),
        ((lost, ids), "not finite"),
        ((points.numpy(), ids), "tensor"),
    ]:
        with pytest.raises(InputError, match=word):
            parts(*wrong)
    for size in ((1, 6, 50), (2, 6, 40)):  # the last is that of the example
        clouds = [torch.rand(size) for _ in range(40)]
        alone = [parts(each, ids.expand(size[0])) for each in clouds]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda each: parts(each, ids.expand(len(each))), clouds))
        assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


SIGNALLED = """
import signal, sys, zoo
first, second = (zoo.load(path) for path in sys.argv[1:])
del first, second
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.slow
@needs("openvino")
def test_signals_are_heard_after_models_are_gone(shapes, tmp_path):
    path = zoo.export_model(zoo.create_model(shapes, pretrained=True), tmp_path / "shapes.xml", "openvino")
    done = subprocess.run([sys.executable, "-c", SIGNALLED, path, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
