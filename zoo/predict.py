"""A loaded model with its preprocessing and class names: a file in, labels out."""

from __future__ import annotations

import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.create import create_model, create_transform
from zoo.data.point_transforms import scene_extent, split_for_inference
from zoo.data.points import PointCloud, color_labels, read_points, write_ply
from zoo.data.sampling import uniform_indices
from zoo.data.video import Clip, read_clip, stream_video
from zoo.data.video_writer import write_annotated_video
from zoo.errors import InputError, ZooError
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput, WeightsSpec

Path = str | os.PathLike[str]
CHUNKS_AT_ONCE = 8  # parts of a cloud that go through the network together
SHAPENET_CATEGORIES = (
    *("Airplane", "Bag", "Cap", "Car", "Chair", "Earphone", "Guitar", "Knife"),
    *("Lamp", "Laptop", "Motorbike", "Mug", "Pistol", "Rocket", "Skateboard", "Table"),
)


@dataclass(frozen=True)
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

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The ``k`` likeliest labels with their probabilities, best first."""
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
        model: in evaluation mode.
        spec: what is known about its weights.
        class_names: in the order of the logits.
    """

    def __init__(self, model: nn.Module, spec: WeightsSpec, device: torch.device):
        self.model = model.eval()
        self.spec = spec
        self.device = device
        self.class_names = spec.class_names or tuple(str(index) for index in range(spec.num_classes))
        self.transform: Any = create_transform(model)

    def __call__(self, source: Any, **arguments: Any) -> Any:
        """Predict one input, or a list of paths.

        Args:
            source: a path (a file, a folder of frames), a list of paths, video uint8 [T, H, W, 3] RGB, or points float
                [N, C] with xyz first.
            **arguments: ``category=`` for part models, a ShapeNet category or its index.

        Returns:
            A ``Prediction``, or a list of them.

        Raises:
            InputError: the input cannot be read or does not fit the model.
        """
        if isinstance(source, list | tuple) and all(isinstance(item, str | os.PathLike) for item in source):
            return [self(item, **arguments) for item in source]
        with torch.inference_mode():
            prediction = self._predict(source, **arguments)
        if prediction.warnings:
            warnings.warn(f"{prediction.input}: {'; '.join(prediction.warnings)}", stacklevel=2)
        return prediction

    @abstractmethod
    def _predict(self, source: Any, **arguments: Any) -> Prediction: ...


class VideoPredictor(Predictor):
    """A video model with its preprocessing and class names."""

    def _predict(self, source: Any) -> VideoPrediction:  # type: ignore[override]
        assert isinstance(self.spec.input, VideoInput)
        timer = _Timer()
        with timer("decode"):
            clip = _clip(source, self.spec.input.num_frames)
        with timer("preprocess"):
            batch = self.transform(clip.frames.permute(0, 3, 1, 2))[None].to(self.device)
        with timer("model"):
            scores = self.model(batch).float().softmax(1)[0].cpu()
        return VideoPrediction(
            self.spec.name, _name(source), self.class_names, scores, timer.stages, clip.warnings, clip
        )


class PointPredictor(Predictor):
    """A point model with its preprocessing and class names."""

    def _predict(self, source: Any, category: int | str | None = None) -> PointPrediction:  # type: ignore[override]
        task = architecture_task(self.spec.architecture)
        if task == "object_detection":
            raise ZooError(f"{self.spec.name} finds boxes: call its module with points [B, 4, N] and class ids [B]")
        extra = () if task != "part_segmentation" else (self._category_id(category),)
        assert isinstance(self.spec.input, PointInput)
        timer = _Timer()
        with timer("read"):
            wanted = self.spec.input.features
            is_file = isinstance(source, str | os.PathLike)
            cloud = read_points(source) if is_file else _cloud_from_array(source, wanted)
            points, notes = _features(cloud, wanted)
        with timer("preprocess"):
            extent = scene_extent(points)
            chunks = split_for_inference(len(points), self.spec.input.num_points, np.random.default_rng(0))
            inputs = [self.transform(points[chunk], extent=extent) for chunk in chunks]
        with timer("model"):
            outputs = [
                self._probabilities(torch.stack(inputs[start : start + CHUNKS_AT_ONCE]), extra)
                for start in range(0, len(inputs), CHUNKS_AT_ONCE)
            ]
            probabilities = torch.cat(outputs)
        with timer("postprocess"):
            labels = torch.full((len(cloud.points),), -1)
            kept = torch.from_numpy(np.flatnonzero(cloud.finite))
            if probabilities.dim() == 2:
                scores = probabilities.mean(0)
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

    def _probabilities(self, inputs: Tensor, extra: Sequence[int]) -> Tensor:
        ids = [torch.full((len(inputs),), value, device=self.device) for value in extra]
        return self.model(inputs.to(self.device), *ids).float().softmax(1).cpu()

    def _category_id(self, category: int | str | None) -> int:
        if category in SHAPENET_CATEGORIES:
            return SHAPENET_CATEGORIES.index(str(category))
        if isinstance(category, int) and 0 <= category < len(SHAPENET_CATEGORIES):
            return category
        raise InputError(f"{self.spec.name} needs category=, one of {', '.join(SHAPENET_CATEGORIES)}; not {category!r}")


