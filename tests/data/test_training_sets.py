import numpy as np
import pytest
import torch

from zoo.data import fingertip, tabletop
from zoo.errors import InputError


def write_tracks(path, rows_per_class=1200):
    """Sliding windows, as the real table has them: neighbouring rows share 15 steps."""
    rng = np.random.default_rng(0)
    rows = []
    for label in range(4):
        walk = np.cumsum(rng.normal(0, 0.01, (rows_per_class + 16, 2)), axis=0)
        for start in range(rows_per_class):
            window = walk[start : start + 16]
            rows.append([label, *(window - window[0]).flatten()])
    np.savetxt(path, rows, delimiter=",", fmt="%.9g")
    return path


def write_scenes(path, num_scenes=45, points_per_scene=60):
    rng = np.random.default_rng(0)
    total = num_scenes * points_per_scene
    names = np.array([f"learn{i}" for i in range(num_scenes - 3)] + [f"test{i}" for i in range(3)])
    labels = rng.choice([1, 2, 20, 31], total).astype(np.uint8)
    points = rng.integers(-1000, 1000, (total, 3)).astype(np.int16)
    points[labels >= 20, 1] -= 900
    offsets = np.arange(num_scenes + 1) * points_per_scene
    rgb = rng.integers(0, 255, (total, 3)).astype(np.uint8)
    is_test = np.char.startswith(names, "test")
    np.savez(path, points_halfmm=points, rgb=rgb, label=labels, offsets=offsets, names=names, is_test=is_test)
    return path


def test_parts_of_the_tracks_share_no_step(tmp_path):
    _, labels = fingertip.read_tracks(write_tracks(tmp_path / "tracks.csv"))
    parts = {split: set(fingertip.split_tracks(labels, split)) for split in ("train", "val", "test")}
    assert all(parts.values())
    for name, rows in parts.items():
        others = set().union(*(parts[other] for other in parts if other != name))
        near = {
            row + step for row in rows for step in range(-15, 16) if labels[row] == labels[(row + step) % len(labels)]
        }
        assert not near & others


def test_drawn_clips(tmp_path):
    path = write_tracks(tmp_path / "tracks.csv", 200)
    for styles in [("dot",), ("stroke",)]:
        dataset = fingertip.FingertipDataset(path, "train", fingertip.GestureRenderer(48, styles))
        clip, label = dataset[0]
        assert clip.shape == (16, 3, 48, 48) and clip.dtype == torch.uint8 and label.item() in range(4)
        assert not torch.equal(dataset[0][0], dataset[0][0])


def test_test_drawings_repeat(tmp_path):
    path = write_tracks(tmp_path / "tracks.csv", 700)
    first, second = (fingertip.FingertipDataset(path, "test", fingertip.GestureRenderer(32)) for _ in range(2))
    assert torch.equal(first[3][0], second[3][0])


def test_the_mirror_image_of_a_clockwise_turn_goes_the_other_way():
    angles = np.linspace(0, 6, 16)
    track = 0.1 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        turned, label = fingertip._turn(track, 1, rng)
        steps = np.diff(turned, axis=0)
        turning = np.sum(steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0])
        assert fingertip.CLASS_NAMES[label] == ("Clockwise" if turning > 0 else "Counter Clockwise")
        seen.add(label)
    assert seen == {1, 2}


def test_a_direction_is_where_the_dot_goes(tmp_path):
    path = write_tracks(tmp_path / "tracks.csv", 100)
    renderer = fingertip.GestureRenderer(48, ("dot",), (1.0, 1.0), plain=1.0)
    dataset = fingertip.DirectionDataset(path, "train", renderer, num_frames=5)
    for index in range(0, len(dataset), len(dataset) // 20):
        clip, label = dataset[index]
        shade = clip.float().mean(dim=1)
        dot = (shade - shade.flatten(1).median(dim=1).values[:, None, None]).abs()
        weights = dot / dot.sum(dim=(1, 2), keepdim=True)
        ticks = torch.arange(48.0)
        x, y = (weights.sum(1) * ticks).sum(1), (weights.sum(2) * ticks).sum(1)
        degrees = torch.rad2deg(torch.atan2(y[-1] - y[0], x[-1] - x[0])) - 45 * label.item()
        assert abs((degrees + 180) % 360 - 180) < 30


def test_scenes_are_split_by_scene(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    sizes = {split: len(tabletop.read_scenes(path, split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 36, "val": 6, "test": 3}
    points, labels = tabletop.TabletopDataset(path, "train", num_points=100)[0]
    assert points.shape == (100, 6) and set(labels.tolist()) == {0, 1}
    assert points[:, 3:].min() >= 0 and points[:, 3:].max() <= 1


@pytest.mark.parametrize("content", [b"", b"1,2,3\n", b"a,b\n"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(InputError, match="other"):
        fingertip.read_tracks(path)
    with pytest.raises(InputError, match="other"):
        tabletop.read_scenes(path, "train")
