"""`read_points` as a whole: which files it takes, what it refuses, what it needs."""

import time

import numpy as np
import pytest

from zoo.data.points import POINT_SUFFIXES, PointCloud, read_points, write_ply
from zoo.errors import InputError

OWN = [".ply", ".pcd", ".off", ".obj", ".npy", ".npz", ".bin", ".txt", ".xyz", ".csv", ".pts"]


@pytest.mark.parametrize("suffix", OWN)
def test_missing_empty_and_garbage_files_and_folders_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    garbage = np.random.default_rng(0).bytes(30_000)
    for make, says in [
        (lambda: None, "does not exist"),
        (lambda: path.write_bytes(b""), "is empty"),
        (lambda: path.write_bytes(garbage), "."),
        (lambda: path.write_bytes(b"\0\0\0\x18ftypmp42" + garbage), "is a video"),
        (lambda: path.write_bytes(b"\x89PNG\r\n\x1a\n" + garbage), "is an image"),
        (lambda: path.write_bytes(b"\x1f\x8b\x08" + garbage), "is compressed"),
        (lambda: (path.unlink(), path.mkdir()), "is a directory"),
    ]:
        make()
        start = time.perf_counter()
        with pytest.raises(InputError, match=says) as error:
            read_points(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400
        assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("name", "says"), [("a.mp4", "is a video"), ("a.JPG", "is an image"), ("a.docx", "no known point")]
)
def test_files_of_other_kinds_are_refused_by_their_suffix(tmp_path, name, says):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(InputError, match=says):
        read_points(tmp_path / name)


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "a.bin").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        read_points(tmp_path / "a.bin")


def test_points_that_are_not_finite_keep_their_place(tmp_path):
    points = np.array([[0, 0, 0], [np.nan, 0, 0], [1, 1, 1], [0, np.inf, 0]], dtype=np.float32)
    write_ply(tmp_path / "a.ply", points)
    cloud = read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(cloud.points, points)
    assert cloud.finite.tolist() == [True, False, True, False]
    write_ply(tmp_path / "a.ply", points[[1, 3]])
    with pytest.raises(InputError, match=r"holds no finite point \(all 2"):
        read_points(tmp_path / "a.ply")


def test_a_cloud_can_be_made_without_a_file_and_does_not_change():
    cloud = PointCloud(None, np.zeros((2, 3), dtype=np.float32))
    assert cloud.finite.all()
    with pytest.raises(AttributeError):
        cloud.points = np.ones((2, 3), dtype=np.float32)


def test_a_million_points_are_read_in_a_second(tmp_path):
    points = np.random.default_rng(0).normal(size=(1_000_000, 3)).astype(np.float32)
    write_ply(tmp_path / "a.ply", points, np.zeros((1_000_000, 3), dtype=np.uint8), np.zeros(1_000_000, dtype=np.int64))
    np.concatenate([points, np.ones((1_000_000, 1), dtype=np.float32)], axis=1).tofile(tmp_path / "a.bin")
    for name in ("a.ply", "a.bin"):
        start = time.process_time()
        assert len(read_points(tmp_path / name).points) == 1_000_000
        assert time.process_time() - start < 1


def test_the_suffixes_are_public():
    assert set(OWN) <= POINT_SUFFIXES


@pytest.mark.parametrize("name", ["a.txt", "a.ply", "a.obj"])
def test_huge_text_is_refused_before_it_is_read(tmp_path, name):
    path = tmp_path / name
    with open(path, "wb") as file:  # sparse: it takes no room on the disk
        file.truncate(600 << 20)
        file.seek(300 << 20)
        file.write(b"0.5 0.25 -1e-3\n" * 1000)
    started = time.perf_counter()
    with pytest.raises(InputError, match="600 MiB of text, more than 512: save it as binary PLY or NPY"):
        read_points(path)
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize("suffix", sorted(POINT_SUFFIXES))
def test_a_point_file_is_no_video(tmp_path, suffix):
    from zoo.data.video import open_video

    (tmp_path / f"scan{suffix}").write_text("0 0 0\n")
    with pytest.raises(InputError, match="point cloud goes to a point model"):
        open_video(tmp_path / f"scan{suffix}")
