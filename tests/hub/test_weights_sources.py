"""Weights of a tag come from the first source that answers, are converted once, and need no network from then on."""

import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from tests.convert.files import Call, dumps, zip_file
from tests.parity import fixtures
from zoo import hub as zoo_hub
from zoo.cli import main
from zoo.data import transfer
from zoo.errors import InputError, SourceError, ZooError
from zoo.hub import sources
from zoo.hub.sources import HubFile, UrlFile
from zoo.registry import find_weights

PARTS = "pvcnn_part_c0p25.shapenet"
SCENES = "pvcnn_sem_c0p25.s3dis_area5"
THEIR_CLASSES = (
    *("ceiling", "floor", "wall", "beam", "column", "window", "door"),
    *("chair", "table", "bookcase", "sofa", "board", "clutter"),
)
SCENES_REPOSITORY = "torch-pointcloud/pvcnn-c0p25.s3dis-area5.mit-han-lab"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0)


@pytest.fixture(scope="session")
def parts_file(tmp_path_factory) -> Path:
    """A file as the authors of PVCNN publish them, pickled."""
    return fixtures.write_checkpoint(fixtures.load("shapenet_pvcnn_c0p25"), tmp_path_factory.mktemp("authors"))


@pytest.fixture
def served(hub, monkeypatch, parts_file):
    """The server, from which the weights of `PARTS` come."""
    hub.url = hub.add_file("parts.pth.tar", parts_file.read_bytes())
    monkeypatch.setitem(sources._sources, PARTS, (UrlFile(hub.url),))
    return hub


def cached(name=PARTS):
    return Path(os.environ["ZOO_CACHE"]) / "weights" / name


def load(name=PARTS):
    return zoo.create_model(name, pretrained=True).eval()


def same(model, other):
    state = other.state_dict()
    assert set(state) == set(model.state_dict())
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def shifted(path, target):
    """A file like the one at ``path`` with other values."""
    torch.save({"model": {name: tensor + 1 for name, tensor in torch.load(path)["model"].items()}}, target)
    return target


def closed_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_the_authors_file_is_downloaded_and_converted_once(served, parts_file):
    first = load()
    assert served.downloads("parts") == [""] and first.spec.name == PARTS and first.spec.metrics
    assert served.url in first.load_report.found_at and "recorded at the first download" in first.load_report.found_at
    served.stop()
    again = load()
    assert same(first, again) and again.load_report.found_at == first.load_report.found_at
    points, shapes = torch.rand(1, 6, 300), torch.tensor([3])
    by_hand = zoo.create_model("pvcnn_part_c0p25", checkpoint=parts_file).eval()
    assert torch.equal(again(points, shapes), by_hand(points, shapes))
    assert not list(cached().glob("*.part*"))
    assert again.spec.sha256 == json.loads((cached() / "record.json").read_text())["sha256"]


def test_another_head_goes_on_top_of_remote_weights(served):
    model = zoo.create_model(PARTS, pretrained=True, num_classes=7)
    assert model.num_classes == 7 and model.load_report.skipped and not model.spec.class_names
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


