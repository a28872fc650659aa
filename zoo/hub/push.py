"""From a folder to a repository on the Hub: looked over first, then uploaded in one commit."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from torch import nn

from zoo.errors import ZooError
from zoo.hub.card import CARD_NAME, LIBRARY
from zoo.hub.config_file import CONFIG_NAME, read_description
from zoo.hub.golden import GOLDEN_FOLDER, GOLDEN_INPUT, GOLDEN_OUTPUT, check_golden
from zoo.hub.weights_file import WEIGHTS_NAME
from zoo.weights import verify

COMMIT_MESSAGE = "Upload the model"
TRAINING_FOLDER = "training"
REPOSITORY_FILES = (
    *(CONFIG_NAME, WEIGHTS_NAME, CARD_NAME),
    *(f"{GOLDEN_FOLDER}/{name}" for name in (GOLDEN_INPUT, GOLDEN_OUTPUT)),
    *(f"{TRAINING_FOLDER}/{name}" for name in ("config.yaml", "metrics.csv")),
)
"""All that a repository can hold; other files of a folder are never uploaded."""

LOCAL_PATH = re.compile(
    r"(?<![\w./:-])/(?:home|root|work|workspace|Users|mnt|media|data|tmp|var|opt|srv|etc|scratch|content|private|Volumes"
    r"|usr|run|app|nfs|net|gpfs|lustre|beegfs|storage|shared|raid|ssd|nvme|projects?|cluster|kaggle|dbfs|export)\d*"
    r"(?:/[^\s\"'`,;:)\]}>|]*)?(?![\w-])"
    r"|(?<![\w/~])~\w*/[^\s\"'`,;:)\]}>|]*"
    r"|(?<![A-Za-z])[A-Za-z]:[\\/](?!/)[^\s\"'`,;)\]}>|]*"
    r"|(?<![\w\\])\\\\(?:\\\\)?\w[\w.-]*\\[^\s\"'`,;)\]}>|]*"
    r"|file://\S*"
)
"""A place on somebody's machine: of no use to others, and it tells who they are."""


def repository_files(folder: Path) -> list[str]:
    """Which files of ``folder`` belong into its repository.

    Raises:
        ZooError: one of them is a link, which may lead anywhere.
    """
    names = [name for name in REPOSITORY_FILES if (folder / name).is_file()]
    for name in names:
        if (folder / name).is_symlink() or (folder / name).parent.is_symlink():
            raise ZooError(f"{folder / name} is a link and could publish any file: put the file itself there")
    return names


def check_publishable(folder: Path, model: nn.Module) -> None:
    """Refuse a folder that should not be published as it is.

    Args:
        folder: in the form of a repository.
        model: with its weights.

    Raises:
        CheckpointError: the description cannot be read, or the golden tensors are not what the model gives.
        ZooError: no licence is given, or a path of this machine stands in a text.
    """
    spec = read_description(folder)
    verify(folder / spec.file, spec)
    for name in repository_files(folder):
        if not name.endswith(".safetensors"):
            _refuse_local_paths(folder / name)
    if not spec.licence or not _metadata(folder / CARD_NAME).get("license"):
        raise ZooError(
            f"{folder}: no licence is given in {CARD_NAME} and {CONFIG_NAME}, so nobody may use the weights: "
            "name one, by --licence SPDX for `zoo push`, or by model_card_kwargs={'license': ...}"
        )
    check_golden(folder, model)


def upload(
    folder: Path,
    model: nn.Module,
    repo_id: str,
    *,
    commit_message: str = COMMIT_MESSAGE,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    delete_patterns: list[str] | str | None = None,
) -> str:
    """Look ``folder`` over and upload it; see ``zoo.push_to_hub``.

    Returns:
        The address of the commit.

    Raises:
        ZooError: it should not be published, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import filter_repo_objects

    check_publishable(folder, model)
    files = repository_files(folder)
    chosen = list(filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns))
    api = HfApi(token=token, library_name=LIBRARY)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise ZooError(f"{repo_id} is there already and public: make it private first, or push without private")
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
            allow_patterns=chosen,  # plain names
            delete_patterns=delete_patterns,
        )
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ZooError):
            raise
        raise ZooError(f"{repo_id} was not uploaded: {_refusal(error)}") from error
    return str(commit.pr_url or commit.commit_url)


def _refuse_local_paths(path: Path) -> None:
    found = LOCAL_PATH.search(path.read_text())
    if found:
        raise ZooError(
            f"{path.name} names {found.group()!r}, a place on this machine: take it out of the text, or out of the "
            "description that it was made from"
        )


def _metadata(card: Path) -> dict[str, object]:
    """What stands in front of a card for the Hub."""
    parts = card.read_text().split("---\n", 2) if card.is_file() else []
    try:
        metadata = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"{card}: its metadata are no YAML ({reason}); mend them, or delete the file") from error
    return metadata if isinstance(metadata, dict) else {}


def _refusal(error: Exception) -> str:
    """What a failed upload means, and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the Hub does not know you: log in by `hf auth login`, or set HF_TOKEN to a token that may write"
    if status == 403:
        return "your token may not write there: take one with the role 'write', and a name that is yours"
    if status == 404:
        return "the Hub has no such repository or branch, or not for you: look at its name and your token"
    if status is not None and status >= 500:
        return f"the Hub has trouble (status {status}): try again later"
    return f"{' '.join(str(error).split())}: look at the name, the network and HF_ENDPOINT"
