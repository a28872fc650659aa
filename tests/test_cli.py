"""The command line: answers on standard output, one sentence on standard error, exit code 2 for what must be mended."""

import json
import os

import numpy as np
import pytest
import torch

from tests.parity import fixtures
from zoo.cli import main
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video

GESTURE = "tsm_mobilenetv2_online.fingertip"
SCENE = "pvcnn_sem_c0p25.mosd"


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), dtype=np.uint8), fps=8)
    return path


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "scan.ply"
    rng = np.random.default_rng(0)
    write_ply(path, rng.normal(size=(200, 3)).astype(np.float32), rng.integers(0, 255, (200, 3), dtype=np.uint8))
    return path


def run(capsys, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments, names):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1
    assert str(names) in err


def test_list(capsys):
    code, out, _ = run(capsys, "list", "pvcnn*", "--pretrained")
    assert code == 0 and out.splitlines() == [SCENE]
    assert "tsm_resnet50" in run(capsys, "list", "--task", "video_classification")[1].splitlines()


def test_info(capsys):
    _, out, _ = run(capsys, "info", GESTURE)
    for word in ("parameters", "MACs", "16 frames", "Counter Clockwise", "Apache-2.0", "sha256", "accuracy"):
        assert word in out
    _, out, _ = run(capsys, "info", "tsm_resnet50")
    assert "24.33 M" in out and "32.7" in out and "none" in out


def test_predict_as_text_and_json(capsys, clip, cloud, tmp_path):
    code, out, _ = run(capsys, "predict", GESTURE, clip, "--topk", 2)
    assert code == 0 and out.count("%") == 2
    code, out, err = run(capsys, "predict", SCENE, cloud, "--json", "--save", tmp_path / "segmented.ply")
    answer = json.loads(out)
    assert code == 0 and not err and (tmp_path / "segmented.ply").is_file()
    assert set(answer) == {"model", "input", "top", "timings_ms", "warnings"}
    assert {entry["label"] for entry in answer["top"]} == {"background", "object"}


def test_unusual_input_is_one_warning(capsys, tmp_path):
    write_video(tmp_path / "short.mp4", np.zeros((3, 64, 64, 3), np.uint8), fps=8)
    with pytest.warns(UserWarning) as caught:
        code, _, _ = run(capsys, "predict", GESTURE, tmp_path / "short.mp4")
    assert code == 0 and len(caught) == 1 and "short.mp4" in str(caught[0].message)


def test_bad_names_commands_and_options(capsys, clip):
    refused(capsys, "predict", "tsm_resnet5", clip, names="tsm_resnet50")
    refused(capsys, "predict", "tsm_resnet50", clip, names="no pretrained weights")
    refused(capsys, "frobnicate", names="frobnicate")
    refused(capsys, "list", "--pretraind", names="--pretraind")
    refused(capsys, "predict", GESTURE, clip, "--topk", 0, names="--topk")
    refused(capsys, "predict", GESTURE, clip, "--device", "quantum", names="quantum")


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 9, os.urandom(5000)])
def test_bad_files(capsys, tmp_path, content):
    for model, name in [(GESTURE, "bad.mp4"), (SCENE, "bad.ply"), (SCENE, "bad.pcd"), (SCENE, "bad.bin")]:
        path = tmp_path / name
        path.write_bytes(content)
        if name == "bad.bin" and content.startswith(b"just"):
            continue  # any bytes are floats
        refused(capsys, "predict", model, path, names=path)


def test_missing_and_mistaken_files(capsys, clip, cloud, tmp_path):
    refused(capsys, "predict", GESTURE, tmp_path / "nothing.mp4", names="nothing.mp4")
    refused(capsys, "predict", SCENE, tmp_path / "nothing.ply", names="nothing.ply")
    refused(capsys, "predict", GESTURE, cloud, names="scan.ply")
    refused(capsys, "predict", SCENE, clip, names="clip.mp4")
    refused(capsys, "predict", SCENE, tmp_path, names=tmp_path)


def test_convert(capsys, tmp_path):
    path = fixtures.write_checkpoint(fixtures.load("s3dis_pvcnn_c1"), tmp_path)
    for option in ([], ["--model", "pvcnn_sem_c1"]):
        code, out, _ = run(capsys, "convert", path, tmp_path / "out.safetensors", *option)
        assert code == 0 and "91 of 91 tensors matched" in out and "pvcnn_sem_c1" in out
    refused(capsys, "convert", path, tmp_path / "no" / "folder.safetensors", names="folder.safetensors")
    refused(capsys, "convert", path, tmp_path / "o.safetensors", "--model", "pvcnn_sem_c0p25", names="another network")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pth")
    refused(capsys, "convert", tmp_path / "other.pth", tmp_path / "o.safetensors", names="other.pth")


def test_real_corrupted_and_truncated_files(capsys, test_data, tmp_path):
    clips = test_data / "video/clips"
    refused(capsys, "predict", GESTURE, clips / "decord/corrupted.mp4", names="corrupted.mp4")
    cut_off = test_data / "weights/tsm_jester_truncated/mobilenetv2_jester_online.pth.tar"
    refused(capsys, "convert", cut_off, tmp_path / "o.safetensors", names="mobilenetv2_jester_online.pth.tar")
