"""ShapeNet Part: a release in small, and two shapes of the real one."""

import json

import numpy as np
import pytest
import torch

from zoo.data.shapenet_part import PART_NAMES, SHAPE_NAMES, SHAPE_PARTS, ShapeNetPart
from zoo.engine.protocols.votes import vote_indices
from zoo.errors import InputError


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path)


def write_release(tmp_path):
    """A lamp and two mugs; the categories in another order than that of the alphabet."""
    (tmp_path / "synsetoffset2category.txt").write_text("Mug\t03797390\nLamp\t03636649\n")
    rng = np.random.default_rng(0)
    shapes = {"03636649/l1": (24, 27), "03797390/m1": (36, 37), "03797390/m2": (36, 37)}
    for name, parts in shapes.items():
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        table = np.column_stack([rng.normal(5, 2, (300, 3)), rng.normal(size=(300, 3)), rng.choice(parts, 300)])
        np.savetxt(path, table, fmt="%.6f")
    (tmp_path / "train_test_split").mkdir()
    for part, names in {"train": ["03797390/m2"], "val": ["03636649/l1"], "test": ["03797390/m1"]}.items():
        listing = tmp_path / f"train_test_split/shuffled_{part}_file_list.json"
        listing.write_text(json.dumps([f"shape_data/{name}" for name in names]))
    return tmp_path


def test_parts_follow_one_another():
    assert len(SHAPE_NAMES) == 16 and len(PART_NAMES) == 50 and SHAPE_NAMES[-1] == "Table"
    assert [label for parts in SHAPE_PARTS for label in parts] == list(range(50))
    assert SHAPE_PARTS[SHAPE_NAMES.index("Motorbike")] == range(30, 36)
    assert PART_NAMES[47] == "Table 1"


def test_a_sample_is_points_with_their_shape_and_labels(release):
    data = ShapeNetPart(release, "train+val", num_points=128)
    assert len(data) == 2 and data.class_names == PART_NAMES
    assert data.path_of(1) == str(data.files[1][0])
    (points, shape), labels = data[1]
    assert points.shape == (128, 6) and points.dtype == torch.float32
    assert SHAPE_NAMES[shape] == "Lamp" and set(labels.tolist()) <= {24, 27} and labels.dtype == torch.int64
    assert not torch.equal(data[1][0][0], points)
    whole, _, _ = data.shape(1)
    moved = torch.cdist(points[:, :3], torch.from_numpy(whole[:, :3])).min(1).values
    assert 0.003 < moved.mean() < 0.05  # every point is jittered
    test = ShapeNetPart(release, "test")
    assert torch.equal(test[0][0][0], test[0][0][0]) and test[0][0][0].shape == (2048, 6)


def test_the_whole_shape_is_centred_and_scaled(release):
    points, _, labels = ShapeNetPart(release, "test").shape(0)
    assert points.shape == (300, 6) and labels.shape == (300,)
    np.testing.assert_allclose(points[:, :3].mean(axis=0), 0, atol=1e-6)
    assert np.linalg.norm(points[:, :3], axis=1).max() == pytest.approx(1)
    raw, _, _ = ShapeNetPart(release, "test", normalize=False).shape(0)
    assert raw[:, :3].mean() == pytest.approx(5, abs=0.5)
    np.testing.assert_array_equal(raw[:, 3:], points[:, 3:])


def test_votes_see_every_point_about_equally_often():
    indices = vote_indices(2500, 2048, 10, np.random.default_rng(0))
    assert indices.shape == (20, 2048)
    counts = np.bincount(indices.flatten(), minlength=2500)
    assert counts.min() >= 10 and counts.max() - counts.min() <= 1


def test_what_is_no_release_is_named(release, tmp_path):
    with pytest.raises(InputError, match="nowhere is not the release"):
        ShapeNetPart(tmp_path / "nowhere", "test")
    (release / "03797390/m1.txt").write_text("0 0 0 0 0 1 12\n")
    with pytest.raises(InputError, match="part of a Mug"):
        ShapeNetPart(release, "test")[0]
    (release / "03797390/m1.txt").write_text("0 0 0 0 0 1 36\n0 0 0 0 0 b 36\n")
    with pytest.raises(InputError, match="line 2"):
        ShapeNetPart(release, "test")[0]
    (release / "03797390/m1.txt").unlink()
    with pytest.raises(InputError, match=r"m1\.txt cannot be read"):
        ShapeNetPart(release, "test")[0]


def test_real_shapes(test_data):
    root = test_data / "points/formats/shapenetpart_normal"
    data = ShapeNetPart(root, "test")
    there = [index for index, (path, _) in enumerate(data.files) if path.exists()]
    assert there
    for index in there:
        (points, shape), labels = data[index]
        assert set(labels.tolist()) <= set(SHAPE_PARTS[shape]) and points.shape == (2048, 6)
        assert points[:, 3:].norm(dim=1).median() == pytest.approx(1, abs=0.01)
