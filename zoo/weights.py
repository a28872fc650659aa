"""What belongs to pretrained weights: where they lie, their hash, licence, classes, preprocessing and metrics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zoo.errors import CheckpointError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PointFeature = Literal["rgb", "normals", "intensity", "velocity", "time", "normalized_xyz", "ground_heights"]
FEATURE_CHANNELS: dict[str, int] = {
    **{"rgb": 3, "normals": 3, "intensity": 1, "velocity": 1, "time": 1, "normalized_xyz": 3, "ground_heights": 5}
}
COMPUTED_FEATURES = ("normalized_xyz", "ground_heights")
"""Of a point, those that follow from the coordinates of its scene; the others have to be in the file."""

# A description may come from anyone: what is larger than this is an attack on the memory, or a mistake.
LIMITS: dict[str, float] = {
    **{"num_classes": 2**15, "num_frames": 2**10, "resize_size": 2**12, "crop_size": 2**12, "num_points": 2**20},
    **{"width_multiplier": 4, "voxel_resolution_multiplier": 4},
}
MAX_NUMBER = 2**50
MAX_ARGUMENT = 2**12
MAX_ITEMS = 2**15
MAX_TEXT = 2**14


@dataclass(frozen=True)
class VideoInput:
    """How a video becomes the input [T, 3, crop_size, crop_size] of a model.

    Attributes:
        num_frames: how many frames are sampled, uniformly over the video.
        resize_size: to what the short side is scaled before a centre crop, in pixels.
        crop_size: side of the input, in pixels.
        crop_mode: "center", or "squash" to scale the whole frame to the input's square, cutting nothing off.
        mean: of the channels, in 0..1.
        std: of the channels, in 0..1.
        frame_differences: show every frame's difference from the one before, scaled for each clip to about -1..1,
            instead of the frame less ``mean`` over ``std``; for cameras that stand still themselves.
    """

    num_frames: int = 8
    resize_size: int = 256
    crop_size: int = 224
    crop_mode: Literal["center", "squash"] = "center"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    frame_differences: bool = False


@dataclass(frozen=True)
class PointInput:
    """How a cloud becomes the input [C, num_points] of a model.

    Attributes:
        num_points: how many points the model sees at once; every point of a larger cloud gets its turn.
        features: what follows xyz, in this order: "rgb" (in 0..1), "normals", "intensity", "velocity" and "time" as the
            file has them, "ground_heights" (see ``zoo.data.ground``), and last "normalized_xyz" (in the scene, 0..1).
        center: "mean" moves the mean of the points to the origin, "floor" counts x and y from half a block beyond the
            least ones and z from the least of the scene, "none" leaves them.
        scale: "unit_sphere" divides by the largest distance from the origin, "none" leaves the unit, metres.
        parts: how a scene of more points is divided: "random" gives every part some points of all the scene, "tiles"
            and "blocks" what lies together on the map, see ``zoo.data.scene_parts``.
        mean: what is subtracted from each channel of the features, "normalized_xyz" apart; nothing by default.
        std: by what they are divided then.
    """

    num_points: int = 4096
    features: tuple[PointFeature, ...] = ()
    center: Literal["mean", "floor", "none"] = "mean"
    scale: Literal["unit_sphere", "none"] = "unit_sphere"
    parts: Literal["random", "tiles", "blocks"] = "random"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def channels_of(features: Iterable[str]) -> int:
    """How many channels xyz and ``features`` are together."""
    return 3 + sum(FEATURE_CHANNELS[feature] for feature in features)


@dataclass(frozen=True)
class Metric:
    """A measured or reported figure, with what it was measured on and how.

    Attributes:
        name: for example "top-1 accuracy" or "mean IoU".
        value: between 0 and 1, or as the source reports it.
        dataset: and its part.
        protocol: views, votes, what was averaged.
        source: the command that measured it, or where it is reported.
        interval: of 95 % confidence, lower and upper end, where one was measured.
    """

    name: str
    value: float
    dataset: str
    protocol: str
    source: str
    interval: tuple[float, ...] = ()


@dataclass(frozen=True)
class WeightsSpec:
    """Pretrained weights of one architecture, with all that is needed to use them on a file.

    Attributes:
        architecture: a registered name.
        tag: what they were trained on.
        num_classes: of the classifier.
        model_args: further arguments of the architecture.
        class_names: in the order of the logits.
        input: the preprocessing.
        file: the name of the safetensors file, beside the description.
        sha256: of the file.
        size: of the file, in bytes.
        licence: an SPDX identifier or "other".
        origin: how and on what they were trained, and from where the data came.
        metrics: measured or reported figures.
    """

    architecture: str
    tag: str
    num_classes: int
    input: VideoInput | PointInput
    class_names: tuple[str, ...] = ()
    model_args: dict[str, Any] = field(default_factory=dict)
    file: str = "model.safetensors"
    sha256: str = ""
    size: int = 0
    licence: str = ""
    origin: str = ""
    metrics: tuple[Metric, ...] = ()

    @property
    def name(self) -> str:
        """``arch.tag``, or the architecture alone where the weights bear no tag."""
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture

    def for_other_weights(self) -> WeightsSpec:
        """What stays true when the weights change: not the tag, the hash, the origin and the figures."""
        return dataclasses.replace(self, tag="", sha256="", size=0, origin="", metrics=())

    def with_classes(self, num_classes: int) -> WeightsSpec:
        """The same for so many classes; their names are dropped where there are not as many."""
        names = self.class_names if len(self.class_names) == num_classes else ()
        return dataclasses.replace(self, num_classes=num_classes, class_names=names)

    def to_json(self) -> dict[str, Any]:
        """Plain containers that ``from_json`` reads back."""
        kind = "video" if isinstance(self.input, VideoInput) else "points"
        return dataclasses.asdict(self) | {
            "input": {"kind": kind, **dataclasses.asdict(self.input)},
            "model_args": plain_arguments(self.model_args),
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any], where: str) -> WeightsSpec:
        """Read one description.

        Args:
            entry: what ``to_json`` gave, after a round through a file.
            where: the file, for the error.

        Raises:
            CheckpointError: a field is missing, unknown, of the wrong type or larger than any model needs.
        """
        try:
            inputs = dict(entry["input"])
            kind = {"video": VideoInput, "points": PointInput}[inputs.pop("kind")]
            metrics = [_build(Metric, metric) for metric in entry.get("metrics", ())]
            spec: WeightsSpec = _build(cls, entry | {"input": _build(kind, inputs), "metrics": metrics})
            if not re.fullmatch(r"[\w.-]+\.safetensors", spec.file):
                raise ValueError(f"{spec.file!r} is not the plain name of a safetensors file")
            if plain_arguments(spec.model_args) != spec.model_args:
                raise ValueError("model_args hold what is no business of a description")
            for name, value in spec.model_args.items():
                if not _is_argument(value, LIMITS.get(name, MAX_ARGUMENT)):
                    raise ValueError(f"the argument {name} cannot be {_shown(value)}")
            if len(spec.class_names) not in (0, spec.num_classes):
                raise ValueError(f"{len(spec.class_names)} names are given for {spec.num_classes} classes")
            return spec
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{where}: not a description of weights ({error}); export it again") from error


def plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an architecture that a description keeps, tensors as lists.

    Left out are the classes, for which it has a place of its own, and what only says where training began.
    """
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in arguments.items()
        if name not in ("num_classes", "pretrained_backbone")
    }


