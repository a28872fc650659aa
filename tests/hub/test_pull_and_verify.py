"""``zoo pull`` brings weights here and on to another machine; ``zoo verify`` says whether they are what they were."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

import zoo
from tests.parity import fixtures
from zoo.cli import main
from zoo.hub import bundled_names, checkpoints_folder, sources
from zoo.hub.sources import UrlFile

PARTS = "pvcnn_part_c0p25.shapenet"
REPOSITORY = "hf-hub:me/scenes"


@pytest.fixture
def served(hub, monkeypatch, tmp_path):
    """The server, from which the weights of `PARTS` and the repository `REPOSITORY` come."""
    path = fixtures.write_checkpoint(fixtures.load("shapenet_pvcnn_c0p25"), tmp_path)
    monkeypatch.setitem(sources._sources, PARTS, (UrlFile(hub.add_file("parts.pth.tar", path.read_bytes())),))
    folder = zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125", in_channels=6), tmp_path / "scenes")
    files = [path for path in folder.rglob("*") if path.is_file()]
    hub.publish("me/scenes", {str(path.relative_to(folder)): path.read_bytes() for path in files})
    return hub


def run(capfd, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def flip(path):
    """Change a byte, and neither size nor time."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    data = path.read_bytes()
    with open(path, "r+b") as file:
        file.seek(len(data) - 1)
        file.write(bytes([data[-1] ^ 1]))
    os.utime(path, ns=times)


def flip_exponent(path):
    """Make the last number of a file another by far."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size - 1)
        file.write(b"\x50")


def weights_of(name):
    return Path(os.environ["ZOO_CACHE"]) / "weights" / name / "model.safetensors"


def test_what_is_pulled_loads_on_a_machine_without_a_network(served, capfd, tmp_path, monkeypatch):
    code, out, _ = run(capfd, "pull", PARTS, REPOSITORY, "--to", tmp_path / "weights")
    assert code == 0 and "recorded at the first download" in out and f"local-dir:{tmp_path}/weights/{PARTS}" in out
    here = zoo.create_model(PARTS, pretrained=True).eval()
    scenes = zoo.create_model(REPOSITORY, pretrained=True).eval()
    served.stop()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "elsewhere"))
    shutil.move(tmp_path / "weights", tmp_path / "carried")
    there = zoo.create_model(f"local-dir:{tmp_path}/carried/{PARTS}", pretrained=True).eval()
    points, shapes = torch.rand(1, 6, 200), torch.tensor([2])
    assert torch.equal(here(points, shapes), there(points, shapes))
    assert (there.spec.name, there.spec.metrics, there.spec.class_names) == (
        PARTS,
        here.spec.metrics,
        here.spec.class_names,
    )
    again = zoo.create_model(f"local-dir:{tmp_path}/carried/me--scenes", pretrained=True).eval()
    assert torch.equal(scenes(points), again(points))


def test_pulling_again_downloads_nothing(served, capfd):
    for _ in range(2):
        assert run(capfd, "pull", PARTS)[0] == 0
    assert served.downloads("parts") == [""]


def test_a_name_that_cannot_be_had_is_one_sentence(served, capfd):
    served.fail("parts", 404)
    code, out, err = run(capfd, "pull", PARTS)
    assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1 and "checkpoint=PATH" in err


def test_everything_on_this_machine_is_verified(served, capfd):
    run(capfd, "pull", PARTS, REPOSITORY)
    code, out, err = run(capfd, "verify", "--all")
    lines = out.splitlines()
    assert code == 0 and not err and len(lines) == len(bundled_names()) + 2
    for name in (*bundled_names(), PARTS, REPOSITORY):
        (line,) = [line for line in lines if line.startswith(name)]
        assert "sha256" in line and "tensors" in line
    assert all(line.endswith(", golden outputs") for line in lines)
    served.stop()
    assert run(capfd, "verify", "--all")[:2] == (0, out)


def test_bundled_weights_that_compute_something_else_are_found(capfd, monkeypatch, tmp_path):
    name = "pvcnn_sem_c0p25.mosd"
    shutil.copytree(checkpoints_folder(), tmp_path / "checkpoints")
    for module in ("bundled", "resolve", "verify"):
        monkeypatch.setattr(sys.modules[f"zoo.hub.{module}"], "checkpoints_folder", lambda: tmp_path / "checkpoints")
    golden = tmp_path / f"checkpoints/golden/{name}.safetensors"
    assert run(capfd, "verify", name)[1].endswith(", golden outputs\n")
    flip_exponent(golden)
    code, _, err = run(capfd, "verify", name)
    assert code == 2 and "golden output" in err
    golden.unlink()
    assert "restore the file" in run(capfd, "verify", name)[2]


def test_what_was_not_compared_is_told(served, capfd):
    files = served.repositories["me/scenes"].at("main")[1]
    served.publish("me/bare", {name: data for name, data in files.items() if not name.startswith("test/")})
    assert run(capfd, "pull", "hf-hub:me/bare")[0] == 0
    code, out, _ = run(capfd, "verify", "hf-hub:me/bare")
    assert code == 0 and "golden outputs not compared" in out and "no such file" in out


def test_a_changed_byte_is_found_even_where_size_and_time_are_the_same(served, capfd):
    run(capfd, "pull", PARTS)
    flip(weights_of(PARTS))
    code, out, err = run(capfd, "verify", PARTS)
    assert code == 2 and not out and "not the file any more" in err and f"zoo pull {PARTS}" in err
    assert run(capfd, "verify", "--all")[0] == 1
    shutil.rmtree(weights_of(PARTS).parent)
    run(capfd, "pull", PARTS)
    assert run(capfd, "verify", "--all")[0] == 0


def test_another_result_is_found(served, capfd):
    run(capfd, "pull", PARTS)
    flip_exponent(weights_of(PARTS).parent / "test" / "output.safetensors")
    code, _, err = run(capfd, "verify", PARTS)
    assert code == 2 and "golden output" in err


def test_what_is_not_on_this_machine_is_told(served, capfd):
    code, _, err = run(capfd, "verify", PARTS)
    assert code == 2 and f"`zoo pull {PARTS}`" in err and not served.requests
    assert run(capfd, "verify")[0] == 2
    run(capfd, "pull", REPOSITORY)
    (path,) = Path(os.environ["HF_HOME"]).glob("hub/models--me--scenes/snapshots/*/model.safetensors")
    path.unlink()
    assert "is missing" in run(capfd, "verify", REPOSITORY)[2]


def test_info_tells_where_weights_come_from_and_whether_they_are_here(served, capfd):
    assert "not downloaded yet; to be had from http://127.0.0.1" in run(capfd, "info", PARTS)[1]
    assert not served.requests
    run(capfd, "pull", PARTS)
    out = run(capfd, "info", PARTS)[1]
    assert str(weights_of(PARTS)) in out and "recorded at the first download" in out and "0.849" in out
    assert "hf-hub:me/scenes@" in run(capfd, "info", REPOSITORY)[1]
    out = run(capfd, "info", "pvcnn_sem_c0p125.s3dis_area5")[1]
    assert "0.4925" in out and "torch-pointcloud" in out and "0.4875" in out  # the same figure by two who measured


def test_the_organisation_is_asked_first(served, capfd, monkeypatch):
    monkeypatch.setenv("ZOO_HUB_ORG", "")
    code, out, _ = run(capfd, "pull", PARTS, "--hub-org", "nobody")
    assert code == 0 and "/files/parts.pth.tar" in out
    assert any(f"/nobody/{PARTS}/resolve" in path for _, path, _ in served.requests)
