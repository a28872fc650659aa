"""Frames of KITTI's object benchmark: calibration, labels, and the points of the laser as the camera sees them.

Geiger et al. 2012, "Are we ready for autonomous driving?"; formats as in the benchmark's development kit. Coordinates
are those of the rectified camera 0: x right, y down, z forward, in metres; a heading turns about y, from x towards -z.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.point_dataset import PathLike, read_table
from zoo.errors import InputError

SIZE_TEMPLATES = (  # mean length, width and height in metres (Qi et al. 2018)
    (3.88311640418, 1.62856739989, 1.52563191462),  # Car
    (5.06763659, 1.9007158, 2.20532825),  # Van
    (10.13586957, 2.58549199, 3.2520595),  # Truck
    (0.84422524, 0.66068622, 1.76255119),  # Pedestrian
    (0.80057803, 0.5983815, 1.27450867),  # Person_sitting
    (1.76282397, 0.59706367, 1.73698127),  # Cyclist
    (16.17150617, 2.53246914, 3.53079012),  # Tram
    (3.64300781, 1.54298177, 1.92320313),  # Misc
)
NUM_HEADING_BINS = 12  # of a full turn, the first about 0
TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
"""Of objects, in the order of `SIZE_TEMPLATES`."""

_TYPE_OF = {name.lower(): name for name in (*TYPES, "DontCare")}


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where things are for the laser, the rectified camera 0, and the picture of camera 2.

    Attributes:
        projection: P2, [3, 4]: camera to pixels.
        rectification: R0_rect, [3, 3].
        laser_to_camera: Tr_velo_to_cam, [3, 4].
    """

    projection: np.ndarray
    rectification: np.ndarray
    laser_to_camera: np.ndarray

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points of the laser [N, 3] to those of the rectified camera."""
        result: np.ndarray = (
            points @ self.laser_to_camera[:, :3].T + self.laser_to_camera[:, 3]
        ) @ self.rectification.T
        return result

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points of the camera [N, 3] to pixels [N, 2]; those with z <= 0 lie behind it and mean nothing."""
        projected = points @ self.projection[:, :3].T + self.projection[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            result: np.ndarray = projected[:, :2] / projected[:, 2:]
        return result

    def from_image(self, u: float, v: float, depth: float) -> np.ndarray:
        """The point [3] of the camera at ``depth`` metres that is seen at the pixel (u, v)."""
        (fu, _, cu, bu), (_, fv, cv, bv) = self.projection[:2]
        return np.array([((u - cu) * depth - bu) / fu, ((v - cv) * depth - bv) / fv, depth])


@dataclass(frozen=True, eq=False)
class Label:
    """An object of a frame.

    Attributes:
        type: of `TYPES`, "DontCare", or what else the file says.
        truncation: the share outside the picture, 0..1.
        occlusion: 0 to 3: none, partly, largely, unknown.
        alpha: the angle of observation, in radians.
        box2d: left, top, right and bottom in pixels, [4].
        size: length, width and height in metres, [3].
        bottom: the middle of the bottom of the box, [3].
        heading: of its length, about y, in radians.
        score: of a detection; 1 for what a person labelled.
    """

    type: str
    truncation: float
    occlusion: int
    alpha: float
    box2d: np.ndarray
    size: np.ndarray
    bottom: np.ndarray
    heading: float
    score: float = 1.0

    @property
    def center(self) -> np.ndarray:
        """The middle of the box, [3]."""
        return self.bottom - [0, self.size[2] / 2, 0]

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points [N, 3] lie in the box, bool [N]."""
        offset = rotate_about_y(points - self.center, self.heading)  # along length, height and width
        return np.asarray((np.abs(offset) <= self.size[[0, 2, 1]] / 2).all(axis=1))


def rotate_about_y(points: np.ndarray, angle: float) -> np.ndarray:
    """Turn points [N, 3] about y: what lies at the heading ``angle`` comes to lie along x, and headings fall by it."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def read_calibration(path: PathLike) -> Calibration:
    """Read ``calib/<frame>.txt``.

    Raises:
        InputError: the file cannot be read, or lacks a matrix.
    """
    try:
        rows = dict(line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)
        values = {name: np.array(row.split(), dtype=np.float64) for name, row in rows.items()}
        return Calibration(
            values["P2"].reshape(3, 4), values["R0_rect"].reshape(3, 3), values["Tr_velo_to_cam"].reshape(3, 4)
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is no calibration of KITTI ({error}): give one with P2, R0_rect and Tr_velo_to_cam"
        ) from error


def read_labels(path: PathLike) -> list[Label]:
    """Read ``label_2/<frame>.txt``, or detections in its format, which have a sixteenth column.

    The names of types are understood in any case.

    Raises:
        InputError: the file cannot be read, or a line has not the benchmark's columns.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): unpack the labels again") from error
    labels = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            values = np.array(words[1:], dtype=np.float64)
            truncation, occlusion, alpha, *box, height, width, length, x, y, z, heading = values[:14]
        except ValueError:
            raise InputError(
                f"{path}, line {number} has not KITTI's 15 columns: correct the line or remove it"
            ) from None
        name = _TYPE_OF.get(words[0].lower(), words[0])
        size, bottom = np.array([length, width, height]), np.array([x, y, z])
        score = float(values[14]) if len(values) > 14 else 1.0
        labels.append(Label(name, truncation, int(occlusion), alpha, np.array(box), size, bottom, heading, score))
    return labels


def read_laser(path: PathLike) -> np.ndarray:
    """Read ``velodyne/<frame>.bin``: x forward, y left, z up in metres, and the intensity in 0..1, float32 [N, 4].

    Raises:
        InputError: the file cannot be read, or is cut off.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): unpack the points again") from error
    if not data or len(data) % 16:
        raise InputError(f"{path} is cut off: it holds no whole number of points, so unpack it again")
    return np.frombuffer(data, "<f4").reshape(-1, 4)


def read_frame_ids(path: PathLike) -> list[str]:
    """The frames of ``ImageSets/train.txt``, one a line, as six digits."""
    return [f"{int(number):06d}" for number in read_table(path)[:, 0]]
