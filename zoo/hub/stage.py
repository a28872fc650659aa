"""From a folder of anybody's work to one in the form of a repository; the folder itself stays as it is."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

from torch import nn

from zoo.data.outputs import replacing
from zoo.errors import InputError
from zoo.hub.card import CARD_NAME
from zoo.hub.config_file import CONFIG_NAME, OUR_BLOCK, read_description
from zoo.hub.golden import GOLDEN_FOLDER, write_golden
from zoo.hub.pretrained_folder import LOCAL_NAME, write_card
from zoo.hub.push import LOCAL_PATH, TRAINING_FOLDER, repository_files

TRAINING_FILES = ("config.yaml", "metrics.csv")
"""What a run leaves beside its checkpoints, and others may learn from."""


def stage(folder: Path, target: Path, model: nn.Module, repo_id: str, licence: str | None = None) -> None:
    """Copy to ``target`` what of ``folder`` belongs into a repository, and make what is missing.

    Copied as they are: weights, description, golden tensors, and a card that somebody wrote. Of a checkpoint of a
    training run come the configuration and the figures of the run, in which paths are shortened to their last name.

    Args:
        folder: as ``zoo.save_pretrained`` or a training run writes it.
        target: an empty folder.
        model: with the weights of ``folder``.
        repo_id: "owner/name", for the card.
        licence: in the place of the one in the description; the card is made anew then.

    Raises:
        CheckpointError: the description of ``folder`` cannot be read.
        ZooError: one of its files is a link.
        InputError: a file cannot be read or written.
    """
    try:
        for name in repository_files(folder):
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, target / name)
        spec = read_description(target)
        if licence:
            spec = dataclasses.replace(spec, licence=licence)
            _set_licence(target / CONFIG_NAME, licence)
        if not (target / GOLDEN_FOLDER).exists():
            write_golden(target, model)
        card = target / CARD_NAME
        if licence or not card.exists():
            write_card(target, model, spec, repo_id, {})
        card.write_text(card.read_text().replace(LOCAL_NAME, f"hf-hub:{repo_id}"))
        for name in TRAINING_FILES:
            file = folder.resolve().parent / name
            if (folder / "training.json").is_file() and file.is_file() and not file.is_symlink():
                (target / TRAINING_FOLDER).mkdir(exist_ok=True)
                (target / TRAINING_FOLDER / name).write_text(LOCAL_PATH.sub(_last_name, file.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder}: cannot be made ready ({error}); look at its files") from error


def _last_name(path: re.Match[str]) -> str:
    """The last part of a path: what it names, not where that lies."""
    return re.split(r"[/\\]", path.group().rstrip("/\\"))[-1]


def _set_licence(path: Path, licence: str) -> None:
    """Write the licence into config.json, in both of its places."""
    entry = json.loads(path.read_text())
    entry[OUR_BLOCK]["licence"] = licence
    if isinstance(entry.get("pretrained_cfg"), dict):
        entry["pretrained_cfg"]["license"] = licence
    with replacing(path) as part:
        part.write_text(json.dumps(entry, indent=2) + "\n")
