"""``zoo live``: what a user sees of it, on a terminal and in the file that it writes."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import zoo
from zoo.cli import main
from zoo.data.video import read_clip, stream_video
from zoo.data.video_writer import write_video

QUICK = ("--no-display", "--runtime", "eager")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8), fps=12)
    return path


def live(capfd, *arguments):
    try:
        code = main(["live", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def refused(capfd, *arguments, match):
    code, _, err = live(capfd, *arguments)
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and re.search(match, err), err


def test_a_file_is_followed_and_written(gesture_model, capfd, clip, tmp_path):
    out = tmp_path / "out.mp4"
    code, text, err = live(capfd, gesture_model, "--source", clip, *QUICK, "--out", out, "--rules", "plain", "--stats")
    assert code == 0 and not err
    assert re.search(r"in eager, fp32\n +0\.0 s +\d+%  (Stop|Clockwise|Counter Clockwise|Move)\n", text)
    assert re.search(r"\n12 frames in [\d.]+ s \([\d.]+ a second\); [\d.]+ ms of work a frame", text)
    for stage in ("decode", "prepare", "model", "draw", "write", "of the attainable speed"):
        assert stage in text
    assert read_clip(out, 1).num_video_frames == 12


def test_while_a_runtime_is_chosen_it_is_said(gesture_model, capfd, clip, monkeypatch):
    monkeypatch.setattr(sys.modules["zoo.export.optimize"], "AUTO", ("eager",))  # the others are no quicker to try
    code, text, err = live(capfd, gesture_model, "--source", clip, "--no-display")
    assert code == 0 and "in eager, fp32\n" in text
    assert err == "choosing the fastest runtime, which may take a minute ...\n"


def test_rules_are_taken_and_refused(gesture_model, capfd, clip):
    sure = ("--enter", 1, "--leave", 1, "--nothing", "nothing at all")
    assert "nothing at all" in live(capfd, gesture_model, "--source", clip, *QUICK, *sure)[1]
    refused(capfd, gesture_model, "--source", clip, *QUICK, "--rules", "demo", match="Rolling Hand")
    refused(capfd, gesture_model, "--source", clip, *QUICK, "--window", 0, match="at least 1")


def test_what_cannot_be_followed_is_one_sentence(gesture_model, capfd, clip, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    refused(capfd, gesture_model, "--source", tmp_path / "none.mp4", *QUICK, match=r"none\.mp4 is not there")
    refused(capfd, gesture_model, "--source", "tcp://127.0.0.1:1", *QUICK, match="cannot be opened .connection refused")
    refused(capfd, gesture_model, "--source", clip, "--no-display", "--runtime", "abacus", match="abacus")
    code, _, err = live(capfd, gesture_model, "--source", clip, "--threads", -3)
    assert code == 2 and "whole number of at least 1" in err
    refused(capfd, gesture_model, "--source", clip, *QUICK, "--out", tmp_path / "out.avi", match=r"\.mp4")
    refused(capfd, gesture_model, "--source", clip, match="--no-display")
    folder = zoo.save_pretrained(zoo.create_model("tsm_resnet18", num_classes=3), tmp_path / "clips")
    refused(capfd, f"local-dir:{folder}", "--source", clip, *QUICK, match="whole clips")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["camera", "file"])
def test_a_recording_is_complete_when_the_process_is_told_to_end(gesture_model, tmp_path, source):
    out = tmp_path / "out.mp4"
    address = "lavfi:testsrc=size=320x240:rate=20,realtime"
    if source == "file":
        address = tmp_path / "long.mp4"
        write_video(address, (np.full((240, 320, 3), each % 256, np.uint8) for each in range(1000)), fps=20)
    command = [sys.executable, "-u", "-m", "zoo.cli", "live", gesture_model, "--source", address, *QUICK, "--out", out]
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        first = [process.stdout.readline() for _ in range(2)]  # the second once a frame is written
        for number in (signal.SIGINT, signal.SIGTERM):  # some send one after the other
            process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 0 and "eager" in first[0] and "0.0 s" in first[1]
    assert "interrupted" in rest
    seen = int(re.search(r"(\d+) frames in", rest)[1])
    written = len(list(stream_video(out)))
    assert read_clip(out, 1).fps == 20 and (1000 > written >= seen if source == "file" else written) > 0
    assert {path.name for path in tmp_path.iterdir()} - {"long.mp4"} == {"out.mp4"}
