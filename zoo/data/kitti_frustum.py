"""Frustums of KITTI: the points behind a box in the picture, turned to the front (Qi et al. 2018, Frustum PointNets).

https://arxiv.org/abs/1711.08488; the same preparation and targets as PVCNN's (Liu et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.kitti import (
    NUM_HEADING_BINS,
    SIZE_TEMPLATES,
    TYPES,
    Calibration,
    Label,
    read_calibration,
    read_labels,
    read_laser,
    rotate_about_y,
)
from zoo.data.point_dataset import PathLike, sample_generator
from zoo.errors import InputError
from zoo.weights import PointInput

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")
INPUT = PointInput(1024, ("intensity",), "none", "none")
MIN_BOX_HEIGHT = 25  # pixels; the benchmark counts no smaller ones
MIN_POINTS = 5  # of a detection
MIN_DISTANCE = 2.0  # metres; nearer points are the car that carries the laser
BOX_SHIFT = 0.1  # of the box's size: what a detector errs by
FRONT_DEPTH = 20.0  # metres; where the middle of a frustum is taken

Sample = tuple[tuple[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Frustum:
    """A box in the picture and what is known of it.

    Attributes:
        frame: six digits.
        class_id: an index into `CLASS_NAMES`.
        box2d: left, top, right, bottom in pixels, [4].
        label: the object; None for a detection.
        score: of a detection.
    """

    frame: str
    class_id: int
    box2d: np.ndarray
    label: Label | None
    score: float = 1.0


class KittiFrustums(Dataset[Sample]):
    """Samples ((points float [num_points, 4], class id int64 []), target): a frustum network is called with both.

    Points are x right, y down, z forward in metres and the intensity, turned about y so that the middle of the frustum
    lies straight ahead; they are complete, and a transform must leave xyz as it is. The target has, under the authors'
    names, ``mask_logits`` int64 [num_points] (1 on the object), ``center`` float [3] of the box, ``heading_bin_id``
    int64 [], ``heading_residual`` float [] in radians, ``size_template_id`` int64 [] (of `SIZE_TEMPLATES`),
    ``size_residual`` float [3] in metres, and ``rotation_angle`` float [], by which headings fell. For detections it
    has ``rotation_angle`` and ``score`` alone. ``rotate_about_y(center, -rotation_angle)`` leads back to the camera.

    Args:
        root: the folder with calib, velodyne and label_2, such as ``object/training``; image_2, where it is there, says
            where pictures end.
        training: draw points anew every time, move and resize the box by up to 10 %, mirror, and shift along z. The
            authors move and resize every box five times beforehand: one epoch of theirs is five of ours.
        num_points: of a sample, drawn with repetition as the authors do.
        frames: their numbers of six digits, see ``read_frame_ids``; by default all that have labels.
        detections: a folder of boxes in the format of labels with scores, instead of the labelled boxes.

    Attributes:
        class_names: car, pedestrian and cyclist.
        frustums: of every sample. Boxes lower than 25 pixels are left out, and so are objects without a point and
            detections of fewer than five.

    Raises:
        InputError: a file of a frame is missing or damaged, or nothing is left.
    """

    class_names = CLASS_NAMES

    def __init__(
        self,
        root: PathLike,
        training: bool = True,
        num_points: int = 1024,
        frames: Sequence[str] | None = None,
        detections: PathLike | None = None,
    ):
        self.root, self.training, self.num_points = Path(root), training, num_points
        folder = self.root / "label_2" if detections is None else Path(detections)
        frames = sorted(path.stem for path in folder.glob("*.txt")) if frames is None else frames
        self.frustums: list[Frustum] = []
        for frame in frames:
            labels = [label for label in read_labels(folder / f"{frame}.txt") if _counts(label)]
            if labels:
                points, pixels = self._visible(frame)
            for label in labels:
                inside = points[_inside(pixels, label.box2d)]
                truth = label if detections is None else None
                if truth.contains(inside[:, :3]).any() if truth else len(inside) >= MIN_POINTS:
                    class_id = CLASS_NAMES.index(label.type)
                    self.frustums.append(Frustum(frame, class_id, label.box2d, truth, label.score))
        if not self.frustums:
            raise InputError(f"{folder} has no box of {', '.join(CLASS_NAMES)} with points in it: give KITTI's labels")

    def __len__(self) -> int:
        return len(self.frustums)

    def __getitem__(self, index: int) -> Sample:
        frustum = self.frustums[index]
        rng = sample_generator(self.training, index)
        points, pixels = self._visible(frustum.frame)
        box = _shift(frustum.box2d, rng) if self.training else frustum.box2d
        if not _inside(pixels, box).any():
            box = frustum.box2d
        points = points[_inside(pixels, box)]
        points = points[rng.choice(len(points), self.num_points, replace=True)]
        angle = self._angle(frustum.frame, box)
        turned = np.concatenate([rotate_about_y(points[:, :3], angle), points[:, 3:]], axis=1)
        if frustum.label is None:
            target = {"rotation_angle": torch.tensor(angle).float(), "score": torch.tensor(frustum.score).float()}
        else:
            center = rotate_about_y(frustum.label.center[None], angle)[0]
            heading = frustum.label.heading - angle
            if self.training:
                turned, center, heading = _vary(turned, center, heading, rng)
            target = _target(frustum.label, frustum.label.contains(points[:, :3]), center, heading, angle)
        return (torch.from_numpy(turned.astype(np.float32)), torch.tensor(frustum.class_id)), target

    def path_of(self, index: int) -> str:
        """The scan that the sample ``index`` is taken from, for messages and lists of bad files."""
        return str(self._scan(self.frustums[index].frame))

    def calibration(self, frame: str) -> Calibration:
        """That of a frame."""
        return read_calibration(self.root / "calib" / f"{frame}.txt")

    def _visible(self, frame: str) -> tuple[np.ndarray, np.ndarray]:
        """The points of a frame in the picture: [N, 4] in the camera's coordinates, and their pixels [N, 2]."""
        calibration, laser = self.calibration(frame), read_laser(self._scan(frame))
        laser = laser[laser[:, 0] > MIN_DISTANCE]
        points = np.concatenate([calibration.to_camera(laser[:, :3]), laser[:, 3:]], axis=1)
        points = points[points[:, 2] > 0]
        pixels = calibration.to_image(points[:, :3])
        kept = _inside(pixels, np.array([0, 0, *_picture_size(self.root / "image_2" / f"{frame}.png")]))
        return points[kept], pixels[kept]

    def _scan(self, frame: str) -> Path:
        return self.root / "velodyne" / f"{frame}.bin"

    def _angle(self, frame: str, box: np.ndarray) -> float:
        """The angle that turns the middle of the frustum to the front."""
        x, _, z = self.calibration(frame).from_image((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, FRONT_DEPTH)
        return math.pi / 2 - math.atan2(z, x)


def heading_bin(angle: float) -> tuple[int, float]:
    """The bin of a heading and what is left from its middle, in radians; bin 0 lies about 0."""
    width = 2 * math.pi / NUM_HEADING_BINS
    shifted = (angle + width / 2) % (2 * math.pi)
    index = min(int(shifted / width), NUM_HEADING_BINS - 1)
    return index, shifted - (index + 0.5) * width


def _counts(label: Label) -> bool:
    return label.type in CLASS_NAMES and label.box2d[3] - label.box2d[1] >= MIN_BOX_HEIGHT


def _inside(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Which pixels [N, 2] lie in a box [4], bool [N]."""
    return np.asarray(((pixels >= box[:2]) & (pixels < box[2:])).all(axis=1))


def _picture_size(path: Path) -> tuple[float, float]:
    """Width and height in pixels; infinite without the picture."""
    if not path.is_file():
        return math.inf, math.inf
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise InputError(f"{path} is no picture ({error}): unpack it again") from error


def _shift(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move and resize a box [4] by up to `BOX_SHIFT` of its size."""
    size = box[2:] - box[:2]
    middle = (box[:2] + box[2:]) / 2 + size * rng.uniform(-BOX_SHIFT, BOX_SHIFT, 2)
    half = size * (1 + rng.uniform(-BOX_SHIFT, BOX_SHIFT, 2)) / 2
    return np.concatenate([middle - half, middle + half])


def _vary(
    points: np.ndarray, center: np.ndarray, heading: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mirror half of the frustums, and shift all along z, as the authors do.

    Their shift is a normal one, clipped to 0.8 to 1.2 of the object's distance from the axis of the frustum: nearly
    always 0.8 of it, a metre or so.
    """
    if rng.random() < 0.5:
        points, center, heading = points * [-1, 1, 1, 1], center * [-1, 1, 1], math.pi - heading
    distance = math.hypot(center[0], center[1])
    shift = np.array([0, 0, np.clip(rng.normal() * distance * 0.05, distance * 0.8, distance * 1.2), 0])
    return points + shift, center + shift[:3], heading


def _target(label: Label, mask: np.ndarray, center: np.ndarray, heading: float, angle: float) -> dict[str, Tensor]:
    bin_id, residual = heading_bin(heading)
    template = TYPES.index(label.type)
    return {
        "mask_logits": torch.from_numpy(mask).long(),
        "center": torch.from_numpy(center).float(),
        "heading_bin_id": torch.tensor(bin_id),
        "heading_residual": torch.tensor(residual).float(),
        "size_template_id": torch.tensor(template),
        "size_residual": torch.from_numpy(label.size - SIZE_TEMPLATES[template]).float(),
        "rotation_angle": torch.tensor(angle).float(),
    }
