"""Folders of one model, in the form of a repository on the Hub: weights, description, card, golden tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from zoo.convert import file_metadata, shift_of
from zoo.data.outputs import replacing
from zoo.errors import InputError, ZooError
from zoo.hub.card import CARD_NAME, model_card
from zoo.hub.config_file import plain_config, write_description
from zoo.hub.golden import write_golden
from zoo.hub.push import COMMIT_MESSAGE, upload
from zoo.hub.weights_file import WEIGHTS_NAME, hashes, write_weights
from zoo.weights import WeightsSpec

LOCAL_NAME = "local-dir:."  # of a model in its card, until it has a repository


def save_pretrained(
    model: nn.Module,
    save_directory: str | Path,
    *,
    config: Any = None,
    repo_id: str | None = None,
    push_to_hub: bool = False,
    model_card_kwargs: Mapping[str, Any] | None = None,
    **push_to_hub_kwargs: Any,
) -> Path:
    """Write ``model`` to a folder, in the form of a repository on the Hub.

    The folder gets the weights as safetensors, config.json with the description that ``zoo.load`` needs, README.md, and
    golden tensors in test/. The description is of the model as it is: of its classes, and without tag, origin and
    figures where its weights are no longer those that it was loaded with.

    Args:
        model: one that ``zoo.create_model`` or ``zoo.load`` made, or that has a ``WeightsSpec`` as its ``spec``.
        save_directory: the folder; it is made where it is missing. ``zoo.load("local-dir:FOLDER")`` takes it.
        config: further entries of config.json, a dict or a dataclass.
        repo_id: "owner/name" on the Hub, for the card and for ``push_to_hub``.
        push_to_hub: upload the model too.
        model_card_kwargs: ``license``, ``datasets``, ``tags``, ``purpose``, ``limits`` and ``citation``, see
            ``zoo.hub.card.model_card``; the licence goes into the description too.
        **push_to_hub_kwargs: of ``zoo.push_to_hub``.

    Returns:
        The folder.

    Raises:
        ZooError: nothing is known about the model; or, with ``push_to_hub``, it cannot be published.
        InputError: the folder cannot be written.
        TypeError: there is no such keyword.
    """
    if push_to_hub_kwargs and not push_to_hub:
        names = ", ".join(push_to_hub_kwargs)
        raise TypeError(f"save_pretrained() takes {names} only with push_to_hub=True")
    if push_to_hub and repo_id is None:
        raise ZooError("push_to_hub=True needs repo_id='owner/name', the repository to upload to")
    folder, texts = Path(save_directory), dict(model_card_kwargs or {})
    try:
        spec = write_model(model, folder, licence=texts.get("license"), config=config)
        write_golden(folder, model)
        write_card(folder, model, spec, repo_id, texts)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    if push_to_hub and repo_id is not None:
        upload(folder, model, repo_id, **push_to_hub_kwargs)
    return folder


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    config: Any = None,
    commit_message: str = COMMIT_MESSAGE,
    private: bool | None = None,
    token: str | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    delete_patterns: list[str] | str | None = None,
    model_card_kwargs: Mapping[str, Any] | None = None,
) -> str:
    """Upload ``model`` to a repository on the Hub, which is made where there is none, in one commit.

    Args:
        model: as for ``save_pretrained``.
        repo_id: "owner/name".
        config: as for ``save_pretrained``.
        commit_message: of the commit.
        private: make a repository that only its owner sees; one that is public already is refused.
        token: of the Hub; by default the one of ``hf auth login`` or ``HF_TOKEN``.
        branch: to commit to; it has to be there.
        create_pr: propose the commit instead.
        allow_patterns: upload only files that match one of these.
        ignore_patterns: do not upload files that match one of these.
        delete_patterns: delete files of the repository that match one of these.
        model_card_kwargs: as for ``save_pretrained``.

    Returns:
        The address of the commit.

    Raises:
        ZooError: no licence is known, the model does not repeat its own outputs, a path of this machine would be
            published, or the Hub refuses; the text says what to do.
    """
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, config=config, repo_id=repo_id, model_card_kwargs=model_card_kwargs)
        return upload(
            Path(folder),
            model,
            repo_id,
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
            allow_patterns=allow_patterns,
            ignore_patterns=ignore_patterns,
            delete_patterns=delete_patterns,
        )


def write_model(model: nn.Module, folder: Path, *, licence: str | None = None, config: Any = None) -> WeightsSpec:
    """Write config.json and model.safetensors, all that loading needs.

    Args:
        model: with its description as ``spec``.
        folder: is made where it is missing.
        licence: in the place of the one in the description.
        config: further entries of config.json.

    Returns:
        The description as it was written.

    Raises:
        ZooError: nothing is known about the model.
        OSError: the folder cannot be written.
    """
    spec = getattr(model, "spec", None)
    if not isinstance(spec, WeightsSpec):
        raise ZooError(
            "the model has no description: make it with zoo.create_model, or set model.spec = WeightsSpec(...)"
        )
    further = plain_config(config)
    path = folder / WEIGHTS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(path, model.state_dict(), file_metadata(shift_of(model)))
    sha256, *earlier = hashes(path)
    if spec.sha256 not in ("", sha256, *earlier):
        spec = spec.for_other_weights()
    spec = spec.with_classes(int(getattr(model, "num_classes", spec.num_classes)))
    spec = dataclasses.replace(
        spec, file=WEIGHTS_NAME, size=path.stat().st_size, sha256=sha256, licence=licence or spec.licence
    )
    write_description(folder, spec, model, further)
    return spec


def write_card(
    folder: Path, model: nn.Module, spec: WeightsSpec, repo_id: str | None, texts: Mapping[str, Any]
) -> None:
    """Write README.md; ``texts`` are keywords of ``model_card``.

    Raises:
        TypeError: the card has no such text.
        OSError: the file cannot be written.
    """
    name = f"hf-hub:{repo_id}" if repo_id else LOCAL_NAME
    parameters = sum(parameter.numel() for parameter in model.parameters())
    card = model_card(spec, name, parameters, **texts)
    with replacing(folder / CARD_NAME) as part:
        part.write_text(card)
