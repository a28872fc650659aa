"""A loaded model with its preprocessing and class names: a file in, labels out."""

from __future__ import annotations

import os
import pathlib
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.create import create_model, create_transform
from zoo.data.point_features import usable_features
from zoo.data.point_formats.ply_writer import PLY_OUTPUTS
from zoo.data.point_transforms import scene_extent
from zoo.data.points import PointCloud, color_labels, read_points, write_ply
from zoo.data.sampling import uniform_indices
from zoo.data.scene_parts import scene_parts
from zoo.data.shapenet_part import SHAPE_NAMES
from zoo.data.video import Clip, read_clip, stream_video
from zoo.data.video_writer import VIDEO_OUTPUTS, write_annotated_video
from zoo.errors import InputError, ZooError
from zoo.export import OptimizedModel
from zoo.export.files import is_file_name, load_file
from zoo.registry import architecture_task
from zoo.weights import COMPUTED_FEATURES, FEATURE_CHANNELS, PointInput, VideoInput, WeightsSpec

Path = str | os.PathLike[str]
Category = int | str
TINY = torch.finfo(torch.float32).tiny
CHUNKS_AT_ONCE = 8  # parts of a cloud that go through the network together


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a model says of one input.

    Attributes:
        model: the name of the weights.
        input: the path, or what was passed instead of one.
        class_names: in the order of the scores.
        scores: softmax probabilities, float32 [K].
        timings_ms: how long each stage took, in milliseconds.
        warnings: what was unusual about the input.
    """

    model: str
    input: str
    class_names: tuple[str, ...]
    scores: Tensor
    timings_ms: dict[str, float]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        best = ", ".join(f"{label} {score:.1%}" for label, score in self.top(3))
        return f"<{type(self).__name__} of {self.input} by {self.model}: {best}>"

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The ``k`` likeliest labels with their probabilities, best first.

        Raises:
            InputError: ``k`` is below 0.
        """
        if k < 0:
            raise InputError(f"top(k) gives so many labels: k is at least 0, not {k}")
        best = self.scores.topk(min(k, len(self.scores)))
        return [
            (self.class_names[i], round(p, 6)) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def to_json(self, k: int = 5) -> dict[str, Any]:
        """The prediction in plain containers."""
        return {
            "model": self.model,
            "input": self.input,
            "top": [{"label": label, "score": score} for label, score in self.top(k)],
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings_ms.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, eq=False, repr=False)
class VideoPrediction(Prediction):
    """What a model says of a video.

    Attributes:
        clip: the frames that the model saw.
    """

    clip: Clip

    def save(self, path: Path, k: int = 3) -> None:
        """Write the video with the ``k`` likeliest labels on every frame, as H.264 MP4.

        Raises:
            InputError: the file cannot be written, or a frame of the video not be decoded.
        """
        lines = [f"{label}  {score:.1%}" for label, score in self.top(k)]
        write_annotated_video(path, _frames(self.input, self.clip), self.clip.fps, lines)


@dataclass(frozen=True, eq=False, repr=False)
class PointPrediction(Prediction):
    """What a model says of a cloud.

    For segmentation, ``scores`` are the mean probabilities over the points.

    Attributes:
        cloud: the points.
        labels: int64 [N], the class of every point of the file, -1 where it was dropped.
    """

    cloud: PointCloud
    labels: Tensor

    def save(self, path: Path) -> None:
        """Write the points with a colour for each label, and the labels, as PLY.

        Raises:
            InputError: the file cannot be written.
        """
        labels = self.labels.numpy()
        write_ply(path, self.cloud.points, color_labels(labels, len(self.class_names)), labels)


class Predictor(ABC):
    """A model with its preprocessing and class names.

    Attributes:
        model: in evaluation mode; of a file that ``zoo.export_model`` wrote, the ``OptimizedModel``.
        spec: what is known about its weights.
        class_names: in the order of the logits.
        saved_as: the suffixes of the files that its predictions save.
    """

    saved_as: tuple[str, ...]

    def __init__(self, model: Any, spec: WeightsSpec, device: torch.device):
        self.model = model
        self.spec = spec
        self.device = device
        self.class_names = spec.class_names or tuple(str(index) for index in range(spec.num_classes))
        self.transform: Any = create_transform(model)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name}, {len(self.class_names)} classes, on {self.device}>"

    def __call__(self, source: Any, *, category: Category | None = None) -> Any:
        """Predict one input, or a list of paths.

        Args:
            source: a path (a file, a folder of frames), a list of paths, video uint8 [T, H, W, 3] RGB, or points float
                [N, C] with xyz first.
            category: for part models alone, a ShapeNet category or its index.

        Returns:
            A ``Prediction``, or a list of them.

        Raises:
            InputError: the input cannot be read or does not fit the model.
        """
        if isinstance(source, list | tuple) and all(isinstance(item, str | os.PathLike) for item in source):
            return [self(item, category=category) for item in source]
        if category is not None and architecture_task(self.spec.architecture) != "part_segmentation":
            raise InputError(f"{self.spec.name} takes no category, only models for part segmentation do: leave it out")
        with torch.inference_mode():
            prediction = self._predict(source, category)
        if prediction.warnings:
            warnings.warn(f"{prediction.input}: {'; '.join(prediction.warnings)}", stacklevel=2)
        return prediction

    @abstractmethod
    def _predict(self, source: Any, category: Category | None) -> Prediction: ...


