"""Where time goes from a file to labels: decoding, preprocessing, transfer, the model, postprocessing."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from zoo.bench.job import Job, make_inputs
from zoo.data.points import write_ply
from zoo.data.video_writer import write_video
from zoo.predict import PointPredictor, VideoPredictor
from zoo.registry import architecture_task
from zoo.weights import VideoInput

NAMES = {"read": "decode"}  # what predictors of points call it
FRAME_HEIGHT, FRAME_WIDTH, FPS = 240, 320, 25  # of a video as those of Kinetics are often stored
NUM_FRAMES = 100  # four seconds
RUNS, WARM_UP = 10, 2
SECONDS = 20.0  # after which no further file is predicted


@dataclass(frozen=True)
class Stages:
    """Milliseconds of the way from a file to labels; None where a model takes no file (flow, frustums).

    Attributes:
        decode_ms: reading the file.
        preprocess_ms: making it the model's input.
        transfer_ms: to the device.
        model_ms: the model.
        postprocess_ms: to labels.
    """

    decode_ms: float | None = None
    preprocess_ms: float | None = None
    transfer_ms: float | None = None
    model_ms: float | None = None
    postprocess_ms: float | None = None


def stage_times(model: Any, optimized: Any, job: Job) -> Stages:
    """The median milliseconds of each stage of predicting one file with ``optimized`` in the place of ``model``.

    A video has 100 frames of 320 x 240 pixels in H.264; a cloud as many points as the model takes at once.
    """
    if not _takes_files(model):
        return Stages()
    kind = VideoPredictor if isinstance(model.spec.input, VideoInput) else PointPredictor
    predictor: Any = kind(model, model.spec, torch.device(job.device))
    predictor.model = optimized
    part = model.spec.architecture.find("_part") >= 0
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that the cloud lacks
        path = _make_file(model, Path(folder))
        began = time.perf_counter()
        while len(rows) < WARM_UP + RUNS and (len(rows) < WARM_UP + 1 or time.perf_counter() - began < SECONDS):
            rows.append(predictor(path, category=0 if part else None).timings_ms)
    named = [{NAMES.get(stage, stage): ms for stage, ms in row.items()} for row in rows[WARM_UP:]]
    names = [each.name.removesuffix("_ms") for each in fields(Stages)]
    return Stages(*(statistics.median(row[name] for row in named) for name in names))


def _takes_files(model: Any) -> bool:
    """Not flow, which is in no file, nor frustums, which are cut out of a scene."""
    if isinstance(model.spec.input, VideoInput):
        return len(model.spec.input.mean) == 3
    return architecture_task(model.spec.architecture) != "object_detection"


def _make_file(model: Any, folder: Path) -> Path:
    if isinstance(model.spec.input, VideoInput):
        generator = torch.Generator().manual_seed(0)
        small = torch.rand(NUM_FRAMES, 3, FRAME_HEIGHT // 16, FRAME_WIDTH // 16, generator=generator)
        frames = torch.nn.functional.interpolate(small, (FRAME_HEIGHT, FRAME_WIDTH), mode="bilinear")
        pictures = (frames * 255).byte().permute(0, 2, 3, 1)
        write_video(folder / "clip.mp4", pictures.numpy(), fps=FPS)
        return folder / "clip.mp4"
    points = make_inputs([(1, 3, model.spec.input.num_points)])[0][0].T
    write_ply(folder / "cloud.ply", points.numpy(), ((points + 1) * 127).byte().numpy())
    return folder / "cloud.ply"
