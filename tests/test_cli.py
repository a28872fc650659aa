"""The command line: answers on standard output, one sentence on standard error, exit code 2 for what must be mended."""

import json
import os
import signal
import socket
import sys

import numpy as np
import pytest
import torch

import zoo
from tests.parity import fixtures
from zoo.cli import exit_code, main
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video

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


def run(capfd, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def refused(capfd, *arguments, names):
    code, out, err = run(capfd, *arguments)
    assert code == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1
    assert str(names) in err


@pytest.fixture
def scenes(tmp_path):
    return f"local-dir:{zoo.save_pretrained(zoo.create_model('pvcnn_sem_c0p125', in_channels=6), tmp_path / 'scenes')}"


@pytest.fixture
def clips(tmp_path):
    return f"local-dir:{zoo.save_pretrained(zoo.create_model('tsm_mobilenetv2', num_classes=3), tmp_path / 'clips')}"


def test_list(capfd):
    code, out, _ = run(capfd, "list", "pvcnn*", "--pretrained")
    marks = {name: " ".join(mark) for name, *mark in map(str.split, out.splitlines())}
    assert code == 0 and marks[SCENE] == "comes along" and marks["pvcnn_part_c1.shapenet_dml"] == ""
    refused(capfd, "list", "pvcn_*", names="no model matches 'pvcn_*'; the nearest names are pvcnn_")
    refused(capfd, "list", "tsm_resnet18", "--pretrained", names="no weights match 'tsm_resnet18'")
    assert "tsm_resnet50" in run(capfd, "list", "--task", "video_classification")[1].splitlines()


def test_info(capfd):
    _, out, _ = run(capfd, "info", SCENE)
    for word in ("parameters", "MACs", "4096 points", "background, object", "licence", "sha256", "mean IoU"):
        assert word in out
    _, out, _ = run(capfd, "info", "tsm_resnet50")
    assert "24.33 M" in out and "32.7" in out and "tsm_resnet50.k400_8f" in out
    assert "none" in run(capfd, "info", "tsm_resnet18")[1]


def test_predict_as_text_and_json(gesture_model, capfd, clip, cloud, tmp_path):
    code, out, _ = run(capfd, "predict", gesture_model, clip, "--topk", 2)
    assert code == 0 and out.count("%") == 2
    assert out.startswith(f"{clip}, by tsm_mobilenetv2_online.untrained\n"), "which weights a bare name takes is seen"
    code, out, err = run(capfd, "predict", SCENE, cloud, "--json", "--save", tmp_path / "segmented.ply")
    answer = json.loads(out)
    assert code == 0 and not err and (tmp_path / "segmented.ply").is_file()
    assert set(answer) == {"model", "input", "top", "timings_ms", "warnings"}
    assert {entry["label"] for entry in answer["top"]} == {"background", "object"}


def test_a_bad_file_does_not_stop_the_others(gesture_model, capfd, clip, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    code, out, err = run(capfd, "predict", gesture_model, tmp_path / "bad.mp4", clip, tmp_path / "none.mp4", "--json")
    assert code == 1 and json.loads(out)["input"] == str(clip)
    first, second = err.splitlines()
    assert first.startswith("error: ") and "bad.mp4" in first and "none.mp4" in second
    code, out, _ = run(capfd, "predict", gesture_model, tmp_path / "bad.mp4", tmp_path / "none.mp4")
    assert code == 2 and not out


def test_unusual_input_is_one_warning(gesture_model, capfd, tmp_path):
    write_video(tmp_path / "short.mp4", np.zeros((3, 64, 64, 3), np.uint8), fps=8)
    with pytest.warns(UserWarning) as caught:
        code, _, _ = run(capfd, "predict", gesture_model, tmp_path / "short.mp4")
    assert code == 0 and len(caught) == 1 and "short.mp4" in str(caught[0].message)


def test_bad_names_commands_and_options(gesture_model, capfd, clip):
    refused(capfd, "predict", "tsm_resnet5", clip, names="tsm_resnet50")
    refused(capfd, "predict", "tsm_resnet18", clip, names="no pretrained weights")
    for path in ("../try/gesture.pth", "./gesture", "gestures/gesture.bin"):
        refused(capfd, "predict", path, clip, names=f"'{path}', which is a path")
    refused(capfd, "bench", "../try/gesture.onnx", names="which is a path")
    refused(capfd, "frobnicate", names="frobnicate")
    refused(capfd, "list", "--pretraind", names="--pretraind")
    refused(capfd, "predict", gesture_model, clip, "--topk", 0, names="--topk")
    refused(capfd, "predict", gesture_model, clip, "--device", "quantum", names="quantum")


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 9, os.urandom(5000)])
def test_bad_files(gesture_model, capfd, tmp_path, content):
    for model, name in [(gesture_model, "bad.mp4"), (SCENE, "bad.ply"), (SCENE, "bad.pcd"), (SCENE, "bad.bin")]:
        path = tmp_path / name
        path.write_bytes(content)
        if name == "bad.bin" and content.startswith(b"just"):
            continue  # any bytes are floats
        refused(capfd, "predict", model, path, names=path)


