"""What others offer in the place of an operator: plain PyTorch as it is usually written, and other packages."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import InputError
from zoo.ops import reference
from zoo.ops.backends import computed_by


def shift_by_slices(x: Tensor, num_frames: int, shift_div: int) -> Tensor:
    """The shift as it is usually written: zeros, and three assignments."""
    clips = x.unflatten(0, (-1, num_frames))
    fold = x.shape[1] // shift_div
    out = torch.zeros_like(clips)
    out[:, :-1, :fold] = clips[:, 1:, :fold]
    out[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    out[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
    return out.flatten(0, 1)


def mean_by_index_add(features: Tensor, rows: Tensor, num_voxels: int) -> Tensor:
    """Voxelising with ``index_add_``, which wants channels last: features [B, C, N] to a grid [B, R^3, C]."""
    batch, channels, _ = features.shape
    sums = features.new_zeros(batch * num_voxels, channels)
    sums.index_add_(0, rows, features.transpose(1, 2).flatten(0, 1))
    counts = features.new_zeros(batch * num_voxels).index_add_(0, rows, features.new_ones(len(rows)))
    return (sums / counts.clamp(min=1)[:, None]).unflatten(0, (batch, num_voxels))


def search_by_open3d(centers: Tensor, points: Tensor, radius: float, num_neighbors: int) -> list[object]:
    """The nearest neighbours within a radius, cloud by cloud, with the index built anew as ``ball_query`` does."""
    core: Any = importlib.import_module("open3d.core")
    found: list[object] = []
    for cloud, around in zip(points, centers, strict=True):
        search = core.nns.NearestNeighborSearch(core.Tensor(cloud.T.contiguous().numpy()))
        search.hybrid_index(radius)
        found.append(search.hybrid_search(core.Tensor(around.T.contiguous().numpy()), radius, num_neighbors))
    return found


def with_plain_operators(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """One call of a network of the zoo with the operators of plain PyTorch."""
    with computed_by(reference):
        model(*inputs)


def optional(name: str) -> Any:
    """The module ``name``, if it is installed."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None


def load_module(path: Path) -> ModuleType:
    """The module, compiled or not, in the file ``path``."""
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
