"""Overlap of boxes: upright rectangles in a picture, rotated ones on the ground, and boxes in space. Plain NumPy."""

from __future__ import annotations

import numpy as np

NEAR = 1e-9  # times the size of the boxes: closer than this counts as touching


def image_overlap(first: np.ndarray, second: np.ndarray, over: str = "union") -> np.ndarray:
    """Overlap of upright rectangles.

    Args:
        first: [N, 4], left, top, right, bottom in pixels.
        second: [M, 4].
        over: divide the common area by that of the "union" or of the "first".

    Returns:
        float64 [N, M].
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(min=0).prod(-1)
    areas = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second))
    own, other = next(areas)[:, None], next(areas)[None]
    return _ratio(common, own + other - common if over == "union" else np.broadcast_to(own, common.shape))


def rectangle_corners(rectangles: np.ndarray) -> np.ndarray:
    """Corners of rotated rectangles, one after another.

    Args:
        rectangles: [..., 5], centre (x, y), length along x and width along y before the turn, angle from x to y in
            radians.

    Returns:
        float64 [..., 4, 2].
    """
    center, size, angle = rectangles[..., None, :2], rectangles[..., None, 2:4], rectangles[..., 4, None]
    offsets = size * np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack(
        [offsets[..., 0] * cos - offsets[..., 1] * sin, offsets[..., 0] * sin + offsets[..., 1] * cos], -1
    )
    return center + turned


def rotated_intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The common area of rotated rectangles.

    The common part is convex. Its corners are those of either rectangle within the other and the crossings of their
    sides; in the order of their angles about the middle, the shoelace formula gives its area.

    Args:
        first: [N, 5], see `rectangle_corners`; sides are not negative.
        second: [M, 5].

    Returns:
        float64 [N, M].
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    shape = (len(first), len(second))
    first, second = (np.broadcast_to(boxes, (*shape, 5)) for boxes in (first[:, None], second[None]))
    # Relative to one of the two, so that places far from the origin cost no precision.
    origin = np.concatenate([first[..., :2], np.zeros((*shape, 3))], -1)
    first, second = first - origin, second - origin
    scale = np.maximum(first[..., 2:4].max(-1), second[..., 2:4].max(-1))
    corners, others = rectangle_corners(first), rectangle_corners(second)
    crossings, crosses = _crossings(corners, others, scale)
    points = np.concatenate([corners, others, crossings], -2)
    valid = np.concatenate([_within(corners, second, scale), _within(others, first, scale), crosses], -1)
    # A point that is none stands on one that is, where it adds no area.
    some = np.take_along_axis(points, valid.argmax(-1)[..., None, None], -2)
    points = np.where(valid[..., None], points, some)
    middle = (points * valid[..., None]).sum(-2, keepdims=True) / valid.sum(-1).clip(min=1)[..., None, None]
    points = points - middle
    order = np.arctan2(points[..., 1], points[..., 0]).argsort(-1)
    points = np.take_along_axis(points, order[..., None], -2)
    area = _cross(points, np.roll(points, -1, -2)).sum(-1) / 2
    return np.where(valid.any(-1), np.maximum(area, 0), 0)


def rotated_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of rotated rectangles [N, 5] and [M, 5] -> float64 [N, M], see `rectangle_corners`."""
    common = rotated_intersection(first, second)
    return _ratio(common, _area(first)[:, None] + _area(second)[None] - common)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes that stand upright.

    Args:
        first: [N, 7], the rectangle [5] on the ground, then the lower and the upper end of the height.
        second: [M, 7].

    Returns:
        float64 [N, M].
    """
    low = np.maximum(first[:, None, 5], second[None, :, 5])
    high = np.minimum(first[:, None, 6], second[None, :, 6])
    common = rotated_intersection(first[:, :5], second[:, :5]) * (high - low).clip(min=0)
    volumes = [_area(boxes) * (boxes[:, 6] - boxes[:, 5]) for boxes in (first, second)]
    return _ratio(common, volumes[0][:, None] + volumes[1][None] - common)


def _area(rectangles: np.ndarray) -> np.ndarray:
    return np.asarray(rectangles, np.float64)[:, 2] * np.asarray(rectangles, np.float64)[:, 3]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares, 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _within(points: np.ndarray, rectangles: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Which points [..., 4, 2] lie in the rectangle [..., 5], its border included."""
    offsets, angle = points - rectangles[..., None, :2], rectangles[..., 4, None]
    along = offsets[..., 0] * np.cos(angle) + offsets[..., 1] * np.sin(angle)
    across = offsets[..., 1] * np.cos(angle) - offsets[..., 0] * np.sin(angle)
    reach = rectangles[..., None, 2:4] / 2 + NEAR * scale[..., None, None]
    return (np.abs(along) <= reach[..., 0]) & (np.abs(across) <= reach[..., 1])


def _crossings(corners: np.ndarray, others: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the sides of two rectangles cross, [..., 16, 2], and whether they do; sides that are parallel do not."""
    start, end = corners[..., :, None, :], np.roll(corners, -1, -2)[..., :, None, :]
    other_start, other_end = others[..., None, :, :], np.roll(others, -1, -2)[..., None, :, :]
    side, other = end - start, other_end - other_start
    denominator = _cross(side, other)
    crossing = np.abs(denominator) > NEAR * scale[..., None, None] ** 2
    safe = np.where(crossing, denominator, 1)
    at = _cross(other_start - start, other) / safe
    other_at = _cross(other_start - start, side) / safe
    crossing &= (at >= 0) & (at <= 1) & (other_at >= 0) & (other_at <= 1)
    points = np.where(crossing[..., None], start + at[..., None] * side, 0)
    return points.reshape(*points.shape[:-3], 16, 2), crossing.reshape(*crossing.shape[:-2], 16)
