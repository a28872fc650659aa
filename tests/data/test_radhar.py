"""Radar recordings: never divided, and windows of two seconds."""

import numpy as np
import pytest
import torch

from zoo.data import radhar
from zoo.data.point_transforms import PointTransform
from zoo.errors import InputError


def write_recordings(path, per_series=6, seconds=4.0, rate=10):
    """Two series of recordings of each class, the last one of each series for the test; three points a frame."""
    names = [f"{kind}/{s}_{i}" for kind in radhar.CLASS_NAMES for s in ("a", "b") for i in range(1, per_series + 1)]
    labels = [radhar.CLASS_NAMES.index(name.split("/")[0]) for name in names]
    frames = int(seconds * rate)
    total = len(names) * frames
    rng = np.random.default_rng(0)
    np.savez(
        path,
        xyz=rng.normal([3, 0, 1], 0.5, (total * 3, 3)).astype(np.float32),
        velocity=rng.normal(size=total * 3).astype(np.float16),
        intensity=rng.uniform(16, 38, total * 3).astype(np.float16),
        points_per_frame=np.full(total, 3, np.int16),
        frame_time=np.tile(np.arange(frames) / rate, len(names)).astype(np.float32),
        seq_frame_offsets=np.arange(len(names) + 1) * frames,
        labels=np.array(labels),
        is_test=np.array([name.endswith(f"_{per_series}") for name in names]),
        names=np.array(names),
    )
    return path


def test_parts_share_no_recording(tmp_path):
    path = write_recordings(tmp_path / "radar.npz")
    parts = {split: {r.name for r in radhar.read_recordings(path, split)} for split in ("train", "val", "test")}
    assert [len(names) for names in parts.values()] == [40, 10, 10] and len(set.union(*parts.values())) == 60
    assert {name[-1] for name in parts["val"]} == {"5"} and {name[-1] for name in parts["test"]} == {"6"}
    assert {r.name for r in radhar.read_recordings(path, "train+val")} == parts["train"] | parts["val"]


def test_a_window_has_two_seconds_counted_from_its_start(tmp_path):
    recording = radhar.read_recordings(write_recordings(tmp_path / "radar.npz"), "test")[0]
    window = recording.window(1.0)
    assert window.shape == (60, 6) and window[0, 5] == 0 and window[-1, 5] == pytest.approx(1.9, abs=1e-5)
    assert recording.cloud[:, 5].max() > 3  # the recording itself is left alone


def test_samples(tmp_path):
    path = write_recordings(tmp_path / "radar.npz")
    test = radhar.RadharDataset(path, "test", num_points=100)
    assert len(test) == 10 * len(np.arange(0, 1.9, 1 / 3))
    points, label = test[len(test) - 1]
    assert points.shape == (100, 6) and label == 4 and label.dtype == torch.int64
    assert torch.equal(points, test[len(test) - 1][0])
    assert test.whole(len(test) - 1)[0].shape == (60, 6) and test.whole(0)[1] == 0
    train = radhar.RadharDataset(path, "train", num_points=32, windows_per_recording=3)
    assert len(train) == 120
    torch.manual_seed(0)
    first, second = train[7], train[7]
    torch.manual_seed(0)
    assert torch.equal(train[7][0], first[0]) and not torch.equal(first[0], second[0])
    assert first[0][:, 5].min() >= 0 and first[0][:, 5].max() <= 2.01


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", xyz=np.zeros((3, 3)))
    with pytest.raises(InputError, match=r"other\.npz has no array velocity"):
        radhar.read_recordings(tmp_path / "other.npz", "train")


def test_the_real_recordings(test_data):
    path = test_data / "points/radhar.npz"
    sizes = {split: len(radhar.read_recordings(path, split)) for split in ("train", "val", "test")}
    assert sizes["test"] == 35 and sizes["train"] + sizes["val"] == 131 and 20 <= sizes["val"] <= 35
    val = radhar.RadharDataset(path, "val")
    transform = PointTransform(radhar.INPUT.center, radhar.INPUT.scale, mean=radhar.INPUT.mean, std=radhar.INPUT.std)
    points = torch.cat([transform(val[index][0]).T for index in range(0, len(val), 50)])
    assert {val[index][1].item() for index in range(0, len(val), 25)} == {0, 1, 2, 3, 4}
    assert points[:, 3:].std(dim=0).min() > 0.3 and points[:, 3:].std(dim=0).max() < 2
