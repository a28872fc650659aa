"""OFF and OBJ files, and how points are drawn from meshes."""

import numpy as np
import pytest

from zoo.data.points import read_points
from zoo.errors import InputError

SQUARE = "0 0 0\n2 0 0\n2 1 0\n0 1 0\n"


@pytest.mark.parametrize(
    "text",
    [
        f"OFF\n4 2 0\n{SQUARE}3 0 1 2\n3 0 2 3\n",
        f"OFF4 2 0\n{SQUARE}3 0 1 2\n3 0 2 3\n",
        f"# made by hand\noff\r\n\n4 1 4  # counts\n{SQUARE}4 0 1 2 3 255 0 0\n",
        f"OFF\n4 2\n{SQUARE}3 0 1 2 0.5 0.5 0.5\n4 0 1 2 3\n",
    ],
)
def test_off_is_sampled_within_its_faces(tmp_path, text):
    (tmp_path / "a.off").write_text(text)
    cloud = read_points(tmp_path / "a.off")
    assert cloud.points.shape == (10_000, 3) and cloud.colors is None
    np.testing.assert_allclose(cloud.points.min(axis=0), [0, 0, 0], atol=0.01)
    np.testing.assert_allclose(cloud.points.max(axis=0), [2, 1, 0], atol=0.01)
    np.testing.assert_allclose(cloud.normals, np.tile([0, 0, 1], (10_000, 1)), atol=1e-6)


def test_samples_are_as_dense_everywhere_and_always_the_same(tmp_path):
    (tmp_path / "a.off").write_text(f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3\n")
    points = read_points(tmp_path / "a.off", mesh_samples=20_000).points
    cells = np.histogram2d(points[:, 0], points[:, 1], bins=[8, 4], range=[[0, 2], [0, 1]])[0]
    assert np.abs(cells - 625).max() < 5 * np.sqrt(625)
    np.testing.assert_array_equal(points, read_points(tmp_path / "a.off", mesh_samples=20_000).points)


def test_off_with_colors_and_normals(tmp_path):
    (tmp_path / "a.off").write_text("CNOFF\n2 0 0\n1 2 3 0 0 1 255 0 9 255\n4 5 6 1 0 0 0 255 0 255\n")
    cloud = read_points(tmp_path / "a.off")
    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]] and cloud.normals.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert cloud.colors.tolist() == [[255, 0, 9], [0, 255, 0]]


def test_colors_of_vertices_are_interpolated(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0 0 0 0\nv 1 0 0 1 0 0\nv 0 1 0 0 1 0\nf 1 2 3\n")
    cloud = read_points(tmp_path / "a.obj", mesh_samples=500)
    np.testing.assert_allclose(cloud.colors, np.clip(cloud.points * 255, 0, 255), atol=0.51)


@pytest.mark.parametrize(
    "faces", ["f 1 2 3 4\n", "f 1/1 2/2 3/3 \\\n4/4\n", "f 1//5 2//6 3//7\nf -4/1/1 -2/1/2 -1/1/3\n"]
)
def test_obj_faces_of_every_notation(tmp_path, faces):
    vertices = "".join(f"v {line}\n" for line in SQUARE.splitlines())
    (tmp_path / "a.obj").write_text(f"# square\nmtllib a.mtl\no s\n{vertices}vt 0 0\nvn 0 0 1\ns off\n{faces}")
    cloud = read_points(tmp_path / "a.obj")
    np.testing.assert_allclose(cloud.points.max(axis=0), [2, 1, 0], atol=0.01)
    assert (cloud.points[:, 0] > 2 * cloud.points[:, 1]).mean() == pytest.approx(0.5, abs=0.02)


def test_negative_indices_count_from_the_latest_vertex(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 50 50 50\n")
    assert read_points(tmp_path / "a.obj").points.max() <= 1


def test_obj_without_faces_is_a_cloud(tmp_path):
    (tmp_path / "a.OBJ").write_text("v 0 0 1\nv 1 2 3 \n")
    cloud = read_points(tmp_path / "a.OBJ")
    assert cloud.points.tolist() == [[0, 0, 1], [1, 2, 3]] and cloud.normals is None


def test_a_nan_vertex_spoils_only_its_own_face(tmp_path):
    (tmp_path / "a.off").write_text(f"OFF\n5 2 0\n{SQUARE}nan 0 0\n3 0 1 2\n3 0 1 4\n")
    assert read_points(tmp_path / "a.off").finite.all()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.off", f"4 1 0\n{SQUARE}3 0 1 2\n", "is not an OFF file"),
        ("a.off", f"OFF\n{SQUARE}", "holds no points"),
        ("a.off", f"OFF\n4 -1 0\n{SQUARE}", "does not begin with its numbers"),
        ("a.off", f"OFF\n1000000000000 1 0\n{SQUARE}", "promises 1000000000001 vertices and faces"),
        ("a.off", f"OFF\n4 2 0\n{SQUARE}3 0 1 2\n", "promises 6 vertices and faces"),
        ("a.off", f"OFF\n4 1 0\n{SQUARE}3 0 1 4\n", "has a face with vertex 4"),
        ("a.off", f"OFF\n4 1 0\n{SQUARE}3 0 1\n", "line 7 is not a face"),
        ("a.off", f"OFF\n4 1 0\n{SQUARE}3 0 1 x\n", "no integers"),
        ("a.off", f"OFF\n4 1 0\n{SQUARE}3 0 1 1\n", "mesh without area"),
        ("a.off", "OFF\n2 0 0\n0 0 0\n0 zero 0\n", "line 4: 'zero' is not a number"),
        ("a.off", "OFF BINARY\n2 0 0\n", "binary OFF"),
        ("a.off", "OFF\n0 0 0\n", "holds no points"),
        ("a.obj", "# nothing\nf 1 2 3\n", "holds no vertex"),
        ("a.obj", "v 0 0 0\nv 1 1 1\nv 2 1 1\nf 1 2 4\n", "has a face with vertex 3"),
        ("a.obj", "v 0 0 0\nf 1 0 1\n", "line 2 is a face whose vertices are not"),
        ("a.obj", "v 0 0 0\nf -2 1 1\n", "line 2 is a face with vertex -2"),
        ("a.obj", "v 0 0 0\nf a b c\n", "line 2 is a face whose vertices are not"),
        ("a.obj", "v 0 0\n", "2 columns for a vertex"),
        ("a.obj", "v 0 0 0\nv 1 1 1\nf 1 2\n", "mesh without area"),
    ],
)
def test_damaged_meshes_are_refused_in_one_sentence(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says) as error:
        read_points(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_negative_number_of_samples_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mesh_samples is -1"):
        read_points(tmp_path / "a.off", mesh_samples=-1)