class VideoPredictor(Predictor):
    """A video model with its preprocessing and class names."""

    saved_as = VIDEO_OUTPUTS

    def _predict(self, source: Any, category: Category | None) -> VideoPrediction:
        assert isinstance(self.spec.input, VideoInput)
        channels = len(self.spec.input.mean)
        if channels != 3:
            raise InputError(f"{self.spec.name} takes no video but flow: call its module with [N, T, {channels}, H, W]")
        timer = _Timer(self.device)
        with timer("decode"):
            clip = _clip(source, self.spec.input.num_frames)
        with timer("preprocess"):
            batch = self.transform(clip.frames.permute(0, 3, 1, 2))[None]
        with timer("transfer"):
            batch = batch.to(self.device)
        with timer("model"):
            logits = self.model(batch)
        with timer("postprocess"):
            scores = logits.float().softmax(1)[0].cpu()
        name = _name(source)
        notes = tuple(note.removeprefix(f"{pathlib.Path(name)}: ").removeprefix(f"{name}: ") for note in clip.warnings)
        return VideoPrediction(self.spec.name, name, self.class_names, scores, timer.stages, notes, clip)


class PointPredictor(Predictor):
    """A point model with its preprocessing and class names."""

    saved_as = PLY_OUTPUTS

    def _predict(self, source: Any, category: Category | None) -> PointPrediction:
        task = architecture_task(self.spec.architecture)
        if task == "object_detection":
            raise ZooError(f"{self.spec.name} finds boxes: call its module with points [B, 4, N] and class ids [B]")
        extra = () if task != "part_segmentation" else (self._category_id(category),)
        assert isinstance(self.spec.input, PointInput)
        timer = _Timer(self.device)
        with timer("read"):
            wanted = self.spec.input.features
            if isinstance(source, str | os.PathLike):
                cloud = read_points(source, features=wanted)
                given = cloud.finite
            else:
                cloud, given = _cloud_from_array(source, wanted)
            points, usable, notes = usable_features(cloud, given, wanted)
        with timer("preprocess"):
            extent = scene_extent(points)
            chunks = scene_parts(points, self.spec.input.parts, self.spec.input.num_points)
            inputs = [self.transform(points[chunk], extent=extent) for chunk in chunks]
        outputs = []
        for start in range(0, len(inputs), CHUNKS_AT_ONCE):
            with timer("transfer"):
                batch = torch.stack(inputs[start : start + CHUNKS_AT_ONCE]).to(self.device)
                ids = [torch.full((len(batch),), value, device=self.device) for value in extra]
            with timer("model"):
                outputs.append(self.model(batch, *ids))
        with timer("postprocess"):
            probabilities = torch.cat([logits.float().softmax(1).cpu() for logits in outputs])
            labels = torch.full((len(cloud.points),), -1)
            kept = torch.from_numpy(np.flatnonzero(usable))
            if probabilities.dim() == 2:
                scores = probabilities.clamp(min=TINY).log().mean(0).softmax(0)  # logits are averaged, as when measured
                labels[kept] = scores.argmax()
            else:
                merged = torch.zeros(len(points), probabilities.shape[1])
                flat = probabilities.transpose(1, 2).flatten(0, 1)
                merged.index_add_(0, torch.from_numpy(np.concatenate(chunks)), flat)
                merged /= merged.sum(1, keepdim=True)
                scores = merged.mean(0)
                labels[kept] = merged.argmax(1)
        return PointPrediction(
            self.spec.name, _name(source), self.class_names, scores, timer.stages, notes, cloud, labels
        )

    def _category_id(self, category: Category | None) -> int:
        for index, name in enumerate(SHAPE_NAMES):
            if category in (index, str(index), name):
                return index
        raise InputError(f"{self.spec.name} needs a category, one of {', '.join(SHAPE_NAMES)}; not {category!r}")