def load(name: str, device: str | torch.device | None = None) -> Predictor:
    """Load a pretrained model by name, ready for files.

    Args:
        name: "arch.tag", "arch" for its first tag, or "local-dir:PATH".
        device: where it runs; by default on a GPU if there is one.

    Returns:
        A function from a file to a ``Prediction``.

    Raises:
        UnknownNameError: nothing bears the name, or it has no weights.
        CheckpointError: the weights are damaged.
    """
    model: Any = create_model(name, pretrained=True)
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model.to(chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"the device {str(device)!r} cannot be used ({reason}); try device='cpu'") from error
    predictor = VideoPredictor if isinstance(model.spec.input, VideoInput) else PointPredictor
    return predictor(model, model.spec, chosen)


@dataclass
class _Timer:
    """Milliseconds by stage."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.stages[stage] = (time.perf_counter() - started) * 1e3


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"array {list(np.shape(source))}"


def _clip(source: Any, num_frames: int) -> Clip:
    """The frames that a model sees, of a file or an array."""
    if isinstance(source, str | os.PathLike):
        return read_clip(source, num_frames)
    frames = torch.as_tensor(source)
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


def _cloud_from_array(source: Any, wanted: tuple[str, ...]) -> PointCloud:
    """Points float [N, 3], or with the features that the model wants behind xyz, in their order."""
    points = np.asarray(source, dtype=np.float32)
    widths = {feature: 1 if feature == "intensity" else 3 for feature in wanted if feature != "normalized_xyz"}
    full = 3 + sum(widths.values())
    if points.ndim != 2 or points.shape[1] not in (3, full) or not len(points):
        raise InputError(
            f"points are float [N, 3] or [N, {full}] ({', '.join(('xyz', *widths))}), not {list(points.shape)}"
        )
    values: dict[str, np.ndarray] = {}
    if points.shape[1] == full:
        ends = np.cumsum([3, *widths.values()])
        values = dict(zip(widths, np.split(points, ends[:-1], axis=1)[1:], strict=True))
    colors = values.get("rgb")
    if colors is not None:
        colors = np.nan_to_num(colors)
        colors = np.clip(colors * (1 if colors.max() > 1 else 255), 0, 255).astype(np.uint8)
    intensity = values["intensity"][:, 0] if "intensity" in values else None
    return PointCloud(None, points[:, :3], colors, intensity, values.get("normals"))


def _features(cloud: PointCloud, wanted: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The finite points with the features that the model wants, float32 [N, C], and what is unusual about them."""
    finite = cloud.finite
    if not finite.any():
        raise InputError("none of the points is finite: pass points with numbers")
    notes = []
    if not finite.all():
        notes.append(f"{(~finite).sum()} of {len(finite)} points are not finite and get the label -1")
    columns = [cloud.points[finite]]
    sources = {"rgb": cloud.colors, "normals": cloud.normals, "intensity": cloud.intensity}
    for feature in wanted:
        if feature == "normalized_xyz":
            continue  # the transform computes it
        values = sources[feature]
        if values is None:
            notes.append(f"has no {feature}, which the model was trained with: zeros stand in")
            values = np.zeros((len(finite), 1 if feature == "intensity" else 3), np.float32)
        values = values[finite].reshape(finite.sum(), -1).astype(np.float32)
        columns.append(values / 255 if feature == "rgb" else values)
    return np.concatenate(columns, axis=1), tuple(notes)
