"""The papers' own settings, with the papers' figures where they could be read."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.bench.job import Mode

TSM_PAGE = "https://hanlab18.mit.edu/projects/tsm"
TSM_ABSTRACT = "https://arxiv.org/abs/1811.08383, abstract"


@dataclass(frozen=True)
class PaperFigure:
    """What the authors report.

    Attributes:
        text: the figure as they write it.
        hardware: that they name.
        source: where it was read.
    """

    text: str
    hardware: str
    source: str


@dataclass(frozen=True)
class Setting:
    """One setting of a paper.

    Attributes:
        name: in words.
        models: that are measured in it.
        batch: inputs a call.
        frames: of a clip.
        points: of a cloud.
        mode: one call after another, or as many as fit.
        figures: the authors'; none where no table of theirs could be read.
    """

    name: str
    models: tuple[str, ...]
    batch: int = 1
    frames: int | None = None
    points: int | None = None
    mode: Mode = "single"
    figures: tuple[PaperFigure, ...] = ()


PAPER = (
    Setting("TSM, 8 x 224 x 224, batch 1", ("tsm_resnet50",), frames=8),
    Setting("TSM, 8 x 224 x 224, throughput", ("tsm_resnet50",), frames=8, mode="saturated"),
    Setting(
        "online TSM, one frame a step",
        ("tsm_mobilenetv2_online",),
        figures=(
            PaperFigure("13 ms", "NVIDIA Jetson Nano", TSM_ABSTRACT),
            PaperFigure("35 ms", "Samsung Galaxy Note8", TSM_ABSTRACT),
            PaperFigure("more than 70 frames a second", "NVIDIA Jetson Nano, TVM", TSM_PAGE),
        ),
    ),
    Setting("PVCNN, ShapeNet, 8 x 2048", ("pvcnn_part_c1", "pvcnn_part_c0p5", "pvcnn_part_c0p25"), 8, points=2048),
    Setting("PVCNN, S3DIS, 8 x 4096", ("pvcnn_sem_c1", "pvcnn_sem_c0p25", "pvcnn_sem_c0p125"), 8, points=4096),
    Setting("PVCNN++, S3DIS, 4 x 8192", ("pvcnnpp_sem_c1", "pvcnnpp_sem_c0p5"), 4, points=8192),
    Setting("F-PVCNN, KITTI, 32 x 1024", ("frustum_pvcnne",), 32, points=1024),
)
PRESETS = {"paper": PAPER}


def setting_of(name: str) -> Setting | None:
    """The setting of this name."""
    return next((setting for settings in PRESETS.values() for setting in settings if setting.name == name), None)