def test_a_pinned_repository_of_another_project_is_converted(hub, tmp_path):
    fixture = fixtures.load("layouts/torch_pointcloud_pvcnn_c0p25_s3dis")
    path = fixtures.write_checkpoint(fixture, tmp_path, "theirs.safetensors")
    hub.publish(SCENES_REPOSITORY, {"model.safetensors": path.read_bytes(), "config.json": b"{}"})
    with pytest.raises(SourceError, match="no such revision"):
        load(SCENES)
    commits = hub.repositories[SCENES_REPOSITORY].commits
    commits[0] = (sources._sources[SCENES][0].revision, commits[0][1])
    model = load(SCENES)
    assert model.load_report.found_at.startswith(f"hf-hub:{SCENES_REPOSITORY}@324aeb44")
    assert "published" in model.load_report.found_at
    theirs = zoo.create_model("pvcnn_sem_c0p25", checkpoint=path).eval()
    points = torch.rand(1, 9, 400)
    ours, given = model(points), theirs(points)
    for row, name in enumerate(model.spec.class_names):  # they have the classes in another order
        assert torch.allclose(ours[:, row], given[:, THEIR_CLASSES.index(name)], atol=1e-5)
    main(["convert", str(path), str(tmp_path / "converted.safetensors")])
    for file in (path, tmp_path / "converted.safetensors"):  # by hand, by the name of the tag
        by_hand = zoo.create_model(SCENES, checkpoint=file).eval()
        assert by_hand.spec.class_names == model.spec.class_names and by_hand.spec.input == model.spec.input
        assert torch.equal(by_hand(points), ours)
    other = zoo.create_model(SCENES, checkpoint=path, num_classes=5)
    assert other.num_classes == 5 and not other.spec.class_names


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
def test_the_next_source_is_taken_where_one_does_not_answer(served, monkeypatch, caplog, status):
    first = served.add_file("first.pth.tar", b"")
    monkeypatch.setitem(sources._sources, PARTS, (UrlFile(first), UrlFile(closed_address(), (served.url,))))
    served.fail("first", status)
    with caplog.at_level(logging.WARNING):
        model = load()
    assert model.load_report.found_at.startswith(served.url)
    assert f"HTTP {status}" in caplog.text and "was taken instead" in caplog.text
    assert len(served.downloads("first")) == (3 if status in (429, 500, 503) else 1)


def test_a_host_that_wishes_a_long_pause_is_left_for_the_next(served, monkeypatch, caplog):
    """The pause is not waited for, and the message tells of it."""
    first = served.add_file("first.pth.tar", b"")
    monkeypatch.setitem(sources._sources, PARTS, (HubFile("me/parts"), UrlFile(first), UrlFile(served.url)))
    served.publish("me/parts", {"model.safetensors": b"x"})
    for part in ("first", "me/parts"):
        served.fail(part, 503, headers={"Retry-After": "86400"})
    with caplog.at_level(logging.WARNING):
        assert load().load_report.found_at.startswith(served.url)
    assert caplog.text.count("to be asked again in 86400 s") == 2 and len(served.downloads("first")) == 1


def test_where_no_source_answers_all_are_listed(served, monkeypatch):
    nobody = closed_address()
    served.fail("parts", 404)
    monkeypatch.setitem(sources._sources, PARTS, (UrlFile(served.url, (f"{nobody}/parts",)),))
    with pytest.raises(SourceError) as caught:
        load()
    text = str(caught.value)
    assert "2 places were tried" in text and f"{served.url} is not there" in text and "HTTP 404" in text
    assert f"{nobody}/parts cannot be fetched" in text and "refused" in text and "checkpoint=PATH" in text
    assert f"zoo.create_model('{PARTS}'" in text and "\n" not in text


def test_a_host_that_asks_to_wait_is_asked_again(served):
    served.fail("parts", 429, times=1, headers={"Retry-After": "0"})
    assert load().load_report.found_at.startswith(served.url) and served.downloads("parts") == ["", ""]


def test_a_file_that_changed_since_the_first_download_is_refused(served, parts_file, tmp_path):
    load()
    (cached() / "model.safetensors").unlink()
    served.add_file("parts.pth.tar", shifted(parts_file, tmp_path / "other.pth").read_bytes())
    with pytest.raises(SourceError, match=r"not the file that was downloaded first.*delete"):
        load()
    served.add_file("parts.pth.tar", parts_file.read_bytes())
    load()


def test_a_published_hash_has_to_be_right(served, monkeypatch):
    monkeypatch.setitem(sources._sources, PARTS, (UrlFile(served.url, sha256="0" * 64),))
    with pytest.raises(SourceError, match=f"the published one is {'0' * 64}"):
        load()
    assert not (cached() / "record.json").exists()


@pytest.mark.parametrize("damage", ["changed", "cut off", "gone", "without a record"])
def test_a_damaged_cache_is_filled_again(served, damage):
    model, path = load(), cached() / "model.safetensors"
    if damage == "changed":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()
        path.write_bytes(data)
    elif damage == "cut off":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "gone":
        path.unlink()
    else:
        (cached() / "record.json").write_text('{"name": ')
    del model
    load()
    assert served.downloads("parts") == ["", ""]


def test_a_copied_cache_is_hashed_and_taken(served):
    load()
    os.utime(cached() / "model.safetensors", (1, 1))
    served.stop()
    load()
    assert json.loads((cached() / "record.json").read_text())["mtime_ns"] == 10**9


