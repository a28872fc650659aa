"""What a model is measured on: the part of a data set that it never saw, as the protocols take it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from zoo.data import fights, fingertip, isprs, radhar, s3dis, shapenet_part, tabletop
from zoo.data.bad_files import BadFile, BadFiles, GuardedDataset
from zoo.data.point_transforms import PointTransform
from zoo.data.sampling import eval_clips
from zoo.data.scene_parts import scene_parts
from zoo.data.shards import as_file
from zoo.data.video import Decoder
from zoo.data.video_views import VideoViews, read_views, video_views
from zoo.engine import distributed
from zoo.engine.config import DataConfig, ValidateConfig
from zoo.engine.data import fold_parts, named, objects_of, track_renderer
from zoo.engine.journal import progress
from zoo.engine.labelled import labelled_clouds, labelled_scenes, labelled_videos
from zoo.engine.measured_keys import LOOKED_AT, refuse_unused
from zoo.engine.protocols import Cloud
from zoo.errors import InputError
from zoo.registry import architecture_task
from zoo.weights import PointInput, VideoInput, WeightsSpec

DRAWING_SEED = 1  # of tracks that are measured on; in training they are drawn with others

log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Measured:
    """A part of a data set.

    Attributes:
        samples: as ``zoo.engine.protocols.evaluate`` takes them; of several processes, the share of this one.
        name: what the whole part is, for the results.
        protocol: what is looked at of a sample, for the results.
        settings: further arguments of ``evaluate``.
        bad_files: those among the samples, as far as they were taken. The first process judges whether they are too
            many, of its share at once and of the others' in the end, and with ``config.out`` lists them.
        left_out: what this process met of them.
    """

    samples: Iterable[Any]
    name: str
    protocol: str
    settings: dict[str, Any]
    bad_files: BadFiles
    left_out: list[BadFile]

    def count_left_out(self) -> int:
        """How many samples all processes left out, once all have taken theirs.

        Raises:
            InputError: in the first process, they are too many.
        """
        left_out = distributed.gather(self.left_out)
        self.bad_files.add(left_out)
        return len(left_out)


def open_measured(config: ValidateConfig, spec: WeightsSpec) -> Measured:
    """The part of ``config.data`` to measure a model on.

    Args:
        config: the measurement.
        spec: of the model.

    Raises:
        InputError: the data cannot be read, do not suit the model, or a key of the configuration has no effect.
    """
    data = named(config.data, spec.architecture)
    config = dataclasses.replace(config, data=data)
    if data.name not in _OPENERS:
        raise InputError(f"nothing is measured on data.name {data.name!r}: take one of {', '.join(_OPENERS)}")
    task = architecture_task(spec.architecture)
    refuse_unused(config, task)
    if data.num_points and isinstance(spec.input, PointInput):
        spec = dataclasses.replace(spec, input=dataclasses.replace(spec.input, num_points=data.num_points))
    measured = _share(_OPENERS[data.name](config, spec), config)
    by_point = task in ("semantic_segmentation", "part_segmentation")
    settings: dict[str, Any] = {"batch_size": config.batch_size, **measured.settings}
    if not by_point:
        return dataclasses.replace(measured, settings=settings)
    protocol = f"every point, {config.votes} vote{'s'[: config.votes != 1]}"
    settings |= {"num_votes": config.votes, "points_per_pass": _num_points(spec)}
    return dataclasses.replace(measured, protocol=protocol, settings=settings)


@dataclass(frozen=True)
class _Part:
    """As `Measured`, but whole: every sample by its number."""

    samples: Dataset[Any]
    name: str
    protocol: str = "one view"
    settings: dict[str, Any] = field(default_factory=dict)


class _Made(Dataset[Any]):
    """``count`` samples, each made by its number when it is taken."""

    def __init__(self, count: int, make: Callable[[int], Any]):
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def _share(part: _Part, config: ValidateConfig) -> Measured:
    """What this process looks at: every sample of ``part`` is in the share of one process."""
    share = slice(distributed.rank(), None, distributed.world_size())
    settings = dict(part.settings)
    if "groups" in settings:
        settings["groups"] = settings["groups"][share]
    count, left_out = len(part.samples), list[BadFile]()  # type: ignore[arg-type]
    bad_files = BadFiles(None, count, limit=1)
    if distributed.rank() == 0:
        listed = Path(config.out).with_suffix(".bad_files.txt") if config.out else None
        if listed:
            listed.unlink(missing_ok=True)  # of a measurement before
        bad_files = BadFiles(listed, count)
    numbers = range(count)[share]
    read = _read(part.samples, numbers, config.data, bad_files, left_out)
    samples = progress(read, len(numbers), speaks=distributed.rank() == 0)
    return Measured(samples, part.name, part.protocol, settings, bad_files, left_out)


def _read(
    samples: Any, numbers: range, data: DataConfig, bad_files: BadFiles, left_out: list[BadFile]
) -> Iterator[Any]:
    """The samples ``numbers``, read by ``data.workers`` processes; a bad file is skipped only if that is wanted.

    Raises:
        InputError: a file is bad, and that is not wanted, or too many are.
    """
    path_of = getattr(samples, "path_of", "sample {}".format)
    guarded = GuardedDataset(samples, "skip", path_of, data.timeout or None)
    for sample, bad in DataLoader(guarded, batch_size=None, sampler=numbers, num_workers=data.workers):
        for file in bad:
            if data.bad_files == "raise":
                without = " (data.bad_files 'skip' goes on without it)" if "bad_files" in LOOKED_AT[data.name] else ""
                raise InputError(f"{file.path} cannot be read: {file.reason}{without}")
            log.warning("%s is left out: %s", file.path, file.reason)
        left_out += bad
        bad_files.add(bad)
        if sample is not None:
            yield sample


class _Views(Dataset[Any]):
    """Videos as (views uint8 [V, T, C, S, S], label)."""

    def __init__(self, samples: list[tuple[Any, int]], views: VideoViews, num_frames: int, decoder: Decoder):
        self.samples, self.views, self.num_frames, self.decoder = samples, views, num_frames, decoder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        views = self.views

        def choose(num_video_frames: int) -> list[list[int]]:
            return eval_clips(num_video_frames, self.num_frames, views.sampling, views.num_clips)

        with as_file(path) as file:
            return read_views(file, choose, views, self.decoder), label

    def path_of(self, index: int) -> str:
        return str(self.samples[index][0])


def _videos(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    if not config.data.val:
        raise InputError("data.val is missing: give the folder or list of the videos to measure on")
    found = labelled_videos(config.data, config.data.val, config.data.val_part, spec.class_names or None)
    whole = ", ".join(filter(None, (config.data.val, config.data.val_part)))
    return _of_videos(config, spec, list(found.samples), f"{len(found.samples)} videos of {whole}")


def _fights(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    data = config.data
    _, val, test = fights.clips_of(fights.read_clips(data.path), data.fold, data.hold_out_val)
    clips = _held_out(config, val, test)
    sources = sorted({clip.source for clip in clips})
    name = f"fights, fold {data.fold}, {len(clips)} {config.split} clips of {len(sources)} sources"
    part = _of_videos(config, spec, [(clip.path, clip.label) for clip in clips], name)
    groups = [sources.index(clip.source) for clip in clips]
    return dataclasses.replace(part, settings=part.settings | {"groups": groups})


def _of_videos(config: ValidateConfig, spec: WeightsSpec, samples: list[Any], name: str) -> _Part:
    assert isinstance(spec.input, VideoInput)
    views, num_frames = video_views(config.protocol, spec.input), config.data.num_frames or spec.input.num_frames
    dataset = _Views(samples, views, num_frames, config.data.decoder)
    settings = {"views": {**views.to_json(), "num_frames": num_frames}}
    return _Part(dataset, name, views.name, settings)


def _fingertip(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    renderer = track_renderer(config.data)
    tracks = fingertip.FingertipDataset(config.data.path, cast(Any, config.split), renderer, seed=DRAWING_SEED)
    drawing = f"drawn as {' or '.join(renderer.styles)}, {renderer.scale[0]:g} to {renderer.scale[1]:g} times its scale"
    name = f"fingertip, {len(tracks)} {config.split} tracks {drawing}, {renderer.size} pixels"
    return _Part(tracks, name, settings={"views": vars(renderer)})


def _clouds(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    if not config.data.val:
        raise InputError("data.val is missing: give the folder of the clouds to measure on")
    assert isinstance(spec.input, PointInput)
    clouds = labelled_clouds(config.data, config.data.val, spec.input, False, spec.class_names or None)
    return _Part(clouds, f"{len(clouds)} clouds of {config.data.val}")


def _scenes(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    if not config.data.val:
        raise InputError("data.val is missing: give the file or folder of the scenes to measure on")
    assert isinstance(spec.input, PointInput)
    found = labelled_scenes(config.data, config.data.val, spec.input, training=True)  # whole, not in parts
    if spec.class_names and found.class_names != spec.class_names:
        raise InputError(f"the classes beside {config.data.val} are not the model's, {', '.join(spec.class_names)}")
    clouds = _Made(len(found.scenes), lambda scene: _divided(*found.scenes[scene], spec))
    return _Part(clouds, f"{len(found.scenes)} scenes of {config.data.val}", settings={"merge": "mean"})


def _objects(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    objects = objects_of(config.data, config.split, _num_points(spec))
    return _Part(objects, f"{config.data.name}, {len(objects)} {config.split} objects")


def _radhar(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    windows = radhar.RadharDataset(config.data.path, config.split, _num_points(spec))
    samples = _Made(len(windows), lambda window: _cloud_views(*windows.whole(window), spec))
    name = f"radhar, {len(windows)} windows of {len(windows.recordings)} {config.split} recordings"
    groups = [recording for recording, _ in windows.windows]
    return _Part(samples, name, "every point once", settings={"groups": groups})


def _tabletop(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    scenes = tabletop.read_scenes(config.data.path, config.split)
    clouds = _Made(len(scenes), lambda scene: _divided(*scenes[scene], spec))
    return _Part(clouds, f"mOSD tabletop, {len(scenes)} {config.split} scenes", settings={"merge": "mean"})


def _isprs(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    _, val, test = fold_parts(config.data, isprs.SITES)
    sites = _held_out(config, val, test)
    scenes = [scene for scene in isprs.read_scenes(config.data.path) if scene.site in sites]

    def cloud(index: int) -> Cloud:
        return _divided(isprs.scene_features(scenes[index].points), scenes[index].labels, spec)

    return _Part(
        _Made(len(scenes), cloud), f"ISPRS, {len(scenes)} scenes of {', '.join(sites)}", settings={"merge": "mean"}
    )


def _shapenet_part(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    shapes = shapenet_part.ShapeNetPart(config.data.path, config.split, _num_points(spec), normalize=False)

    def cloud(index: int) -> Cloud:
        points, category, labels = shapes.shape(index)
        return Cloud(points, labels, category)

    return _Part(_Made(len(shapes), cloud), f"ShapeNet Part, {len(shapes)} {config.split} shapes")


def _s3dis(config: ValidateConfig, spec: WeightsSpec) -> _Part:
    _, val, test = fold_parts(config.data, s3dis.AREAS)
    areas = _held_out(config, val, test)
    rooms = s3dis.S3dis(config.data.path, areas, False, _num_points(spec))

    def cloud(room: int) -> Cloud:
        xyz, blocks = rooms.room_blocks(room)
        return Cloud(xyz, rooms.room_labels(room), blocks=blocks)

    name = f"S3DIS, {len(rooms.rooms)} rooms of area {', '.join(map(str, areas))}"
    complete = PointTransform("none", "none")  # blocks have all nine channels
    return _Part(_Made(len(rooms.rooms), cloud), name, settings={"transform": complete})


_OPENERS: dict[str, Callable[[ValidateConfig, WeightsSpec], _Part]] = {
    "videos": _videos,
    "fights": _fights,
    "fingertip": _fingertip,
    "clouds": _clouds,
    "scenes": _scenes,
    "modelnet40": _objects,
    "scanobjectnn": _objects,
    "radhar": _radhar,
    "tabletop": _tabletop,
    "isprs": _isprs,
    "shapenet_part": _shapenet_part,
    "s3dis": _s3dis,
}


def _held_out(config: ValidateConfig, val: list[Any], test: list[Any]) -> list[Any]:
    """What the fold of ``config.data`` holds out for ``config.split``.

    Raises:
        InputError: it holds out nothing.
    """
    chosen = val if config.split == "val" else test
    if not chosen:
        why = "data.hold_out_val is false" if config.split == "val" else f"data.fold is {config.data.fold}"
        raise InputError(f"{why}, so there is nothing to measure on: give what the model was trained with")
    return chosen


def _divided(points: np.ndarray, labels: np.ndarray, spec: WeightsSpec) -> Cloud:
    """A scene in the parts in which `zoo.load` looks at it."""
    assert isinstance(spec.input, PointInput)
    parts = scene_parts(points, spec.input.parts, spec.input.num_points)
    return Cloud(points, labels, blocks=[(part, points[part]) for part in parts])


def _cloud_views(points: np.ndarray, label: int, spec: WeightsSpec) -> tuple[np.ndarray, int]:
    """A cloud with one label in the parts in which `zoo.load` looks at it, [V, M, C]."""
    assert isinstance(spec.input, PointInput)
    return points[np.stack(scene_parts(points, spec.input.parts, spec.input.num_points))], label


def _num_points(spec: WeightsSpec) -> int:
    return cast(int, spec.input.num_points)  # type: ignore[union-attr]