def load(name: str, device: str | int | torch.device | None = None, num_threads: int | None = None) -> Predictor:
    """Load a pretrained model by name, ready for files.

    Args:
        name: "arch.tag", "arch" for its first tag, "hf-hub:owner/repo[@revision]", "local-dir:PATH", or a file that
            ``zoo.export_model`` wrote, such as "gesture.onnx". A ".pt2" is a program: run only those that you trust.
        device: where it runs; by default on a GPU if there is one. Files run on the CPU.
        num_threads: that the runtime of a file computes with; by default its own choice.

    Returns:
        A function from a file to a ``Prediction``.

    Raises:
        UnknownNameError: nothing bears the name, or it has no weights.
        InputError: there is no such file.
        CheckpointError: the weights or the file are damaged.
        SourceError: the weights cannot be had; the text lists what was tried.
        ZooError: the device cannot be used, the runtime of the file is not installed, or the model has no classifier.
    """
    model: Any = load_file(name, num_threads) if is_file_name(name) else create_model(name, pretrained=True).eval()
    if model.spec.num_classes == 0:
        raise ZooError(f"{model.spec.name} has no classifier: use zoo.create_model({name!r}, pretrained=True)")
    chosen = _file_device(name, device) if isinstance(model, OptimizedModel) else _moved(model, device)
    predictor = VideoPredictor if isinstance(model.spec.input, VideoInput) else PointPredictor
    return predictor(model, model.spec, chosen)


def _moved(model: nn.Module, device: str | int | torch.device | None) -> torch.device:
    """Move ``model``, by default to a GPU if there is one; to where."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).cpu()  # "meta" holds no numbers
        model.to(chosen)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ZooError(f"the device {str(device)!r} cannot be used ({reason}); try device='cpu'") from error
    return chosen


def _file_device(name: str, device: str | int | torch.device | None) -> torch.device:
    """Where the model of a file runs."""
    if device is not None and str(device) != "cpu":
        raise ZooError(f"{name} runs on the CPU, not on {str(device)!r}: leave the device out, or load the original")
    return torch.device("cpu")


@dataclass
class _Timer:
    """Milliseconds by stage, those of a GPU's work in the stage that asked for it."""

    device: torch.device
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.stages[stage] = self.stages.get(stage, 0.0) + (time.perf_counter() - started) * 1e3


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"array {list(np.shape(source))}"


def _clip(source: Any, num_frames: int) -> Clip:
    """The frames that a model sees, of a file or an array."""
    if isinstance(source, str | os.PathLike):
        return read_clip(source, num_frames)
    try:
        frames = torch.as_tensor(source)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"a video is a path or uint8 [T, H, W, 3], not {type(source).__name__}") from error
    if frames.dim() != 4 or frames.shape[3] != 3 or frames.dtype != torch.uint8 or not len(frames):
        raise InputError(f"a video is uint8 [T, H, W, 3], not {frames.dtype} of shape {list(frames.shape)}")
    indices = uniform_indices(len(frames), num_frames)
    notes = (
        (f"has {len(frames)} frames, {num_frames} are wanted: some are repeated",) if len(frames) < num_frames else ()
    )
    return Clip(frames[indices], tuple(indices), 25.0, len(frames), notes)


def _frames(path: str, clip: Clip) -> Iterator[Tensor]:
    """All frames of the video one after another, or those of the clip where it was no file."""
    if not os.path.exists(path):
        yield from clip.frames
        return
    yield from stream_video(path)


def _cloud_from_array(source: Any, wanted: tuple[str, ...]) -> tuple[PointCloud, np.ndarray]:
    """Points float [N, 3], or with the features that the model wants behind xyz, in their order; which are finite."""
    try:
        points = np.asarray(source, dtype=np.float32)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"points are a path or float [N, C], not {type(source).__name__}") from error
    widths = {feature: FEATURE_CHANNELS[feature] for feature in wanted if feature not in COMPUTED_FEATURES}
    full = 3 + sum(widths.values())
    if points.ndim != 2 or points.shape[1] not in (3, full) or not len(points):
        raise InputError(
            f"points are float [N, 3] or [N, {full}] ({', '.join(('xyz', *widths))}), not {list(points.shape)}"
        )
    finite = np.asarray(np.isfinite(points).all(axis=1))
    values: dict[str, np.ndarray] = {}
    if points.shape[1] == full:
        ends = np.cumsum([3, *widths.values()])
        values = dict(zip(widths, np.split(points, ends[:-1], axis=1)[1:], strict=True))
    colors = values.get("rgb")
    if colors is not None:
        colors = np.where(finite[:, None], colors, 0)
        colors = np.clip(colors * (1 if colors.max() > 1 else 255), 0, 255).astype(np.uint8)
    others = {name: values[name][:, 0] for name in ("intensity", "velocity", "time") if name in values}
    return PointCloud(None, points[:, :3], colors, normals=values.get("normals"), **others), finite
