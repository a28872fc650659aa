"""Airborne scenes: which are held out, what a tile holds, and on the real set what the heights are worth."""

import numpy as np
import pytest
import torch

from zoo.data import isprs
from zoo.errors import InputError


def write_scenes(path, names=("samp11", "samp12", "samp21", "samp51"), points_per_scene=600):
    """Slopes with points up to 10 m above them; those points are not ground."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 60, (len(names) * points_per_scene, 3))
    is_ground = rng.random(len(points)) < 0.7
    points[:, 2] = 0.2 * points[:, 0] + np.where(is_ground, 0, rng.uniform(2, 10, len(points)))
    offsets = np.arange(len(names) + 1) * points_per_scene
    arrays = {"points": points.astype(np.float32), "is_ground": is_ground.astype(np.uint8)}
    np.savez(path, **arrays, offsets=offsets, names=np.array(names))
    return path


def test_sites_are_held_out_whole(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    train = isprs.IsprsDataset(path, "train", ["samp1"], 64, tiles_per_scene=5)
    val = isprs.IsprsDataset(path, "val", ["samp1"], 64)
    assert [scene.name for scene in train.scenes] == ["samp21", "samp51"] and len(train) == 10
    assert [scene.name for scene in val.scenes] == ["samp11", "samp12"]
    assert len(isprs.IsprsDataset(path, "train", []).scenes) == 4


def test_validation_covers_every_point_and_repeats(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    first, second = (isprs.IsprsDataset(path, "val", ["samp5"], 64) for _ in range(2))
    assert len(np.unique(np.concatenate([rows for _, rows in first.parts]))) == 600
    points, labels = first[1]
    assert torch.equal(points, second[1][0]) and points.shape == (64, 8) and points.dtype == torch.float32
    scene, rows = first.parts[1]
    assert labels.tolist() == first.scenes[scene].labels[rows].tolist()


def test_training_tiles_follow_torchs_seed(tmp_path):
    train = isprs.IsprsDataset(write_scenes(tmp_path / "scenes.npz"), "train", ["samp5"], 64)
    torch.manual_seed(3)
    points, labels = train[0]
    assert not torch.equal(train[0][0], points)
    torch.manual_seed(3)
    assert torch.equal(train[0][0], points) and points.shape == (64, 8) and labels.shape == (64,)


def test_mistakes_are_named(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    with pytest.raises(InputError, match="samp9"):
        isprs.IsprsDataset(path, "val", ["samp9"])
    with pytest.raises(InputError, match="hold out"):
        isprs.IsprsDataset(path, "val", [])
    np.savez(tmp_path / "other.npz", xyz=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"other\.npz has no array points"):
        isprs.read_scenes(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"broken\.npz"):
        isprs.read_scenes(tmp_path / "broken.npz")


def test_heights_tell_ground_on_the_steep_site(test_data):
    scenes = [scene for scene in isprs.read_scenes(test_data / "points/isprs_ground.npz") if scene.site == "samp5"]
    heights = np.concatenate([isprs.height_above_ground(scene.points, squash=False) for scene in scenes])
    labels = np.concatenate([scene.labels for scene in scenes])
    ground = heights[:, 2] < 1.0  # one threshold, nothing learnt
    assert np.mean([np.mean(ground[labels == 1]), np.mean(~ground[labels == 0])]) > 0.8
