"""TSM checkpoints of mmaction2 (https://github.com/open-mmlab/mmaction2): ResNets, MobileNetV2, non-local blocks."""

from __future__ import annotations

import re

import torch

from zoo.convert.mobilenet import STAGES, conv_norms
from zoo.convert.source import Source, State

RESNET = (
    (re.compile(r"\b(conv\d)\.conv\."), r"\1."),
    (re.compile(r"\bconv(\d)\.bn\."), r"bn\1."),
    (re.compile(r"\bdownsample\.conv\."), "downsample.0."),
    (re.compile(r"\bdownsample\.bn\."), "downsample.1."),
)
NON_LOCAL = (
    (re.compile(r"\.non_local_block\.conv_out\.conv\."), ".nl.W.0."),
    (re.compile(r"\.non_local_block\.conv_out\.bn\."), ".nl.W.1."),
    (re.compile(r"\.non_local_block\.(g\.0|phi\.0|theta)\.conv\."), r".nl.\1."),
)
NON_LOCAL_CFG = re.compile(r"non_local_cfg\s*=\s*dict\(((?:[^()]|\([^()]*\))*)")


def convert(state: State) -> State:
    """``backbone.*`` and ``cls_head.fc_cls.*`` to ours; the constants of ``data_preprocessor`` are left out."""
    mobilenet = _mobilenet_names() if "backbone.conv2.conv.weight" in state else None
    converted: State = {}
    for name, tensor in state.items():
        if name.startswith("data_preprocessor."):
            continue
        if name.startswith("cls_head.fc_cls."):
            converted[name.replace("cls_head.fc_cls.", "head.")] = tensor
        elif mobilenet is not None:
            layer, _, parameter = name.rpartition(".")
            converted[f"{mobilenet.get(layer, layer)}.{parameter}"] = tensor
        else:
            for pattern, replacement in NON_LOCAL + RESNET:
                name = pattern.sub(replacement, name)
            converted[name] = tensor
            if name.endswith(".nl.W.0.weight"):  # a normalisation follows: mmaction2 leaves out the bias before it
                converted.setdefault(name.replace("weight", "bias"), torch.zeros(tensor.shape[0], dtype=tensor.dtype))
    return converted


def attention_mode(notes: str) -> str:
    """The kind of non-local attention that the configuration in a file names; embedded Gaussian where it is silent."""
    found = re.search(r"\bmode\s*=\s*['\"](\w+)", _non_local_cfg(notes) or "")
    return found.group(1) if found else "embedded_gaussian"


def attention_is_scaled(notes: str) -> bool:
    """Whether the configuration in a file lets mmcv divide by the root of the width, as it does when not told."""
    configuration = _non_local_cfg(notes)
    return configuration is not None and re.search(r"\buse_scale\s*=\s*False\b", configuration) is None


def _non_local_cfg(notes: str) -> str | None:
    """The arguments of the non-local blocks in the configuration of a file; none at all where it holds no such."""
    found = NON_LOCAL_CFG.search(notes)
    if found is None:
        return "" if re.search(r"\bnon_local\s*=", notes) else None
    return found.group(1)


def _mobilenet_names() -> dict[str, str]:
    """mmaction2's names of MobileNetV2's layers with ours."""
    places = [(stage + 1, index) for stage, repeats in enumerate(STAGES) for index in range(repeats)]
    names = {}
    for layer in conv_norms():
        if 0 <= layer.block < len(places):
            stage, index = places[layer.block]
            module = f"backbone.layer{stage}.{index}.conv.{layer.position}"
        else:
            module = "backbone.conv1" if layer.block < 0 else "backbone.conv2"
        names[f"{module}.conv"] = f"backbone.{layer.conv}"
        names[f"{module}.bn"] = f"backbone.{layer.norm}"
        names[f"{module}.net.conv"] = f"backbone.{layer.conv}.net"
        names[f"{module}.net.bn"] = f"backbone.{layer.norm}"
    return names


SOURCE = Source(
    "mmaction2",
    "mmaction2's TSM layout",
    "backbone.conv1.conv.",
    lambda state: "backbone.conv1.conv.weight" in state or any(name.startswith("cls_head.") for name in state),
    convert,
    "bidirectional",
)