def test_what_is_cut_off_is_continued(served, parts_file):
    served.fail("parts", after=100_000, times=2)
    load()
    assert served.downloads("parts") == ["", "bytes=100000-", "bytes=200000-"]


def test_what_never_comes_whole_leaves_nothing_that_looks_whole(served):
    served.fail("parts", after=1000)
    served.ignores_ranges = True
    with pytest.raises(SourceError, match=r"1000 of \d+ bytes came"):
        load()
    assert {path.suffix for path in cached().iterdir() if path.suffix} <= {".part", ".etag"}
    served.faults.clear()
    load()


def limited(handler, limit):
    """Load in a process that may write no file longer than ``limit``: the kernel ends it, or refuses to write."""
    signal.signal(signal.SIGXFSZ, handler)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        load()
    except InputError as error:
        sys.exit(0 if "has no room" in str(error) and "ZOO_CACHE" in str(error) else 3)


def in_process(handler, limit):
    process = multiprocessing.get_context("fork").Process(target=limited, args=(handler, limit))
    process.start()
    process.join()
    return process.exitcode


def test_a_killed_download_is_continued(served):
    assert in_process(signal.SIG_DFL, 500_000) == -signal.SIGXFSZ
    (part,) = cached().glob("*.part")
    assert part.stat().st_size == 500_000
    load()
    assert served.downloads("parts") == ["", "bytes=500000-"] and not part.exists()


def test_a_part_of_another_version_is_not_continued(served, parts_file, tmp_path):
    in_process(signal.SIG_DFL, 500_000)
    other = shifted(parts_file, tmp_path / "other.pth")
    served.add_file("parts.pth.tar", other.read_bytes())
    assert same(load(), zoo.create_model("pvcnn_part_c0p25", checkpoint=other))
    assert served.downloads("parts") == ["", "bytes=500000-"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(served):
    assert in_process(signal.SIG_IGN, 500_000) == 0
    assert not list(cached().glob("*.part*")) and not (cached() / "record.json").exists()
    load()


SCRIPT = """
import zoo, zoo.hub.sources as sources
sources._sources[{name!r}] = (sources.UrlFile({url!r}),)
print("ready", flush=True)
model = zoo.create_model({name!r}, pretrained=True)
print(model.spec.sha256)
"""


@pytest.mark.slow  # where the machine has other work
def test_two_processes_at_once_download_once(served):
    script = SCRIPT.format(name=PARTS, url=served.url)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        model = load()
        assert other.stdout.readline().strip() == model.spec.sha256
    assert other.returncode == 0 and served.downloads("parts") == [""]


def test_a_malicious_file_is_refused_and_not_executed(served, tmp_path):
    mark = tmp_path / "executed"
    path = zip_file(tmp_path / "evil.pth", dumps({"model": Call(os.system, f"touch {mark}")}))
    served.add_file("parts.pth.tar", path.read_bytes())
    with pytest.raises(SourceError, match="malicious") as caught:
        load()
    assert not mark.exists() and served.url in str(caught.value) and str(cached()) not in str(caught.value)
    assert [path.name for path in cached().iterdir() if not path.name.startswith(".")] == []


def test_a_real_file_that_was_cut_off_is_told(hub, monkeypatch, test_data):
    path = test_data / "weights/tsm_jester_truncated/mobilenetv2_jester_online.pth.tar"
    url = hub.add_file("jester.pth.tar", path.read_bytes())
    monkeypatch.setitem(sources._sources, "tsm_mobilenetv2_online.jester", (UrlFile(url),))
    with pytest.raises(SourceError, match=r"jester\.pth\.tar is cut off: it ends after 1048576 bytes"):
        load("tsm_mobilenetv2_online.jester")


def test_a_web_page_in_the_place_of_the_file_is_told(served):
    served.add_file("parts.pth.tar", b"<!DOCTYPE html><html>We moved</html>")
    with pytest.raises(SourceError, match="is a web page"):
        load()


def test_a_file_of_another_network_is_refused(served, tmp_path):
    torch.save(zoo.create_model("pvcnn_part_c0p5").state_dict(), tmp_path / "other.pth")
    served.add_file("parts.pth.tar", (tmp_path / "other.pth").read_bytes())
    with pytest.raises(SourceError, match="of another network"):
        load()


def test_offline_means_offline(served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        load()
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set and the file is not in the Hub's cache"):
        load(SCENES)
    assert not served.requests
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    load()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    load()


def test_the_projects_own_copies_come_first_where_an_organisation_is_named(served, monkeypatch, tmp_path):
    load()
    name = f"mine/{PARTS}"
    served.publish(name, {"model.safetensors": (cached() / "model.safetensors").read_bytes()})
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "other"))
    assert load().load_report.found_at.startswith(served.url)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "another"))
    monkeypatch.setenv("ZOO_HUB_ORG", "mine")
    assert load().load_report.found_at.startswith(f"hf-hub:{name}@main")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "third"))
    monkeypatch.setenv("ZOO_HUB_ORG", "nobody")
    assert load().load_report.found_at.startswith(served.url)
    monkeypatch.setenv("ZOO_HUB_ORG", "../x")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "fourth"))
    with pytest.raises(ZooError, match="ZOO_HUB_ORG"):
        load()


