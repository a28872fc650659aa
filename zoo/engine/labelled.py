"""One's own labelled videos, clouds and scenes, where a configuration says that they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from zoo.data.point_dataset import PointFiles, PointFolder, PointScenes
from zoo.data.point_transforms import channels_of
from zoo.data.points import POINT_SUFFIXES
from zoo.data.shards import ShardSet, find_shards
from zoo.data.shards.find import classes_beside
from zoo.data.video import FRAME_SUFFIXES
from zoo.data.video_sets import Layout, VideoSet, find_videos
from zoo.data.video_sets.listing import VIDEO_SUFFIXES
from zoo.engine.config import DataConfig
from zoo.errors import InputError
from zoo.weights import COMPUTED_FEATURES, PointInput


def labelled_videos(
    data: DataConfig, location: str, part: str = "", class_names: Sequence[str] | None = None
) -> VideoSet | ShardSet:
    """The videos at ``location``, laid out as ``data`` says, or a ``part`` of them where it is named.

    Raises:
        InputError: they cannot be found.
    """
    if data.layout == "shards":
        if part:
            raise InputError(f"shards have no parts such as {part!r}: give those of each part")
        return find_shards(location, VIDEO_SUFFIXES | FRAME_SUFFIXES, class_names)
    return find_videos(location, cast(Layout, data.layout), data.videos, part or None, class_names)


def labelled_clouds(
    data: DataConfig, location: str, points: PointInput, training: bool, class_names: Sequence[str] | None = None
) -> PointFiles:
    """The clouds at ``location``, laid out as ``data`` says.

    Raises:
        InputError: they cannot be found.
    """
    in_files = [feature for feature in points.features if feature not in COMPUTED_FEATURES]
    if data.layout == "shards":
        found = find_shards(location, POINT_SUFFIXES, class_names)
        return PointFiles(found.samples, found.class_names, points.num_points, in_files, training)
    if data.layout not in ("auto", "folders"):
        raise InputError(f"data.layout {data.layout!r} is not one of clouds: they lie in folders by class or in shards")
    return PointFolder(location, points.num_points, in_files, training, class_names)


def labelled_scenes(data: DataConfig, location: str, points: PointInput, training: bool) -> PointScenes:
    """The scenes at ``location``, a file or a folder of them, with the classes of the classes.txt there.

    Raises:
        InputError: they cannot be read, have no classes, or other features.
    """
    if data.layout not in ("auto", "folders"):
        raise InputError(
            f"data.layout {data.layout!r} is not one of scenes, which are read once and kept: give their file or folder"
        )
    names = classes_beside(f"{location}/" if Path(location).is_dir() else location)
    if names is None:
        raise InputError(
            f"{location} has no classes: write their names, in the order of the labels, into a classes.txt"
        )
    scenes = PointScenes(location, names, points.num_points, training, points.parts, data.samples_per_scene)
    features = [feature for feature in points.features if feature not in COMPUTED_FEATURES]
    columns = {cloud.shape[1] for cloud, _ in scenes.scenes}
    if columns != {channels_of(features)}:
        raise InputError(
            f"{location} has points of {', '.join(map(str, sorted(columns)))} columns, but xyz and data.features "
            f"{features} are {channels_of(features)}: name the features that follow xyz"
        )
    return scenes
