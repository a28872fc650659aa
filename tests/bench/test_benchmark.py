"""``zoo bench`` from the outside: it measures, keeps what it has, and says what got slower."""

import json

import pytest

from tests.bench.bench_records import record, report
from zoo.bench.compare import compare
from zoo.bench.record import read_report
from zoo.cli import main

QUICK = ["--seconds", "0.5", "--threads", "1"]


@pytest.mark.slow
def test_two_runs_agree_or_say_that_they_are_noisy(gesture_model, tmp_path, capsys):
    command = ["bench", gesture_model, "--runtime", "plain", "--seconds", "5", "--threads", "1"]
    for folder in ("first", "second"):
        assert main([*command, "--out", str(tmp_path / folder)]) == 0
    old, new = (read_report(tmp_path / folder / "latency_cpu.json") for folder in ("first", "second"))
    (change,) = compare(old, new)
    assert abs(change.ratio - 1) < 0.05 or change.old.noisy or change.new.noisy
    assert not change.is_slower and not change.is_faster
    assert change.old.unit == "step" and change.old.count > 20
    assert "| plain (fp32) | 1 | 3 x 64 x 64 |" in capsys.readouterr().out


@pytest.mark.slow
def test_out_of_memory_is_reported_and_the_rest_kept(gesture_model, tmp_path, capsys):
    command = ["bench", gesture_model, "--runtime", "plain", *QUICK, "--batch", "100000000", "1", "--end-to-end"]
    assert main([*command, "--out", str(tmp_path)]) == 1
    content = read_report(tmp_path / "latency_cpu.json")
    assert [record.batch for record in content.records] == [1]
    assert len(content.failures) == 1 and "out of memory at batch 100000000" in content.failures[0]
    assert content.failures[0] in capsys.readouterr().out
    (record,) = content.records
    assert record.memory_mb > record.base_memory_mb > 100 and record.load_seconds > 0
    stages = (record.decode_ms, record.preprocess_ms, record.transfer_ms, record.model_ms, record.postprocess_ms)
    assert all(ms >= 0 for ms in stages) and record.decode_ms > 0 and record.model_ms > 0


@pytest.mark.slow
def test_compare_alone_measures_again_and_exits_with_1_where_something_is_slower(gesture_model, tmp_path, capsys):
    command = ["bench", gesture_model, "--runtime", "plain", *QUICK, "--out", str(tmp_path)]
    assert main(command) == 0
    file = tmp_path / "latency_cpu.json"
    content = json.loads(file.read_text())
    for entry in content["records"]:  # as if it had been ten times as fast then
        entry["p50_ms"] /= 10
        entry["noise"] = 0.01
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert main(["bench", "--compare", str(tmp_path / "old.json"), "--seconds", "0.5"]) == 1
    assert "SLOWER: local-dir:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name models"),
        (["tsm_resnet5"], "nearest names"),
        (["tsm_resnet50", "--runtime", "tensorflow"], "there is no runtime 'tensorflow'"),
        (["tsm_resnet50", "--device", "tpu"], "the device 'tpu' cannot be measured"),
        (["tsm_resnet50", "--device", "cpu:0"], "the device 'cpu:0' cannot be measured"),
        (["tsm_resnet50", "--out", __file__], f"{__file__}: cannot be written to"),
        (["tsm_resnet50", "--plots", f"{__file__}/plots"], "cannot be written to"),
        (["tsm_mobilenetv2_online", "--frames", "8"], "--frames is of clips, and none of these models takes them"),
        (["tsm_resnet50", "--cuda-graph"], "CUDA graphs are for GPUs"),
        (["--preset", "paper", "--batch", "8"], "a preset has its own sizes: leave out --batch"),
        (["pvcnn_sem_c0p25", "--points", "1000000000000"], "nothing was measured"),
        (["tsm_resnet50", "--compare", "nowhere.json"], "nowhere.json is not there"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments, words, capsys):
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and len(error.splitlines()) == 1


def test_figures_of_another_machine_are_refused_before_anything_is_measured(tmp_path, capsys):
    report(record(), processor="no such processor").write(tmp_path / "old")
    assert main(["bench", "--compare", str(tmp_path / "old.json")]) == 2
    printed = capsys.readouterr()
    assert "the older figures are of another machine" in printed.err and not printed.out


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "soon"])
def test_no_time_is_refused(seconds, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "pvcnn_sem_c0p25", f"--seconds={seconds}"])
    assert stopped.value.code == 2 and "give a number above 0" in capsys.readouterr().err


def test_no_gpu_is_said(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "tsm_resnet50", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "error: there is no GPU: leave out --device cuda\n"
