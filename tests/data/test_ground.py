"""Heights above the ground of scenes whose ground is known."""

import numpy as np
import pytest

from zoo.data.ground import height_above_ground
from zoo.data.scene_parts import cover_with_tiles, tile_around
from zoo.errors import InputError


def hillside(slope, house=False, seed=0):
    """4,000 points of a plane 100 m wide; with a house 15 m wide and 6 m high, and which points are its roof."""
    xyz = np.random.default_rng(seed).uniform(0, 100, (4000, 3))
    xyz[:, 2] = 300 + slope * xyz[:, 0]
    roof = (np.abs(xyz[:, :2] - 50) < 7.5).all(axis=1) if house else np.zeros(len(xyz), bool)
    xyz[roof, 2] += 6
    return xyz, roof


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_a_roof_stands_out_on_a_slope_as_on_a_plain(slope):
    xyz, roof = hillside(slope, house=True)
    heights = height_above_ground(xyz, windows=(31.0,), squash=False)
    inner = (np.abs(xyz[:, :2] - 50) < 30).all(axis=1)
    assert np.median(heights[roof]) == pytest.approx(6, abs=1)
    assert np.abs(heights[inner & ~roof]).mean() < 0.5


def test_an_opening_narrower_than_the_house_takes_the_roof_for_ground():
    xyz, roof = hillside(0.0, house=True)
    heights = height_above_ground(xyz, windows=(5.0, 31.0), squash=False)
    assert heights.shape == (4000, 2) and heights.dtype == np.float32
    assert np.median(heights[roof, 0]) < 2 < np.median(heights[roof, 1])


def test_a_lone_echo_from_below_does_not_lower_the_ground():
    xyz, _ = hillside(0.0)
    xyz[0] = [50.5, 50.5, 270]
    heights = height_above_ground(xyz, squash=False)
    assert heights[0].max() < -25 and np.abs(heights[1:]).max() < 0.1


def test_heights_are_squashed_by_arcsinh_and_do_not_depend_on_where_the_scene_lies():
    xyz, _ = hillside(0.2, house=True)
    metres = height_above_ground(xyz, squash=False)
    np.testing.assert_allclose(height_above_ground(xyz), np.arcsinh(metres), rtol=1e-5)
    np.testing.assert_allclose(
        height_above_ground(xyz + np.array([500_000, 4_000_000, 900]), squash=False), metres, atol=1e-3
    )


def test_scenes_of_any_size_have_heights():
    assert height_above_ground(np.array([[1.0, 2.0, 3.0, 0.5]])).tolist() == [[0.0] * 5]
    wide = np.random.default_rng(0).uniform(0, 1e7, (100, 3)) * [1, 1, 1e-7]
    assert np.isfinite(height_above_ground(wide, windows=(5.0,))).all()


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros((5, 2)), np.full((4, 3), np.nan), np.zeros(3)])
def test_points_that_have_no_heights_are_refused(points):
    with pytest.raises(InputError, match="finite points"):
        height_above_ground(points)


def test_a_tile_holds_the_nearest_points_on_the_map():
    points = np.random.default_rng(0).uniform(0, 100, (500, 3))
    tile = tile_around(points, np.array([20.0, 30.0]), 60)
    distance = np.linalg.norm(points[:, :2] - [20, 30], axis=1)
    assert set(tile) == set(np.argsort(distance)[:60])
    counts = np.bincount(tile_around(points[:7], points[0, :2], 20), minlength=7)
    assert counts.sum() == 20 and counts.max() - counts.min() <= 1


def test_tiles_cover_a_scene():
    points = np.random.default_rng(0).uniform(0, 100, (1000, 3))
    tiles = cover_with_tiles(points, 128)
    assert all(len(tile) == 128 for tile in tiles) and len(tiles) < 40
    assert len(np.unique(np.concatenate(tiles))) == 1000
    with pytest.raises(InputError, match="covered"):
        cover_with_tiles(points[:0], 128)