def test_missing_and_mistaken_files(gesture_model, capfd, clip, cloud, tmp_path):
    refused(capfd, "predict", gesture_model, tmp_path / "nothing.mp4", names="nothing.mp4")
    refused(capfd, "predict", SCENE, tmp_path / "nothing.ply", names="nothing.ply")
    refused(capfd, "predict", gesture_model, cloud, names="scan.ply")
    refused(capfd, "predict", SCENE, clip, names="clip.mp4")
    refused(capfd, "predict", SCENE, tmp_path, names=tmp_path)


def test_convert(capfd, tmp_path):
    path = fixtures.write_checkpoint(fixtures.load("s3dis_pvcnn_c1"), tmp_path)
    for option in ([], ["--model", "pvcnn_sem_c1"]):
        code, out, _ = run(capfd, "convert", path, tmp_path / "out.safetensors", *option)
        assert code == 0 and "121 of 121 tensors matched" in out and "pvcnn_sem_c1" in out
    refused(capfd, "convert", path, tmp_path / "no" / "folder.safetensors", names="folder.safetensors")
    refused(capfd, "convert", path, tmp_path / "o.safetensors", "--model", "pvcnn_sem_c0p25", names="another network")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pth")
    refused(capfd, "convert", tmp_path / "other.pth", tmp_path / "o.safetensors", names="other.pth")


def test_real_corrupted_and_truncated_files(gesture_model, capfd, test_data, tmp_path):
    clips = test_data / "video/clips"
    refused(capfd, "predict", gesture_model, clips / "decord/corrupted.mp4", names="corrupted.mp4")
    cut_off = test_data / "weights/tsm_jester_truncated/mobilenetv2_jester_online.pth.tar"
    refused(capfd, "convert", cut_off, tmp_path / "o.safetensors", names="mobilenetv2_jester_online.pth.tar")


def test_wrong_options_are_one_sentence(capfd, clips, scenes, clip, cloud, tmp_path):
    refused(capfd, "predict", clips, clip, "--category", "Chair", names="leave it out")
    refused(capfd, "predict", clips, clip, "--topk", "abc", names="give a whole number of at least 1, not 'abc'")
    refused(capfd, "predict", clips, clip, "--device", "meta", names="meta")
    refused(capfd, "predict", scenes, cloud, "--device", "", names="device")
    parts = zoo.save_pretrained(zoo.create_model("pvcnn_part_c0p25"), tmp_path / "parts")
    refused(capfd, "predict", f"local-dir:{parts}", cloud, "--category", "²", names="²")
    assert run(capfd, "predict", f"local-dir:{parts}", cloud, "--category", "4")[0] == 0
    flow = zoo.save_pretrained(zoo.create_model("tsm_mobilenetv2", modality="flow"), tmp_path / "flow")
    refused(capfd, "predict", f"local-dir:{flow}", clip, names="flow")


def test_where_to_save_is_checked_before_any_work(capfd, clips, scenes, clip, cloud, tmp_path):
    refused(capfd, "predict", clips, clip, "--save", tmp_path / "out.avi", names=".mp4")
    refused(capfd, "predict", scenes, cloud, "--save", tmp_path / "out.obj", names=".ply")
    refused(capfd, "predict", scenes, cloud, "--save", tmp_path / "none" / "out.ply", names="make the folder")


def test_a_missing_package_is_one_sentence(capfd, clips, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    refused(capfd, "predict", clips, clip, names="av")


def test_convert_keeps_the_direction_of_the_shifts(capfd, tmp_path):
    clip = fixtures.write_checkpoint(fixtures.load("tsm_mobilenetv2_8f_kinetics400"), tmp_path, "clip.pth")
    run(capfd, "convert", clip, tmp_path / "clip.safetensors")
    options = ("--model", "tsm_mobilenetv2_online")
    refused(
        capfd, "convert", tmp_path / "clip.safetensors", tmp_path / "o.safetensors", *options, names="bidirectional"
    )


def test_convert_spares_its_source_and_other_files(capfd, tmp_path):
    path = fixtures.write_checkpoint(fixtures.load("shapenet_pvcnn_c0p25"), tmp_path)
    content = path.read_bytes()
    refused(capfd, "convert", path, path, names="safetensors")
    same = tmp_path / "same.safetensors"
    same.hardlink_to(path)
    refused(capfd, "convert", path, same, names="another path")
    assert path.read_bytes() == content and sorted(tmp_path.iterdir()) == [path, same]


def test_no_test_reaches_the_network():
    for family, address in ((socket.AF_INET, ("192.0.2.1", 9)), (socket.AF_INET6, ("2001:db8::1", 9, 0, 0))):
        with socket.socket(family, socket.SOCK_DGRAM) as outside:
            for send in (outside.connect, outside.connect_ex, lambda to, by=outside: by.sendto(b"", to)):
                with pytest.raises(RuntimeError, match="loopback only"):
                    send(address)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        assert client.connect_ex(server.getsockname()) == 0


def test_ctrl_c_is_one_word(capfd):
    def asked_to_stop():
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where a shell started us with &
    try:
        assert exit_code(asked_to_stop) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capfd.readouterr().err == "interrupted\n"
