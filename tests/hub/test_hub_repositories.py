"""Models are loaded from repositories on the Hub, by branch or commit, and from this machine once they were."""

import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save

import zoo
from zoo.data import transfer
from zoo.errors import CheckpointError, InputError, SourceError, UnknownNameError
from zoo.hub import patience

NAME = "hf-hub:me/scenes"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder as ``save_pretrained`` writes it, and its files by name."""
    folder = tmp_path_factory.mktemp("scenes") / "model"
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6)
    model.spec = dataclasses.replace(model.spec, class_names=("a", "b", "c"), licence="MIT")
    zoo.save_pretrained(model, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def outputs(name):
    model = zoo.create_model(name, pretrained=True).eval()
    return model(torch.arange(6 * 50).reshape(1, 6, 50).sin())


def test_a_repository_is_loaded_by_branch_and_by_commit(hub, scenes, tmp_path):
    commit = hub.publish("me/scenes", scenes)
    model = zoo.create_model(NAME, pretrained=True)
    assert model.spec.class_names == ("a", "b", "c") and model.spec.name == "pvcnn_sem_c0p125"
    assert model.load_report.found_at.startswith(f"hf-hub:me/scenes@{commit}/model.safetensors")
    for name, data in scenes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    expected = outputs(f"local-dir:{tmp_path}")
    assert torch.equal(outputs(NAME), expected) and torch.equal(outputs(f"{NAME}@{commit}"), expected)
    assert len(hub.downloads("model.safetensors")) == 1
    assert zoo.create_model(NAME).load_report is None
    assert zoo.load(NAME, device="cpu").class_names == ("a", "b", "c")


def test_without_a_network_the_last_version_is_taken(hub, scenes, monkeypatch):
    hub.publish("me/scenes", scenes)
    expected = outputs(NAME)
    hub.fail("me/scenes", 500)
    assert torch.equal(outputs(NAME), expected)
    hub.stop()
    assert torch.equal(outputs(NAME), expected)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert torch.equal(outputs(NAME), expected)


def test_what_a_server_says_cannot_steer_a_terminal(hub, scenes):
    hub.publish("me/scenes", scenes)
    hub.fail("resolve", 400, headers={"X-Error-Message": "no\x1b[2J" + "x" * 20_000})
    with pytest.raises(SourceError) as caught:
        zoo.load(NAME)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 10_000


def test_a_branch_moves_and_a_commit_stays(hub, scenes, tmp_path):
    old = hub.publish("me/scenes", scenes)
    before = outputs(NAME)
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=5, in_channels=6)
    zoo.save_pretrained(model, tmp_path)
    hub.publish("me/scenes", {name: (tmp_path / name).read_bytes() for name in ("config.json", "model.safetensors")})
    assert outputs(NAME).shape[1] == 5 and torch.equal(outputs(f"{NAME}@{old}"), before)


@pytest.mark.parametrize("private", [True, False])
def test_private_and_gated_repositories_say_what_to_do(hub, scenes, monkeypatch, private):
    hub.publish("me/scenes", scenes, private=private, gated=not private)
    with pytest.raises(
        SourceError, match=r"hf auth login.*HF_TOKEN" if private else r"gated: accept its terms.*HF_TOKEN"
    ):
        zoo.load(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    zoo.load(NAME, device="cpu")


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "token"), (403, "token may not"), (429, "wait"), (500, "later"), (503, "later")]
)
def test_what_the_hub_answers_is_told(hub, scenes, status, advice):
    hub.publish("me/scenes", scenes)
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"} if status == 401 else {}
    hub.fail("resolve", status, headers=headers)
    with pytest.raises(SourceError, match=f"hf-hub:me/scenes@main/config.json: HTTP {status}.*{advice}") as caught:
        zoo.load(NAME)
    assert "\n" not in str(caught.value)


@pytest.fixture
def naps(monkeypatch):
    """The pauses in seconds between our requests to the Hub; its client may make none of its own."""
    naps = []
    monkeypatch.setattr(transfer, "PAUSE_S", 2)
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=naps.append))
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=lambda seconds: pytest.fail("the client waits")))
    return naps


@pytest.mark.parametrize(
    ("headers", "pauses", "words"),
    [
        ({}, [2, 4], "HTTP 429, too many"),
        ({"Retry-After": "7"}, [7, 7], "HTTP 429, to be asked again in 7 s, too many"),
        ({"Retry-After": "86400"}, [], "to be asked again in 86400 s"),
        ({"RateLimit": '"resolvers";r=0;t=290'}, [], "to be asked again in 290 s"),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, [2, 4], "HTTP 429"),
    ],
)
@pytest.mark.parametrize("methods", [("HEAD", "GET"), ("GET",)])
def test_a_busy_hub_is_waited_for_within_reason(hub, scenes, naps, headers, pauses, words, methods):
    hub.publish("me/scenes", scenes)
    hub.fail("/resolve/", 429, headers=headers, methods=methods)
    with pytest.raises(SourceError, match=words):
        zoo.load(NAME)
    assert naps == pauses
    hub.faults.clear()
    hub.fail("/resolve/", 503, times=1)
    zoo.load(NAME, device="cpu")
    assert naps == [*pauses, 2]


def test_a_hub_that_cannot_be_reached_is_told_at_once(hub, naps):
    hub.stop()
    with pytest.raises(SourceError, match=r"the Hub cannot be reached.*HF_ENDPOINT"):
        zoo.load(NAME)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:scenes", "hf-hub:", "hf-hub:a/b/c", "hf-hub:../b", "hf-hub:me/scenes@a b", "hf-hub:me/scenes@../../../x"],
)
def test_names_that_name_no_repository_are_refused(hub, name):
    with pytest.raises((UnknownNameError, SourceError), match="hf-hub:owner/name"):
        zoo.load(name)
    assert not hub.requests


def test_what_is_not_in_a_repository_is_told(hub, scenes):
    hub.publish("me/scenes", {"README.md": b""})
    with pytest.raises(SourceError, match="no such file"):
        zoo.load(NAME)
    with pytest.raises(SourceError, match="no such repository, or it is private"):
        zoo.load("hf-hub:me/nothing")
    with pytest.raises(SourceError, match="no such revision"):
        zoo.load(f"{NAME}@{'0' * 40}")
    hub.publish("me/scenes", {"config.json": b'{"architectures": ["BertModel"]}'})
    with pytest.raises(CheckpointError, match="not a description"):
        zoo.load(NAME)


def test_weights_that_their_description_does_not_mean_are_refused(hub, scenes):
    hub.publish("me/scenes", scenes | {"model.safetensors": damaged(scenes["model.safetensors"])})
    with pytest.raises(CheckpointError, match=r"is not the file that its config\.json describes"):
        zoo.load(NAME)


def test_a_description_cannot_lead_out_of_its_repository(hub, scenes, tmp_path):
    config = json.loads(scenes["config.json"])
    config["zoo"]["file"] = "../../../model.safetensors"
    hub.publish("me/scenes", scenes | {"config.json": json.dumps(config).encode()})
    with pytest.raises(CheckpointError, match="plain name"):
        zoo.load(NAME)


def test_a_file_that_was_changed_on_the_way_is_refused(hub, scenes):
    hub.publish("me/scenes", scenes)
    for oid, data in hub.objects.items():
        hub.objects[oid] = damaged(data)  # as long as before
    with pytest.raises(CheckpointError, match="the published one is"):
        zoo.load(NAME)


def test_what_never_comes_whole_is_not_kept(hub, scenes):
    hub.publish("me/scenes", scenes)
    hub.fail("/cdn/", after=1000)
    with pytest.raises(SourceError, match=r"model\.safetensors: .*peer closed connection"):
        zoo.load(NAME)
    assert not list(Path(os.environ["HF_HOME"]).rglob("model.safetensors"))
    hub.faults.clear()
    zoo.load(NAME, device="cpu")


def limited(limit):
    """Load in a process that may write no file longer than ``limit``."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        zoo.load(NAME)
    except InputError as error:
        sys.exit(0 if "make room" in str(error) and "HF_HOME" in str(error) else 3)


