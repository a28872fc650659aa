"""The server of the tests speaks the Hub's protocol: its own client downloads and uploads."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError


def read(path):
    return Path(path).read_bytes()


def test_files_come_small_and_large(hub):
    commit = hub.publish("owner/model", {"config.json": b"{}", "model.safetensors": b"abc" * 1000})
    for revision in ("main", commit):
        assert read(hf_hub_download("owner/model", "config.json", revision=revision)) == b"{}"
    path = hf_hub_download("owner/model", "model.safetensors")
    assert read(path) == b"abc" * 1000 and hub.downloads("model.safetensors") == [""]
    info = HfApi().model_info("owner/model")
    assert (info.sha, [file.rfilename for file in info.siblings]) == (commit, ["config.json", "model.safetensors"])


def test_a_broken_connection_is_tried_again_by_the_client(hub):
    hub.publish("owner/model", {"model.safetensors": b"abc" * 1000})
    hub.fail("/cdn/", after=1000, times=1)
    assert read(hf_hub_download("owner/model", "model.safetensors")) == b"abc" * 1000
    assert len(hub.downloads("/cdn/")) == 2


def test_what_may_not_be_read_is_refused(hub):
    hub.publish("owner/private", {"a": b""}, private=True)
    hub.publish("owner/gated", {"a": b""}, gated=True)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("owner/private", "a")
    with pytest.raises(GatedRepoError):
        hf_hub_download("owner/gated", "a")
    hf_hub_download("owner/private", "a", token="hf_owner")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("owner/private", "b", token="hf_owner")


@pytest.mark.parametrize("as_folder", [False, True])
def test_what_was_uploaded_can_be_downloaded(hub, tmp_path, as_folder):
    api = HfApi(token="hf_owner")
    api.create_repo("owner/new", private=True)
    (tmp_path / "new" / "test").mkdir(parents=True)
    (tmp_path / "new" / "README.md").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "new" / "test" / "input.safetensors").write_bytes(b"12345")
    if as_folder:
        commit = api.upload_folder(folder_path=tmp_path / "new", repo_id="owner/new").oid
    else:
        api.upload_file(path_or_fileobj=tmp_path / "new/README.md", path_in_repo="README.md", repo_id="owner/new")
        name = "test/input.safetensors"
        commit = api.upload_file(path_or_fileobj=tmp_path / "new" / name, path_in_repo=name, repo_id="owner/new").oid
    assert hub.repositories["owner/new"].private
    assert set(api.list_repo_files("owner/new")) >= {"README.md", "test/input.safetensors"}
    path = hf_hub_download("owner/new", "test/input.safetensors", revision=commit, token="hf_owner")
    assert read(path) == b"12345"
