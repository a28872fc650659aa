"""Records last: JSON comes back as it was, CSV has fixed columns, and nothing tells whose machine it was."""

import csv
import getpass
import json
import platform
from dataclasses import fields

import pytest

from tests.bench.bench_records import record, report
from zoo.bench.machine import machine
from zoo.bench.presets import PAPER
from zoo.bench.record import SCHEMA, Record, read_report
from zoo.errors import InputError

FIELDS = (
    "model task requested runtime requested_precision precision device batch input unit frames points threads mode "
    "streams cuda_graph setting count warmup mean_ms p50_ms p90_ms p95_ms p99_ms spread_ms noise others noisy "
    "throughput parameters macs memory_mb prepare_memory_mb base_memory_mb load_seconds prepare_seconds first_ms "
    "decode_ms preprocess_ms transfer_ms model_ms postprocess_ms yardstick_ms"
)


def test_fields_are_those_of_the_version():
    assert SCHEMA == 1
    assert " ".join(field.name for field in fields(Record)) == FIELDS, "count zoo.bench.record.SCHEMA up"


def test_json_comes_back_as_it_was(tmp_path):
    written = report(record(), record(batch=8, decode_ms=None, noisy=True, noise=0.2))
    written.failures.append("tsm, openvino: out of memory at batch 64")
    written.write(tmp_path / "new" / "latency_cpu")
    assert read_report(tmp_path / "new" / "latency_cpu.json") == written


def test_csv_has_the_same_figures(tmp_path):
    report(record(), record(batch=8)).write(tmp_path / "latency_cpu")
    with open(tmp_path / "latency_cpu.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["batch"] for row in rows] == ["1", "8"]
    report(record(), commit="0123abc").write(tmp_path / "other")
    headers = [(tmp_path / name).read_text().splitlines()[0].split(",") for name in ("latency_cpu.csv", "other.csv")]
    assert headers[0] == headers[1] and len(set(headers[0])) == len(headers[0]), "whatever a machine tells of itself"
    assert rows[0]["p50_ms"] == "10.0" and rows[0]["processor"] == "Fast CPU" and rows[0]["schema"] == str(SCHEMA)


def test_markdown_marks_what_is_noisy(tmp_path):
    text = report(record(), record(noisy=True, noise=0.2)).markdown()
    assert text.count("(noisy)") == 1 and "| pvcnn_sem_c0p25 | eager (fp32) | 1 | 9 x 4096 | 2 | 10 |" in text


def test_papers_figures_stand_beside_ours_with_their_hardware():
    online = next(setting for setting in PAPER if setting.name.startswith("online"))
    silent = next(setting for setting in PAPER if not setting.figures)
    lines = report(record(setting=online.name), record(setting=silent.name)).markdown().splitlines()
    assert any("13 ms | NVIDIA Jetson Nano |" in line for line in lines)
    assert any(line.startswith(f"| {silent.name}") and line.endswith("|  |  |  |") for line in lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "cannot be read as JSON"),
        ('{"schema": 99}', "holds no benchmark of version 1"),
        ("[]", "holds no benchmark of version 1"),
        ('{"schema": 1, "machine": {}, "failures": [], "records": [{"model": "x"}]}', "is damaged"),
        ('{"schema": 1, "machine": [], "failures": [], "records": []}', "is damaged"),
    ],
)
def test_other_files_are_refused_in_a_sentence(tmp_path, content, words):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(InputError, match=words):
        read_report(tmp_path / "old.json")


def test_a_number_that_is_none_is_refused(tmp_path):
    report(record()).write(tmp_path / "old")
    content = json.loads((tmp_path / "old.json").read_text())
    content["records"][0]["p50_ms"] = "fast"
    (tmp_path / "old.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="p50_ms cannot be 'fast'"):
        read_report(tmp_path / "old.json")


def test_the_machine_is_described_and_nobody_named():
    about = machine()
    assert {"processor", "cores", "threads", "torch", "python", "operators"} <= set(about)
    said = " ".join(about.values())
    assert platform.node() not in said and getpass.getuser() not in said.split() and "/" not in said
