"""Publishing a model: nothing leaves that should not, and what arrives is what was there, bit for bit."""

import itertools
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import zoo
from tests.test_cli import refused, run
from zoo.errors import CheckpointError, ZooError
from zoo.hub.push import LOCAL_PATH

ROOT = Path(__file__).parents[2]
REPO = "owner/scenes"
FILES = ["README.md", "config.json", "model.safetensors", "test/input.safetensors", "test/output.safetensors"]
MIT = {"license": "MIT"}


@pytest.fixture
def model():
    return zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6)


@pytest.fixture
def folder(model, tmp_path):
    return zoo.save_pretrained(model, tmp_path / "model", model_card_kwargs=MIT)


@pytest.fixture
def token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    return "hf_owner"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(hub, repo=REPO):
    return hub.repositories[repo].at("main")[1]


def test_what_is_pushed_comes_back_bit_for_bit(hub, token, folder, model, capfd, tmp_path):
    code, out, _ = run(capfd, "push", folder, REPO, "--private", "--yes")
    assert code == 0 and f"{hub.address}/{REPO}/commit/" in out
    files = {name: data for name, data in published(hub).items() if name != ".gitattributes"}
    assert sorted(files) == FILES and hub.repositories[REPO].private
    assert len(hub.repositories[REPO].commits) == 2  # the new repository, and one commit
    for name in FILES:
        if name != "README.md":
            assert files[name] == (folder / name).read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert f'zoo.load("hf-hub:{REPO}")' in card.text and "local-dir" not in card.text
    for name, data in files.items():
        (tmp_path / "back" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "back" / name).write_bytes(data)
    points = torch.rand(1, 6, 100)
    for name in (f"local-dir:{tmp_path / 'back'}", f"hf-hub:{REPO}"):
        again = zoo.create_model(name, pretrained=True)
        assert torch.equal(again.eval()(points), model.eval()(points))


def test_a_model_is_pushed_with_the_mixins_keywords(hub, token, model):
    url = zoo.push_to_hub(
        model,
        REPO,
        config={"recipe": "mine"},
        commit_message="First",
        private=True,
        token=token,
        ignore_patterns="test/*",
        model_card_kwargs=MIT,
    )
    assert url.startswith(f"{hub.address}/{REPO}/commit/") and hub.repositories[REPO].private
    assert sorted(published(hub)) == sorted([".gitattributes", *FILES[:3]])
    assert json.loads(published(hub)["config.json"])["recipe"] == "mine"
    zoo.push_to_hub(
        model, REPO, token=token, delete_patterns=["*.md"], allow_patterns=["config.json"], model_card_kwargs=MIT
    )
    assert sorted(published(hub)) == [".gitattributes", "config.json", "model.safetensors"]
    assert "/discussions/1" in zoo.push_to_hub(model, REPO, create_pr=True, model_card_kwargs=MIT)


def test_saving_can_push_too(hub, token, model, tmp_path):
    (tmp_path / "training.safetensors").write_bytes(b"not for others")
    zoo.save_pretrained(model, tmp_path, push_to_hub=True, repo_id=REPO, model_card_kwargs=MIT, private=True)
    assert sorted(published(hub)) == [".gitattributes", *FILES]


def test_a_dry_run_changes_nothing(hub, token, folder, capfd):
    before = contents(folder)
    code, out, _ = run(capfd, "push", folder, REPO, "--private")
    assert code == 0 and "nothing was uploaded" in out and "private" in out
    for word in (*FILES, "license: mit", f"hf-hub:{REPO}"):
        assert word in out
    assert contents(folder) == before and not hub.requests and not hub.repositories


def test_the_tools_are_the_commands(hub, token, folder, capfd, monkeypatch):
    for tool, command in (
        ("publish", ["push", folder, REPO]),
        ("convert", ["convert", "nothing.pth", "a.safetensors"]),
    ):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, command[1:])])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / f"tools/{tool}.py"), run_name="__main__")
        said = capfd.readouterr()
        assert (stop.value.code, said.out, said.err) == run(capfd, *command)


def test_a_checkpoint_of_a_run_is_completed(hub, token, model, capfd, tmp_path):
    from zoo.engine.checkpoint import Progress, save_checkpoint

    best = tmp_path / "run/best"
    best.parent.mkdir()
    save_checkpoint(best, model, {"optimizer": {"step": torch.ones(3)}}, Progress(3, 1, 0.5), {})
    (best.parent / "config.yaml").write_text("data:\n  path: /home/me/my scenes.npz\nepochs: 3\nout: ~/runs/a\n")
    (best.parent / "metrics.csv").write_text("epoch,loss\n1,0.5\n")
    before = contents(best.parent)
    refused(capfd, "push", best, REPO, "--yes", names=f"error: {best}: no licence is given")
    assert not hub.requests
    code, _, _ = run(capfd, "push", best, REPO, "--yes", "--licence", "Apache-2.0")
    assert code == 0 and contents(best.parent) == before
    files = published(hub)
    assert sorted(files) == [".gitattributes", *FILES, "training/config.yaml", "training/metrics.csv"]
    assert b"/home" not in files["training/config.yaml"] and b"epochs: 3" in files["training/config.yaml"]
    assert b"~" not in files["training/config.yaml"] and b"out: a" in files["training/config.yaml"]
    assert json.loads(files["config.json"])["zoo"]["licence"] == "Apache-2.0"
    assert ModelCard(files["README.md"].decode()).data.license == "apache-2.0"


