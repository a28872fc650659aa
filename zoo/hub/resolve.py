"""From a name to the weights that it stands for."""

from __future__ import annotations

from pathlib import Path

from zoo.hub.bundled import checkpoints_folder
from zoo.hub.pretrained_folder import read_description
from zoo.registry import find_builder, find_weights
from zoo.weights import WeightsSpec

LOCAL_PREFIX = "local-dir:"


def resolve(name: str, pretrained: bool) -> tuple[str, WeightsSpec | None, Path | None]:
    """What ``name`` stands for.

    Args:
        name: "arch", "arch.tag" or "local-dir:PATH".
        pretrained: whether weights are wanted, so that a bare architecture takes its first tag.

    Returns:
        The architecture, the description of the weights if the name has any, and where their file lies.

    Raises:
        UnknownNameError: nothing bears that name.
        CheckpointError: the folder is not one that ``save_pretrained`` wrote.
    """
    if name.startswith(LOCAL_PREFIX):
        folder = Path(name.removeprefix(LOCAL_PREFIX))
        spec = read_description(folder)
        return spec.architecture, spec, folder / spec.file
    if not pretrained and "." not in name:
        find_builder(name)
        return name, None, None
    spec = find_weights(name)
    return spec.architecture, spec, checkpoints_folder() / spec.file
