"""Checkpoints of the TSM authors (https://github.com/mit-han-lab/temporal-shift-module): clips and the online demo."""

from __future__ import annotations

from zoo.convert.mobilenet import conv_norms
from zoo.convert.source import Source, State


def features_names(online: bool = False) -> dict[str, str]:
    """The authors' names of MobileNetV2's layers, ``features.*``, with ours, timm's ``mobilenetv2_100``.

    Args:
        online: the file is of the online demo, which does not say which convolutions are shifted.
    """
    names = {}
    for layer in conv_norms():
        inner = "conv." if 0 <= layer.block < 17 else ""
        prefix = f"features.{layer.block + 1}.{inner}"
        shifted = layer.residual and layer.position == 0
        conv = f"{prefix}{3 * layer.position}"
        names[conv] = f"{layer.conv}.net" if shifted and online else layer.conv
        if shifted:
            names[f"{conv}.net"] = f"{layer.conv}.net"
        names[f"{prefix}{3 * layer.position + 1}"] = layer.norm
    return names


def convert_clip(state: State) -> State:
    """``base_model.*`` and ``new_fc.*``, or without dropout a head within ``base_model``, to ours."""
    features = features_names()
    converted = {}
    for name, tensor in state.items():
        layer, _, parameter = name.removeprefix("base_model.").rpartition(".")
        if layer in ("new_fc", "fc", "classifier"):
            converted[f"head.{parameter}"] = tensor
        else:
            converted[f"backbone.{features.get(layer, layer)}.{parameter}"] = tensor
    return converted


def convert_online(state: State) -> State:
    """``features.*`` and ``classifier.*`` of the online demo to ours."""
    features = features_names(online=True)
    converted = {}
    for name, tensor in state.items():
        layer, _, parameter = name.rpartition(".")
        ours = "head" if layer == "classifier" else f"backbone.{features.get(layer, layer)}"
        converted[f"{ours}.{parameter}"] = tensor
    return converted


CLIP = Source(
    "tsm",
    "authors' TSM layout",
    "base_model.",
    lambda state: any(name.startswith("base_model.") for name in state),
    convert_clip,
    "bidirectional",
)
ONLINE = Source(
    "tsm_online",
    "authors' online TSM layout",
    "features.",
    lambda state: "features.0.0.weight" in state and "features.1.conv.0.weight" in state,
    convert_online,
    "online",
)
