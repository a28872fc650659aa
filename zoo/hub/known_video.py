"""The video models whose weights their authors published, with what they report of them.

The files and figures are those of https://github.com/mit-han-lab/temporal-shift-module; nothing was measured here.
"""

from __future__ import annotations

from typing import Any

from zoo.data.class_names import class_names
from zoo.hub.sources import UrlFile, register
from zoo.weights import Metric, VideoInput, WeightsSpec

HOSTS = (
    "https://hanlab18.mit.edu/projects/tsm/models/",
    "https://hanlab.mit.edu/projects/tsm/models/",
    "https://file.lzhu.me/projects/tsm/models/",
)
REPORTED_BY = "reported by the authors, github.com/mit-han-lab/temporal-shift-module"
FLOW_MEAN, FLOW_STD = (0.5,) * 10, (0.226,) * 10

ONE_CROP = "{frames} frames sampled uniformly, one clip, centre crop"
TEN_CROPS = "{frames} frames sampled uniformly, one clip, ten crops"
DENSE = "{frames} frames sampled densely, ten clips of three crops at full resolution"
TWO_CLIPS = "{frames} frames sampled uniformly, two clips of three crops at full resolution"

DATA = {  # of a tag, by its first word: the name of the set, its classes, its licence in words
    "k400": ("Kinetics-400", "kinetics400", "videos under their owners' licences"),
    "ssv1": ("Something-Something V1", "something-something-v1", "for research"),
    "ssv2": ("Something-Something V2", "something-something-v2", "for research"),
    "jester": ("Jester", "jester", "for research"),
}
KINETICS, SOMETHING = "TSM_kinetics_RGB_", "TSM_something{version}_RGB_"
SHIFTED = "_shift8_blockres_avg_segment"

# Architecture, tag, file, frames that the figures were measured with, top-1 accuracies in per cent by protocol.
TABLE: tuple[tuple[str, str, str, int, dict[str, float]], ...] = (
    ("tsn_resnet50", "k400_5f", f"{KINETICS}resnet50_avg_segment5_e50.pth", 8,
     {ONE_CROP: 68.8, TEN_CROPS: 69.9, DENSE: 70.6}),
    ("tsm_resnet50", "k400_8f", f"{KINETICS}resnet50{SHIFTED}8_e50.pth", 8, {ONE_CROP: 71.2, TEN_CROPS: 72.8}),
    ("tsm_resnet50", "k400_16f", f"{KINETICS}resnet50{SHIFTED}16_e50.pth", 16, {ONE_CROP: 72.6, TEN_CROPS: 73.7}),
    ("tsm_resnet50", "k400_8f_dense", f"{KINETICS}resnet50{SHIFTED}8_e100_dense.pth", 8, {DENSE: 74.1}),
    ("tsm_resnet50", "k400_flow_8f", f"TSM_kinetics_Flow_resnet50{SHIFTED}8_e50.pth", 8, {ONE_CROP: 55.7}),
    ("tsm_resnet50_nl", "k400_8f_dense", f"{KINETICS}resnet50{SHIFTED}8_e100_dense_nl.pth", 8, {DENSE: 75.6}),
    ("tsm_mobilenetv2", "k400_8f_dense", f"{KINETICS}mobilenetv2{SHIFTED}8_e100_dense.pth", 8, {DENSE: 69.5}),
    ("tsm_resnet50", "ssv1_8f", f"{SOMETHING.format(version='')}resnet50{SHIFTED}8_e45.pth", 8,
     {ONE_CROP: 45.6, TWO_CLIPS: 47.2}),
    ("tsm_resnet50", "ssv1_16f", f"{SOMETHING.format(version='')}resnet50{SHIFTED}16_e45.pth", 16,
     {ONE_CROP: 47.2, TWO_CLIPS: 48.4}),
    ("tsm_resnet101", "ssv1_8f", f"{SOMETHING.format(version='')}resnet101{SHIFTED}8_e45.pth", 8,
     {ONE_CROP: 46.9, TWO_CLIPS: 48.7}),
    ("tsm_resnet50", "ssv2_8f", f"{SOMETHING.format(version='v2')}resnet50{SHIFTED}8_e45.pth", 8, {TWO_CLIPS: 61.2}),
    ("tsm_resnet50", "ssv2_16f", f"{SOMETHING.format(version='v2')}resnet50{SHIFTED}16_e45.pth", 16,
     {TWO_CLIPS: 63.1}),
    ("tsm_resnet101", "ssv2_8f", f"{SOMETHING.format(version='v2')}resnet101{SHIFTED}8_e45.pth", 8,
     {TWO_CLIPS: 63.3}),
    ("tsm_mobilenetv2_online", "jester", "mobilenetv2_jester_online.pth.tar", 8, {}),
)  # fmt: skip


def register_video() -> None:
    """Register the weights of the table, with their sources."""
    for architecture, tag, file, frames, accuracies in TABLE:
        url, *mirrors = (host + file for host in HOSTS)
        register(_spec(architecture, tag, frames, accuracies), UrlFile(url, tuple(mirrors)))


def _spec(architecture: str, tag: str, frames: int, accuracies: dict[str, float]) -> WeightsSpec:
    dataset, classes, terms = DATA[tag.split("_")[0]]
    names = class_names(classes)
    if classes == "jester":
        names = tuple(sorted(names))  # the order that the authors' demo has
    is_flow = "_flow" in tag
    arguments: dict[str, Any] = ({"num_frames": frames} if frames != 8 else {}) | (
        {"modality": "flow"} if is_flow else {}
    )
    metrics = tuple(
        Metric(
            "top-1 accuracy", round(value / 100, 4), f"{dataset}, validation", how.format(frames=frames), REPORTED_BY
        )
        for how, value in accuracies.items()
    )
    return WeightsSpec(
        architecture,
        tag,
        len(names),
        VideoInput(frames, mean=FLOW_MEAN, std=FLOW_STD) if is_flow else VideoInput(frames),
        class_names=names,
        model_args=arguments,
        licence="MIT",
        origin=f"trained by the authors of TSM on {dataset} ({terms}); their repository is under the MIT licence",
        metrics=metrics,
    )
