"""PVCNN and PVCNN++ checkpoints of torch-pointcloud (https://pypi.org/project/torch-pointcloud).

Its networks are those of the authors, whose weights it offers: features are concatenated in the same order, so that
names and shapes alone differ. Convolutions of width 1 are linear layers there, and those of set abstraction and feature
propagation have no bias, since a normalisation follows.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from zoo.convert.source import Source, State

CONV_NORM_ACT = 3
"""How many modules of ours stand for one layer of theirs: convolution, normalisation, activation."""

LAYER = re.compile(r"(?P<stack>.*?)\.?(?P<kind>lins|norms)\.(?P<index>\d+)(\.module)?\.(?P<parameter>\w+)")
VOXEL = re.compile(r"voxel_layers\.(?P<index>\d)\.(?P<kind>conv|norm)\.(?P<parameter>\w+)")
POINT_BLOCK = re.compile(r"blocks\.(\d+)\.layers\.(\d+)\.(.*)")
SA = re.compile(r"encoder\.blocks\.(\d+)\.sa_module\.convs\.(\d+)\.local_nn\.(.*)")
FP = re.compile(r"decoder\.blocks\.(\d+)\.fp_module\.mlp\.(.*)")
HIERARCHY = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.layers\.(\d+)\.(.*)")


def convert(state: State) -> State:
    """Their names and shapes to the authors', which are ours."""
    depths = _depths(state)
    converted: State = {}
    for name, tensor in state.items():
        ours = _name(name, depths)
        two_dimensional = ".mlps." in ours
        if ".lins." in name and name.endswith(".weight") and not ours.startswith("cloud_features."):
            tensor = tensor[..., None, None] if two_dimensional else tensor[..., None]
        converted[ours] = tensor
        if ".fp_module." in name or ".sa_module." in name:
            _add_bias(converted, name, ours, tensor)
    return converted


def _name(name: str, depths: dict[tuple[str, int], int]) -> str:
    """Our name for ``name``; unknown names stay as they are."""
    if match := POINT_BLOCK.fullmatch(name):
        block, layer, rest = int(match[1]), int(match[2]), match[3]
        before = sum(depth for (part, index), depth in depths.items() if part == "" and index < block)
        return f"point_features.{before + layer}.{_point_voxel(rest)}"
    if match := SA.fullmatch(name):  # their block begins with the abstraction that ends ours before it
        block, scale, rest = int(match[1]) - 1, match[2], match[3]
        depth = depths.get(("encoder", block), 0)
        return f"sa_layers.{block}.{f'{depth}.' if depth else ''}mlps.{scale}.{_shared_mlp(rest)}"
    if match := FP.fullmatch(name):
        block = int(match[1])
        return f"fp_layers.{block}.{'0.' if depths.get(('decoder', block)) else ''}mlp.{_shared_mlp(match[2])}"
    if match := HIERARCHY.fullmatch(name):
        part, block, layer, rest = match[1], int(match[2]), int(match[3]), match[4]
        return (
            f"sa_layers.{block}.{layer}.{_point_voxel(rest)}"
            if part == "encoder"
            else (f"fp_layers.{block}.{layer + 1}.{_point_voxel(rest)}")
        )
    if match := LAYER.fullmatch(name):
        index, is_norm, parameter = int(match["index"]), match["kind"] == "norms", match["parameter"]
        if match["stack"] == "global_mlp":
            return f"cloud_features.{index}.{int(is_norm)}.{parameter}"
        if match["stack"] == "head":  # ours has dropout between the layers, and the last is a plain convolution
            last = not is_norm and index == depths["head", 0] - 1
            return f"classifier.{2 * index}.{'' if last else f'layers.{int(is_norm)}.'}{parameter}"
    return name


def _point_voxel(name: str) -> str:
    """The name within a point-voxel convolution, or within a plain layer of points."""
    if match := VOXEL.fullmatch(name):
        return f"voxel_layers.{CONV_NORM_ACT * int(match['index']) + int(match['kind'] == 'norm')}.{match['parameter']}"
    if name.startswith("voxel_layers.2."):
        return name.replace("voxel_layers.2.squeeze", "voxel_layers.6.fc.0").replace(
            "voxel_layers.2.excitation", "voxel_layers.6.fc.2"
        )
    return f"point_features.{_shared_mlp(name[4:])}" if name.startswith("mlp.") else _shared_mlp(name)


def _shared_mlp(name: str) -> str:
    """The name within a shared MLP."""
    match = LAYER.fullmatch(name)
    if match is None:
        return name
    return f"layers.{CONV_NORM_ACT * int(match['index']) + int(match['kind'] == 'norms')}.{match['parameter']}"


def _depths(state: State) -> dict[tuple[str, int], int]:
    """How many layers each block has, by (part, block): part "" is the flat PVCNN, ("head", 0) the head."""
    layers: dict[tuple[str, int], int] = {}
    for name in state:
        if match := HIERARCHY.fullmatch(name):
            key, layer = (match[1], int(match[2])), int(match[3])
        elif match := POINT_BLOCK.fullmatch(name):
            key, layer = ("", int(match[1])), int(match[2])
        elif match := re.fullmatch(r"head\.lins\.(\d+)\..*", name):
            key, layer = ("head", 0), int(match[1])
        else:
            continue
        layers[key] = max(layers.get(key, 0), layer + 1)
    return layers


def _add_bias(converted: State, theirs: str, ours: str, weight: Tensor) -> None:
    """Give a convolution the bias of zero that it does not have in the file."""
    if ".lins." in theirs and theirs.endswith(".weight"):
        converted.setdefault(ours.removesuffix("weight") + "bias", torch.zeros(weight.shape[0], dtype=weight.dtype))


SOURCE = Source(
    "torch_pointcloud",
    "torch-pointcloud's PVCNN layout",
    "blocks.0.layers.0.voxel_layers.0.conv.",
    lambda state: any(f"{part}blocks.0.layers.0.voxel_layers.0.conv.weight" in state for part in ("", "encoder.")),
    convert,
)
