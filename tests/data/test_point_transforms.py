"""What happens to points between a file and a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.point_transforms import (
    ColorDrop,
    Jitter,
    PointDropout,
    PointTransform,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomTranslation,
    scene_extent,
)
from zoo.data.scene_parts import split_for_inference
from zoo.errors import InputError


def test_features_are_brought_to_one_width():
    points = np.array([[0, 0, 0, 30, 1], [1, 1, 1, 26, 3]], np.float32)
    result = PointTransform("none", mean=(28, 2), std=(2, 1))(points)
    assert result[3:].tolist() == [[1, -1], [-1, 1]]
    with pytest.raises(InputError, match="2 channels after xyz, not 1"):
        PointTransform(mean=(28,))(points)


def test_rooms_stand_on_the_floor_and_blocks_are_one_and_a_half_metres():
    block = np.array([[2, 2, 1.5], [3, 6, 2.5], [2, 3, 1.5]])
    result = PointTransform("floor")(block, extent=np.array([[0, 0, 0.5], [9, 9, 9]]))
    np.testing.assert_allclose(result.T, block - [2.75, 2.75, 0.5])  # half a block beyond the least x and y


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(5, 2, (200, 3)), rng.random((200, 3))], axis=1).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_centring_and_scaling_change_xyz_alone(points):
    result = PointTransform(center="mean", scale="unit_sphere")(points)
    assert result.shape == (6, 200) and result.dtype == torch.float32 and result.is_contiguous()
    torch.testing.assert_close(result[:3].mean(dim=1), torch.zeros(3), atol=1e-6, rtol=0)
    assert result[:3].norm(dim=0).max() == pytest.approx(1)
    assert torch.equal(result[3:], torch.from_numpy(points[:, 3:].T))
    assert torch.equal(PointTransform(center="none")(torch.from_numpy(points)), torch.from_numpy(points.T))


def test_identical_points_stay_at_the_origin():
    result = PointTransform(scale="unit_sphere")(np.full((5, 3), 7.0))
    assert torch.equal(result, torch.zeros(3, 5))
    assert torch.equal(PointTransform(with_normalized_xyz=True)(np.full((1, 3), 7.0)), torch.zeros(6, 1))


def test_far_coordinates_are_centred_without_losing_their_shape(points):
    moved = points + np.array([4e6, 5e5, 0, 0, 0, 0])
    torch.testing.assert_close(PointTransform()(moved), PointTransform()(points), atol=1e-5, rtol=0)


def test_the_place_in_the_scene_is_that_of_the_whole_scene(points):
    transform = PointTransform(with_normalized_xyz=True, augmentations=(RandomFlip(probability=1),))
    extent = scene_extent(points)
    whole = transform(points)
    assert whole.shape == (9, 200)
    torch.testing.assert_close(whole[6:].amin(dim=1), torch.zeros(3))
    torch.testing.assert_close(whole[6:].amax(dim=1), torch.ones(3))
    torch.testing.assert_close(transform(points[:50], extent=extent)[6:], whole[6:, :50])


def test_points_that_are_not_finite_do_not_widen_the_scene(points):
    extent = scene_extent(points)
    points[3, 0], points[4, 1] = np.nan, np.inf
    assert np.isfinite(scene_extent(points)).all() and (scene_extent(points) <= extent.max()).all()


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 0)), np.zeros((5, 2)), np.zeros(3), np.zeros((0, 3)), np.array([["a"] * 3])]
)
def test_arrays_of_another_shape_are_refused(wrong):
    with pytest.raises(InputError, match="points are"):
        PointTransform()(wrong)
    with pytest.raises(ValueError, match="unit_sphere"):
        PointTransform(scale="unit_cube")


def test_augmentations_follow_the_generator_or_torchs_seed(points):
    transform = PointTransform(augmentations=(RandomRotation(), RandomScale(), Jitter()))
    assert torch.equal(transform(points, rng(1)), transform(points, rng(1)))
    assert not torch.equal(transform(points, rng(1)), transform(points, rng(2)))
    torch.manual_seed(0)
    first, second = transform(points), transform(points)
    torch.manual_seed(0)
    assert torch.equal(first, transform(points)) and not torch.equal(first, second)


@pytest.mark.parametrize(("axis", "index"), [("x", 0), ("y", 1), ("z", 2)])
def test_rotation_turns_about_its_axis(points, axis, index):
    before = points.copy()
    turned = RandomRotation(axis, vectors=(0, 3))(points, rng())
    np.testing.assert_array_equal(points, before)
    for start in (0, 3):
        np.testing.assert_array_equal(turned[:, start + index], points[:, start + index])
        np.testing.assert_allclose(turned[:, start : start + 3] @ turned[0, start : start + 3],
                                   points[:, start : start + 3] @ points[0, start : start + 3], rtol=1e-4)  # fmt: skip
    cross = np.cross(points[0, :3], points[1, :3]) @ points[2, :3]
    assert np.cross(turned[0, :3], turned[1, :3]) @ turned[2, :3] == pytest.approx(cross, rel=1e-3)
    np.testing.assert_array_equal(RandomRotation(axis)(points, rng())[:, 3:], points[:, 3:])
    small = [RandomRotation("z", max_degrees=10)(np.array([[1.0, 0, 0]]), rng(seed))[0] for seed in range(50)]
    assert (
        min(vector[0] for vector in small) >= np.cos(np.radians(10)) and np.std([vector[1] for vector in small]) > 0.05
    )


def test_scale_multiplies_xyz_by_one_factor(points):
    factors = []
    for seed in range(50):
        scaled = RandomScale(0.5, 2.0)(points, rng(seed))
        factors.append(scaled[0, 0] / points[0, 0])
        np.testing.assert_allclose(scaled[:, :3], points[:, :3] * factors[-1], rtol=1e-5)
        np.testing.assert_array_equal(scaled[:, 3:], points[:, 3:])
    assert 0.5 <= min(factors) < 0.7 and 1.8 < max(factors) <= 2


def test_scale_may_differ_by_axis(points):
    scaled = RandomScale(0.5, 2.0, anisotropic=True)(points, rng())
    factors = scaled[0, :3] / points[0, :3]
    np.testing.assert_allclose(scaled[:, :3], points[:, :3] * factors, rtol=1e-5)
    assert len(np.unique(factors)) == 3 and scaled.dtype == np.float32


def test_translation_moves_xyz_alone(points):
    moved = RandomTranslation(0.3)(points, rng()) - points
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-5)
    assert 0 < np.abs(moved[0, :3]).max() <= 0.3 and not moved[:, 3:].any()


def test_dropped_points_lie_where_the_first_one_is(points):
    ratios = []
    for seed in range(50):
        left = PointDropout(0.8)(points, rng(seed))
        dropped = (left != points).any(axis=1)
        assert left.shape == points.shape and (left[dropped] == points[0]).all()
        ratios.append(dropped.mean())
    assert max(ratios) < 0.9 and min(ratios) < 0.1 and np.mean(ratios) == pytest.approx(0.4, abs=0.1)


def test_jitter_is_small_and_clipped(points):
    moved = Jitter(sigma=0.04, clip=0.05)(points, rng()) - points
    assert np.abs(moved[:, :3]).max() == pytest.approx(0.05, abs=1e-5) and moved[:, :3].std() > 0.02
    assert not moved[:, 3:].any()


@pytest.mark.parametrize("make", [RandomFlip, ColorDrop])
def test_flip_and_color_drop_come_as_often_as_said(points, make):
    changed = [not np.array_equal(make(probability=0.3)(points, rng(seed)), points) for seed in range(300)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.1)
    assert np.array_equal(make(probability=0)(points, rng()), points)


def test_flip_mirrors_and_color_drop_blackens(points):
    np.testing.assert_array_equal(RandomFlip("y", 1, vectors=(0, 3))(points, rng()), points * [1, -1, 1, 1, -1, 1])
    np.testing.assert_array_equal(ColorDrop(1)(points, rng()), points * [1, 1, 1, 0, 0, 0])


@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 5))
def test_every_point_is_in_a_chunk_of_the_wanted_size(num_points, chunk, seed):
    chunks = split_for_inference(num_points, chunk, rng(seed))
    assert len(chunks) == -(-num_points // chunk)
    assert all(indices.shape == (chunk,) and indices.dtype == np.int64 for indices in chunks)
    counts = np.bincount(np.concatenate(chunks), minlength=num_points)
    assert len(counts) == num_points and counts.min() >= 1
    if num_points >= chunk:
        assert all(len(np.unique(indices)) == chunk for indices in chunks) and counts.max() <= 2
    else:
        assert counts.max() - counts.min() <= 1
    again = split_for_inference(num_points, chunk, rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(chunks, again, strict=True))


def test_chunks_are_spread_over_the_cloud():
    chunk = split_for_inference(10_000, 1000, rng())[0]
    assert chunk.mean() == pytest.approx(5000, abs=500)
    with pytest.raises(ValueError, match="at least one"):
        split_for_inference(0, 10, rng())