def test_a_cache_that_cannot_be_written_is_told(served, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="name another folder in ZOO_CACHE"):
        load()


@pytest.mark.parametrize("name", [name for name in zoo.list_models(pretrained=True) if "jester" not in name])
def test_every_tag_says_where_it_comes_from_and_who_reports_its_figures(name):
    spec = find_weights(name)
    assert sources._sources[name] and spec.metrics and spec.licence and spec.origin
    assert len(spec.class_names) == spec.num_classes
    assert all(metric.source and metric.protocol and 0 < metric.value < 1 for metric in spec.metrics)
    model = zoo_hub.sketch(spec.architecture, num_classes=spec.num_classes, **spec.model_args)
    channels = len(spec.input.mean) if hasattr(spec.input, "num_frames") else None
    assert model.in_channels == (channels or zoo.create.channels_of(spec.input.features))


def test_bare_names_take_what_is_bundled_first():
    assert find_weights("pvcnn_sem_c0p25").tag == "mosd" and find_weights("tsm_resnet50").tag == "k400_8f"
    assert find_weights("tsm_mobilenetv2_online").tag == "fingertip"


def test_the_online_gestures_load_from_the_authors_file(hub, monkeypatch, tmp_path):
    path = fixtures.write_checkpoint(fixtures.load("tsm_mobilenetv2_online_jester"), tmp_path)
    url = hub.add_file("jester.pth.tar", path.read_bytes())
    monkeypatch.setitem(sources._sources, "tsm_mobilenetv2_online.jester", (UrlFile(url),))
    predictor = zoo.load("tsm_mobilenetv2_online.jester", device="cpu")
    assert predictor.class_names[:3] == ("Doing other things", "Drumming Fingers", "No gesture")
    assert predictor.model.direction == "online"
    frames = torch.randint(0, 255, (8, 64, 64, 3), dtype=torch.uint8)
    assert len(predictor(frames.numpy()).top(5)) == 5


INSTALLED = """
import zoo
for name in ("pvcnn_sem_c0p25.mosd", "tsm_mobilenetv2_online.fingertip"):
    try:
        zoo.load(name)
    except zoo.errors.ZooError as error:
        print(type(error).__name__, error)
"""


def test_damaged_and_missing_bundled_files_are_told(tmp_path):
    package = Path(zoo.__file__).parent
    shutil.copytree(package, tmp_path / "zoo", ignore=shutil.ignore_patterns("__pycache__", "csrc", "*.so"))
    shutil.copytree(zoo_hub.checkpoints_folder(), tmp_path / "zoo/_checkpoints")
    path = tmp_path / "zoo/_checkpoints/pvcnn_sem_c0p25.mosd.safetensors"
    path.write_bytes(bytes([*path.read_bytes()[:-1], 1]))
    (path.parent / "tsm_mobilenetv2_online.fingertip.safetensors").unlink()
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "ZOO_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", INSTALLED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    damaged, missing = done.stdout.splitlines()
    assert damaged.startswith("CheckpointError") and str(path) in damaged and "sha256 differs" in damaged
    assert missing.startswith("SourceError") and "is missing; restore the file" in missing
