"""The points of a cloud with the features that a model sees beside their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.data.ground import height_above_ground
from zoo.data.points import PointCloud
from zoo.errors import InputError
from zoo.weights import COMPUTED_FEATURES, FEATURE_CHANNELS

LARGEST = 1e18  # the square of a larger number is beyond float32


def usable_features(
    cloud: PointCloud, finite: np.ndarray, wanted: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The usable points with the features that the model wants.

    Args:
        cloud: N points.
        finite: which of them may be used, bool [N].
        wanted: features in their order behind xyz; zeros stand in for one that the cloud has not.

    Returns:
        Float32 [n, C]; which points they are, bool [N]; remarks for the user.

    Raises:
        InputError: no point is usable.
    """
    notes = []
    columns = {"xyz": cloud.points}
    for feature in wanted:
        if feature not in COMPUTED_FEATURES:
            values = cloud.feature(feature)
            if values is None:
                notes.append(f"has no {feature}, which the model was trained with: zeros stand in")
                values = np.zeros((len(finite), FEATURE_CHANNELS[feature]), np.float32)
            columns[feature] = values
    usable = finite & np.all([(np.abs(values) < LARGEST).all(axis=1) for values in columns.values()], axis=0)
    if not usable.any():
        raise InputError("none of the points is finite: pass points with numbers")
    if not usable.all():
        notes.append(f"{(~usable).sum()} of {len(usable)} points are not finite and get the label -1")
    columns = {name: values[usable] for name, values in columns.items()}
    if "ground_heights" in wanted:  # the other computed feature is the transform's
        columns["ground_heights"] = height_above_ground(columns["xyz"])
    order = ["xyz", *(feature for feature in wanted if feature in columns)]
    return np.concatenate([columns[name] for name in order], axis=1), usable, tuple(notes)
