"""The checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

from zoo.hub.sources import BundledFile, register
from zoo.weights import read_index

GOLDEN = "golden"


def register_bundled() -> None:
    """Register the weights that the index of the bundled checkpoints describes."""
    for spec in read_index(checkpoints_folder() / "index.json"):
        register(spec, BundledFile(spec.file))


def bundled_names() -> list[str]:
    """The names of the bundled weights."""
    return [spec.name for spec in read_index(checkpoints_folder() / "index.json")]


def golden_file(weights: Path) -> Path:
    """Where the golden output of the bundled file ``weights`` lies."""
    return weights.parent / GOLDEN / weights.name


def checkpoints_folder() -> Path:
    """The folder of the bundled checkpoints: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_checkpoints"
    return installed if installed.is_dir() else package.parent / "checkpoints"
