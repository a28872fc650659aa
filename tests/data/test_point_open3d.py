"""What Open3D reads of ours and for us, and what is said where it is missing."""

import sys

import numpy as np
import pytest

from zoo.data.points import color_labels, read_points, write_ply
from zoo.errors import InputError


def import_open3d():
    """Open3D, or a skipped test where it or a system library of its is missing."""
    try:
        import open3d
    except (ImportError, OSError) as error:
        pytest.skip(f"Open3D cannot be imported: {error}")
    return open3d


def test_open3d_reads_what_is_written(tmp_path):
    open3d = import_open3d()
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    colors = color_labels(np.arange(100) % 5 - 1, 4)
    write_ply(tmp_path / "a.ply", points, colors, np.arange(100))
    cloud = open3d.io.read_point_cloud(tmp_path / "a.ply")
    np.testing.assert_array_equal(np.asarray(cloud.points), points)
    np.testing.assert_array_equal(np.rint(np.asarray(cloud.colors) * 255), colors)
    labels = open3d.t.io.read_point_cloud(tmp_path / "a.ply").point["label"].numpy()
    np.testing.assert_array_equal(labels.ravel(), np.arange(100))


def test_without_open3d_its_formats_name_the_package_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    (tmp_path / "a.stl").write_text("solid a\nendsolid a\n")
    with pytest.raises(InputError, match=r"a\.stl needs Open3D \(pip install open3d\); PLY, PCD, OFF"):
        read_points(tmp_path / "a.stl")
    (tmp_path / "a.txt").write_text("1 2 3\n")
    assert len(read_points(tmp_path / "a.txt").points) == 1


def test_open3d_without_its_system_libraries_names_the_apt_line(tmp_path, monkeypatch):
    (tmp_path / "open3d.py").write_text("raise OSError('libusb-1.0.so.0: cannot open shared object file')\n")
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.stl").write_text("solid a\nendsolid a\n")
    with pytest.raises(InputError, match=r"apt-get install libusb-1\.0-0 libgl1 libegl1 libx11-6 libgomp1"):
        read_points(tmp_path / "a.stl")


def test_stl_is_read_by_open3d(tmp_path):
    open3d = import_open3d()
    box = open3d.geometry.TriangleMesh.create_box(1, 2, 3)
    box.compute_triangle_normals()
    open3d.io.write_triangle_mesh(tmp_path / "a.stl", box)
    cloud = read_points(tmp_path / "a.stl")
    assert cloud.points.shape == (10_000, 3)
    np.testing.assert_allclose(cloud.points.max(axis=0), [1, 2, 3], atol=0.01)
    content = (tmp_path / "a.stl").read_bytes()
    (tmp_path / "a.stl").write_bytes(content[:80] + (4_000_000_000).to_bytes(4, "little") + content[84:])
    with pytest.raises(InputError, match="cut off"):
        read_points(tmp_path / "a.stl")
