"""Overlap of rotated boxes, by hand and against a clipping of polygons."""

import math

import numpy as np
import pytest

from zoo.engine.protocols.rotated_iou import (
    box_iou,
    image_overlap,
    rectangle_corners,
    rotated_intersection,
    rotated_iou,
)

SQUARE = [0, 0, 2, 2, 0]


def iou(first, second):
    return rotated_iou(np.array([first], float), np.array([second], float)).item()


def test_rotated_squares_by_hand():
    octagon = 8 * (math.sqrt(2) - 1)  # a square of side 2 and itself turned by 45 degrees
    assert iou(SQUARE, [0, 0, 2, 2, math.pi / 4]) == pytest.approx(octagon / (8 - octagon))
    assert iou(SQUARE, SQUARE) == pytest.approx(1)
    assert iou(SQUARE, [0, 0, 2, 2, math.pi / 2]) == pytest.approx(1)
    assert iou(SQUARE, [1, 0, 2, 2, 0]) == pytest.approx(1 / 3)
    assert iou(SQUARE, [1, 1, 2, 2, math.pi]) == pytest.approx(1 / 7)
    assert iou(SQUARE, [0, 0, 1, 1, 0.3]) == pytest.approx(1 / 4)  # one within the other
    assert iou(SQUARE, [5, 0, 2, 2, 0.3]) == 0
    assert iou([0, 0, 4, 1, 0], [0, 0, 4, 1, math.pi / 2]) == pytest.approx(1 / 7)  # a cross


def test_touching_is_not_overlapping():
    assert iou(SQUARE, [2, 0, 2, 2, 0]) == pytest.approx(0, abs=1e-8)
    assert iou(SQUARE, [2, 2, 2, 2, 0]) == pytest.approx(0, abs=1e-8)
    assert iou(SQUARE, [0, 0, 0, 2, 0]) == 0  # a box without extent


def test_the_angle_turns_x_to_y():
    corner = rectangle_corners(np.array([10.0, 20, 4, 2, math.pi / 2]))[0]  # (+2, +1) turned by 90 degrees
    assert corner == pytest.approx([9, 22])


def clip(polygon, edge_start, edge_end):
    """Sutherland and Hodgman: what of a polygon lies to the left of a line."""

    def side(point):
        (x, y), (right, up) = edge_end - edge_start, point - edge_start
        return x * up - y * right

    result = []
    for start, end in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if side(start) * side(end) < 0:
            result.append(start + (end - start) * side(start) / (side(start) - side(end)))
        if side(end) >= 0:
            result.append(end)
    return np.array(result).reshape(-1, 2)


def clipped_area(first, second):
    polygon, other = rectangle_corners(first), rectangle_corners(second)
    for start, end in zip(other, np.roll(other, -1, 0), strict=True):
        if len(polygon):
            polygon = clip(polygon, start, end)
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_agrees_with_clipping_far_from_the_origin():
    generator = np.random.default_rng(0)
    boxes = [
        np.column_stack([generator.normal(500, 2, (20, 2)), generator.uniform(0.3, 5, (20, 2)), angles])
        for angles in (generator.uniform(-4, 4, 20), generator.choice([0, math.pi / 2, 0.7], 20))
    ]
    found = rotated_intersection(*boxes)
    expected = [[clipped_area(first, second) for second in boxes[1]] for first in boxes[0]]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (found > 0).mean() > 0.3


def test_agrees_with_counting_points():
    first, second = np.array([[0.0, 0, 4, 2, 0.4]]), np.array([[0.8, 0.5, 3, 2.5, -0.9]])
    points = np.random.default_rng(0).uniform(-3, 3, (200_000, 2))

    def within(box):
        x, y = (points - box[:2]).T
        cos, sin = math.cos(box[4]), math.sin(box[4])
        return (abs(x * cos + y * sin) < box[2] / 2) & (abs(y * cos - x * sin) < box[3] / 2)

    counted = (within(first[0]) & within(second[0])).mean() * 36
    assert rotated_intersection(first, second).item() == pytest.approx(counted, rel=0.01)


def test_boxes_in_space():
    low, high = np.array([[*SQUARE, 0, 2]], float), np.array([[*SQUARE, 1, 3], [*SQUARE, 2, 4]], float)
    assert box_iou(low, high)[0] == pytest.approx([1 / 3, 0])


def test_rectangles_in_a_picture():
    first, second = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    assert image_overlap(first, second)[0] == pytest.approx([1 / 3, 0])
    assert image_overlap(first, second, over="first")[0] == pytest.approx([1 / 2, 0])


def test_no_boxes():
    assert rotated_iou(np.zeros((0, 5)), np.zeros((3, 5))).shape == (0, 3)
    assert image_overlap(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)
