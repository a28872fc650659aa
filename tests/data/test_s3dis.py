"""S3DIS: small rooms in the layout of the raw release, prepared and read."""

import numpy as np
import pytest
import torch

from zoo.data import s3dis
from zoo.data.scene_parts import cut_blocks
from zoo.errors import InputError


def write_room(folder, seed=0, size=4.0, num_points=3000):
    """A floor, a chair and stairs, with integer colours, in a building's coordinates."""
    (folder / "Annotations").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name, low, high, count in [
        ("floor_1", [0, 0, 0], [size, size, 0], num_points),
        ("chair_1", [1, 1, 0], [1.5, 1.5, 1], 500),
        ("stairs_1", [3, 3, 0], [4, 4, 2], 200),
    ]:
        xyz = rng.uniform(low, high, (count, 3)) + np.array([-20, 30, 0.5])
        np.savetxt(folder / f"Annotations/{name}.txt", np.column_stack([xyz, rng.integers(0, 256, (count, 3))]), "%.3f")
    return folder


@pytest.fixture
def prepared(tmp_path):
    for area, seed in ((1, 0), (1, 1), (5, 2)):
        write_room(tmp_path / f"raw/Area_{area}/office_{seed + 1}", seed)
    paths = list(s3dis.prepare(tmp_path / "raw", tmp_path / "out", max_points=512))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [
        "Area_1/office_1.npz",
        "Area_1/office_2.npz",
        "Area_5/office_3.npz",
    ]
    return tmp_path / "out"


def test_rooms_are_read_as_they_are(tmp_path):
    xyz, rgb, labels = s3dis.read_room(write_room(tmp_path / "Area_1/hall_1"))
    assert xyz.shape == (3500, 3) and xyz.dtype == np.float32 and rgb.dtype == np.uint8 and rgb.max() == 255
    np.testing.assert_allclose(xyz.min(axis=0), 0, atol=1e-6)
    assert [s3dis.CLASS_NAMES[label] for label in np.unique(labels)] == ["floor", "chair"]  # stairs have no class
    assert s3dis.CLASS_NAMES[0] == "clutter" and s3dis.CLASS_NAMES.index("window") == 7  # as in the authors' weights


def test_every_point_is_in_one_block_of_each_grid():
    xyz = np.random.default_rng(0).uniform(0, [4, 4, 2], (5000, 3))
    blocks = cut_blocks(xyz, 1.5, 512, np.random.default_rng(0))
    assert np.bincount(np.concatenate(blocks), minlength=5000).tolist() == [2] * 5000
    assert all(25 <= len(block) <= 512 for block in blocks)
    tiny = cut_blocks(xyz[:1], 1.5, 512, np.random.default_rng(0))
    assert [block.tolist() for block in tiny] == [[0], [0]]


def test_a_small_block_joins_a_neighbour_or_stays():
    rng = np.random.default_rng(0)
    places = [((0, 0), 200), ((0, 1), 9), ((3, 3), 9), ((0, 2), 200)]  # of a grid of metres
    xyz = np.concatenate([rng.uniform([x, y, 0], [x + 0.9, y + 0.9, 1], (count, 3)) for (x, y), count in places])
    first_grid = cut_blocks(xyz, 1.0, 400, np.random.default_rng(0))[:3]
    assert [sorted(set(block)) for block in first_grid] == [
        list(range(200)),
        [*range(200, 209), *range(218, 418)],  # y before -y, as the authors look
        list(range(209, 218)),
    ]


def test_cells_with_few_points_are_filled_up_to_the_mean():
    dense, sparse = np.full((16, 3), 0.01), np.array([[0.5, 0.5, 0.5], [0.505, 0.5, 0.5]])
    blocks = cut_blocks(np.concatenate([dense, sparse]), 1.5, 8192, np.random.default_rng(0))
    for block in blocks:
        assert sorted(np.bincount(block)) == [1] * 16 + [4, 5]  # the mean of 16 and 2 is 9


def test_an_area_is_held_out(prepared):
    train, test = s3dis.S3dis(prepared, [1], num_points=256), s3dis.S3dis(prepared, [5], False, num_points=256)
    assert [path.parent.name for path in train.rooms + test.rooms] == ["Area_1", "Area_1", "Area_5"]
    assert len(s3dis.S3dis(prepared, [5, 6]).rooms) == 1
    with pytest.raises(InputError, match="prepare"):
        s3dis.S3dis(prepared, [6])


def test_samples_have_nine_channels(prepared):
    train = s3dis.S3dis(prepared, [1], num_points=256)
    points, labels = train[0]
    assert points.shape == (256, 9) and points.dtype == torch.float32 and labels.shape == (256,)
    assert points[:, :2].abs().max() <= 1.5 and points[:, 3:].min() >= 0 and points[:, 3:].max() <= 1
    assert labels.dtype == torch.int64 and set(labels.tolist()) <= {2, 9}
    _, blocks = train.room_blocks(0)
    for _, block in blocks:  # also where a block at a wall is narrow
        np.testing.assert_allclose(block[:, :2].min(axis=0), -0.75, atol=1e-5)
    torch.manual_seed(0)
    first = train[0][0]
    assert not torch.equal(first, train[0][0])
    torch.manual_seed(0)
    assert torch.equal(first, train[0][0])


def test_predictions_merge_into_the_room(prepared):
    test = s3dis.S3dis(prepared, [5], False, num_points=256)
    truth = test.room_labels(0)
    merged = np.full(len(truth), -1)
    for index, (room, rows) in enumerate(test.parts):
        points, labels = test[index]
        assert room == 0 and torch.equal(points, test[index][0])
        merged[rows] = labels
    np.testing.assert_array_equal(merged, truth)


def test_prepared_rooms_are_left_as_they_are(tmp_path):
    write_room(tmp_path / "raw/Area_2/lobby_1")
    (path,) = s3dis.prepare(tmp_path / "raw", tmp_path / "out")
    before = path.stat().st_mtime_ns
    assert list(s3dis.prepare(tmp_path / "raw", tmp_path / "out")) == [path] and path.stat().st_mtime_ns == before
    assert [file.name for file in path.parent.iterdir()] == ["lobby_1.npz"]


def test_raw_files_that_are_wrong_are_named(tmp_path):
    with pytest.raises(InputError, match="Area_"):
        next(s3dis.prepare(tmp_path, tmp_path / "out"))
    room = write_room(tmp_path / "raw/Area_5/hallway_6")
    with open(room / "Annotations/ceiling_1.txt", "w") as file:
        file.write("1 2 3 10 20 30\n1 2 3 10 2\x100 30\n")
    with pytest.raises(InputError, match=r"ceiling_1\.txt, line 2"):
        next(s3dis.prepare(tmp_path / "raw", tmp_path / "out"))