def test_a_full_disk_is_one_sentence(hub, scenes):
    hub.publish("me/scenes", scenes)
    process = multiprocessing.get_context("fork").Process(target=limited, args=(20_000,))
    process.start()
    process.join()
    assert process.exitcode == 0
    zoo.load(NAME, device="cpu")


def test_the_repository_of_a_tag_leads_to_the_tag(hub):
    repo_id = "torch-pointcloud/pvcnn.s3dis-area5.mit-han-lab"
    hub.publish(repo_id, {"config.json": b"{}"})
    with pytest.raises(CheckpointError, match=r"loaded by the name 'pvcnn_sem_c1\.s3dis_area5'"):
        zoo.load(f"hf-hub:{repo_id}")


@pytest.mark.slow  # two processes import everything
def test_the_environment_of_huggingface_hub_is_heeded(hub, scenes):
    hub.publish("me/scenes", scenes, private=True)
    command = [sys.executable, "-m", "zoo.cli", "pull", NAME]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2 and "HF_TOKEN" in refused.stderr and refused.stderr.count("\n") == 1
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_TOKEN": "hf_owner"})
    assert done.returncode == 0 and not done.stderr and "hf-hub:me/scenes@" in done.stdout
    assert list(Path(os.environ["HF_HOME"]).glob("hub/models--me--scenes/snapshots/*/model.safetensors"))
    hub.requests.clear()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0 and not hub.requests


def test_a_damaged_file_in_the_hubs_cache_is_noticed_and_replaced(hub, scenes, monkeypatch):
    hub.publish("me/scenes", scenes)
    expected = outputs(NAME)
    (path,) = Path(os.environ["HF_HOME"]).glob("hub/models--me--scenes/snapshots/*/model.safetensors")
    blob = path.resolve()
    data = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(damaged(data))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"model\.safetensors: HF_HUB_OFFLINE is set"):
        zoo.load(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert torch.equal(outputs(NAME), expected)
    assert len(hub.downloads("model.safetensors")) == 2


def test_imagenet_weights_come_from_the_hub_or_its_cache(hub, monkeypatch):
    network = timm.create_model("resnet18")
    hub.publish("timm/resnet18.a1_in1k", {"model.safetensors": save(network.state_dict())})
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        model = zoo.create_model("tsm_resnet18", num_classes=3, pretrained_backbone=True)
        assert torch.equal(model.backbone.conv1.weight, network.conv1.weight)


def test_imagenet_weights_of_a_hub_that_cannot_be_reached_are_given_up_at_once(hub, naps):
    hub.stop()
    with pytest.raises(SourceError, match="the Hub cannot be reached"):
        zoo.create_model("tsm_resnet18", num_classes=3, pretrained_backbone=True)
    assert naps == []