def _build(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass ``kind`` of values from JSON, each of the type that the field has and no number out of bounds."""
    result = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    for name, hint in get_type_hints(kind).items():
        value = getattr(result, name)
        if not _is(value, hint) or (hint is int and not 0 <= value <= LIMITS.get(name, MAX_NUMBER)):
            raise TypeError(f"{name} cannot be {_shown(value)}")
    return result


def _is(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``; a whole number is a float too, a truth value is no number."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is UnionType:
        return any(_is(value, each) for each in inner)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) <= MAX_ITEMS and all(_is(item, inner[0]) for item in value)
    if hint is str:  # printed on terminals and in model cards
        return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable()
    if hint in (int, float):
        return type(value) in (int, hint) and abs(value) <= MAX_NUMBER  # which NaN is not
    return isinstance(value, origin or hint)


def _is_argument(value: Any, limit: float, depth: int = 2) -> bool:
    """Whether ``value`` may be an argument of a model: a number, a plain name (no address, no path), lists of them."""
    if isinstance(value, list):
        return depth > 0 and len(value) <= MAX_ARGUMENT and all(_is_argument(item, limit, depth - 1) for item in value)
    if isinstance(value, str):
        return re.fullmatch(r"[\w.-]{1,64}", value) is not None
    return value is None or (isinstance(value, bool | int | float) and abs(value) <= limit)


def _shown(value: Any) -> str:
    """The beginning of ``value``, for an error."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def read_index(path: Path) -> list[WeightsSpec]:
    """The weights that the JSON list at ``path`` describes.

    Raises:
        CheckpointError: the file is not such a list.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); restore the file") from error
    if not isinstance(entries, list):
        raise CheckpointError(f"{path}: is not a list of descriptions; restore the file")
    return [WeightsSpec.from_json(entry, str(path)) for entry in entries]


def verify(path: Path, spec: WeightsSpec) -> None:
    """Refuse a weights file that is not the one described.

    Raises:
        CheckpointError: the file is missing, or its size or hash is another.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: the weights of {spec.name} are missing; restore the file")
    if path.stat().st_size != spec.size or file_sha256(path) != spec.sha256:
        raise CheckpointError(f"{path}: this is not the file described for {spec.name} (sha256 differs); get it again")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
