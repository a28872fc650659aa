"""KITTI's object files: one line an object, as the development kit's readme describes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.errors import InputError

NUM_LABEL_FIELDS = 15  # a result has the score as 16th


@dataclass(frozen=True)
class KittiObjects:
    """The objects of one picture.

    Attributes:
        types: their classes as written, in lower case.
        truncation: float64 [N], the share that is outside the picture.
        occlusion: float64 [N]: 0 visible, 1 partly, 2 largely occluded, 3 unknown.
        image: float64 [N, 4], left, top, right, bottom in pixels.
        size: float64 [N, 3], height, width, length in metres.
        location: float64 [N, 3], the middle of the bottom in the camera's frame: x right, y down, z ahead, in metres.
        rotation: float64 [N], about y, in radians.
        score: float64 [N], of detections; NaN for labels.
    """

    types: tuple[str, ...]
    truncation: np.ndarray
    occlusion: np.ndarray
    image: np.ndarray
    size: np.ndarray
    location: np.ndarray
    rotation: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.types)

    @property
    def ground(self) -> np.ndarray:
        """The rectangles on the ground, [N, 5]: x and z of the centre, length, width, angle from x to z in radians."""
        place, side = self.location[:, [0, 2]], self.size[:, [2, 1]].clip(min=0)
        return np.concatenate([place, side, -self.rotation[:, None]], axis=1)

    @property
    def boxes(self) -> np.ndarray:
        """The boxes, [N, 7]: `ground`, then the ends of the height; y points down."""
        bottom = self.location[:, 1:2]
        return np.concatenate([self.ground, bottom - self.size[:, :1].clip(min=0), bottom], axis=1)


def read_kitti_objects(path: str | Path, scored: bool = False) -> KittiObjects:
    """Read a file of ``label_2``, or of results.

    Args:
        path: the text file; an empty one holds no object.
        scored: whether it is a result, with a score at the end of each line.

    Raises:
        InputError: the file is missing, or a line is not an object.
    """
    fields = NUM_LABEL_FIELDS + scored
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give KITTI's text file of the picture") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    types, values = [], np.full((len(rows), NUM_LABEL_FIELDS), np.nan)
    for row, (number, words) in enumerate(rows):
        try:
            if len(words) not in {fields, NUM_LABEL_FIELDS + 1}:
                raise ValueError(f"{len(words)} fields")
            numbers = [float(word) for word in words[1:]]
            if not np.isfinite(numbers).all():
                raise ValueError("a number is not finite")
        except ValueError as error:
            wanted = f"{fields} fields, a type and {fields - 1} numbers" + (", the last the score" if scored else "")
            raise InputError(f"{path}, line {number}: not an object of KITTI ({error}); write {wanted}") from error
        types.append(words[0].lower())
        values[row, : len(numbers)] = numbers
    return KittiObjects(
        tuple(types),
        truncation=values[:, 0],
        occlusion=values[:, 1],
        image=values[:, 3:7],
        size=values[:, 7:10],
        location=values[:, 10:13],
        rotation=values[:, 13],
        score=values[:, 14] if scored else np.full(len(types), np.nan),
    )