def test_a_card_that_somebody_wrote_is_kept(hub, token, folder):
    text = "---\nlicense: mit\n---\n\nMine, for `local-dir:.`\n"
    (folder / "README.md").write_text(text)
    from zoo.cli import main

    assert main(["push", str(folder), REPO, "--yes"]) == 0
    assert published(hub)["README.md"].decode() == text.replace("local-dir:.", f"hf-hub:{REPO}")


@pytest.mark.parametrize(
    "path",
    [
        *("/home/me/data", "/root/x", "/work/shared/a.npz", "`/tmp/a`", "(/mnt/disk)", "~/videos", "~me/videos"),
        *(r"C:\Users\me", "D:/data", "/Users/me/x", "file:///a/b", "--data.path=/data/k400", "'/home'"),
        *("/gpfs/scratch/me", "/lustre/x", "/nfs/team/a.npz", "/data1/k400", "/project/lab7/x"),
        *(r"\\server\share\x", r"\\\\server\\x"),
    ],
)
def test_paths_of_a_machine_are_found(path):
    assert LOCAL_PATH.search(f"trained on {path} for long")


@pytest.mark.parametrize(
    "text",
    [
        *("https://huggingface.co/data/x", "and/or", "out/home/x", "tools/validate.py --data.path a.npz", "~100 clips"),
        *("./data/x", "hf-hub:me/home", "http://a.b/tmp/c", "1/2", "s3://data/x", "/homework", "config.json"),
        *("/database", "train/val", r"a\\b", "/projectile"),
    ],
)
def test_other_texts_are_no_paths(text):
    assert not LOCAL_PATH.search(f"see {text} for more")


def test_what_should_not_be_published_is_refused(hub, token, folder, capfd, tmp_path):
    card, config = (folder / "README.md").read_text(), (folder / "config.json").read_text()

    def check(names):
        refused(capfd, "push", folder, REPO, "--yes", names=names)

    (folder / "README.md").write_text(card + "\nTrained on /home/me/videos.\n")
    check("/home/me/videos")
    (folder / "README.md").write_text(card.replace("license: mit\n", ""))
    check("licence")
    (folder / "README.md").write_text(card.replace("license: mit", "license: [mit"))
    check("YAML")
    (folder / "README.md").write_text(card)
    (folder / "config.json").write_text(config.replace('"origin": ""', r'"origin": "from C:\\data\\a"'))
    check("C:")
    (folder / "config.json").write_text(config)
    other = zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6), tmp_path / "other")
    right = (folder / "test/output.safetensors").read_bytes()
    (folder / "test/output.safetensors").write_bytes((other / "test/output.safetensors").read_bytes())
    check("golden output")
    (folder / "test/output.safetensors").unlink()
    check("missing")
    secret = tmp_path / "secret"
    secret.write_bytes(right)
    (folder / "test/output.safetensors").symlink_to(secret)
    check("is a link")
    assert not hub.requests


def test_a_model_without_licence_or_with_changing_outputs_is_refused(hub, token, model):
    with pytest.raises(ZooError, match="licence"):
        zoo.push_to_hub(model, REPO)
    calls = itertools.count(1)
    model.register_forward_hook(lambda module, inputs, output: output * next(calls))
    with pytest.raises(CheckpointError, match="golden output"):
        zoo.push_to_hub(model, REPO, model_card_kwargs=MIT)
    assert not hub.requests


def test_a_public_repository_does_not_become_a_private_upload(hub, token, folder, capfd):
    hub.publish(REPO, {"README.md": b"public"})
    code, _, err = run(capfd, "push", folder, REPO, "--private", "--yes")
    assert code == 2 and "already and public" in err
    assert sorted(published(hub)) == ["README.md"]


@pytest.mark.parametrize(("status", "words"), [(401, "log in"), (403, "may not write"), (404, "no such repository")])
def test_the_hubs_refusals_say_what_to_do(hub, token, folder, capfd, status, words):
    hub.fail("/api/models", status)
    code, _, err = run(capfd, "push", folder, REPO, "--yes")
    assert code == 2 and words in err and err.count("\n") == 1 and "hf_owner" not in err


def test_an_unreachable_hub_and_bad_names_are_one_error(hub, token, folder, capfd, monkeypatch):
    code, _, err = run(capfd, "push", folder, "a/b/c", "--yes")
    assert code == 2 and "a/b/c was not uploaded" in err and err.count("\n") == 1
    hub.stop()
    code, _, err = run(capfd, "push", folder, REPO, "--yes")
    assert code == 2 and "network" in err and err.count("\n") == 1


def test_strangers_cannot_push(hub, folder, capfd):
    code, _, err = run(capfd, "push", folder, REPO, "--yes")
    assert code == 2 and "hf auth login" in err
