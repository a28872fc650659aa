"""PLY files, read and written."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from zoo.data.points import color_labels, label_colors, read_points, write_ply
from zoo.errors import InputError

TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
}
XYZ = "property float x\nproperty float y\nproperty float z\n"
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]], dtype=np.float32)
same_folder = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def header(form: str, vertices: int, properties: str = XYZ, more: str = "") -> bytes:
    return (
        f"ply\nformat {form} 1.0\ncomment made here\nelement vertex {vertices}\n{properties}{more}end_header\n".encode()
    )


@same_folder
@given(
    points=npst.arrays(np.float32, st.tuples(st.integers(1, 50), st.just(3)), elements=st.floats(width=32)),
    seed=st.integers(0, 9),
)
def test_what_is_written_is_read_back(tmp_path, points, seed):
    points[0] = seed
    colors = np.random.default_rng(seed).integers(0, 256, points.shape, dtype=np.uint8)
    write_ply(tmp_path / "a.ply", points, colors, np.arange(len(points)) - 1)
    cloud = read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(cloud.points, points)
    np.testing.assert_array_equal(cloud.colors, colors)
    np.testing.assert_array_equal(cloud.finite, np.isfinite(points).all(axis=1))
    assert cloud.path == str(tmp_path / "a.ply") and cloud.points.dtype == np.float32 and cloud.colors.dtype == np.uint8


@same_folder
@given(
    kinds=st.lists(st.sampled_from(sorted(TYPES)), min_size=3, max_size=3),
    order=st.permutations(["x", "y", "z", "extra", "intensity"]),
    form=st.sampled_from(["ascii", "binary_little_endian", "binary_big_endian"]),
    rows=st.lists(st.tuples(*[st.integers(0, 100)] * 5), min_size=1, max_size=9),
)
def test_properties_of_any_order_type_and_byte_order(tmp_path, kinds, order, form, rows):
    names = dict(zip(order, [*kinds, "short", "double"], strict=True))
    properties = "".join(f"property {kind} {name}\n" for name, kind in names.items())
    table = np.array(rows, dtype=np.float64)
    if form == "ascii":
        body = "".join(" ".join(str(int(v)) for v in row) + "\n" for row in table).encode()
    else:
        mark = "<" if "little" in form else ">"
        records = np.zeros(len(table), dtype=[(name, mark + TYPES[kind]) for name, kind in names.items()])
        for i, name in enumerate(names):
            records[name] = table[:, i]
        body = records.tobytes()
    (tmp_path / "a.ply").write_bytes(header(form, len(table), properties) + body)
    cloud = read_points(tmp_path / "a.ply")
    np.testing.assert_array_equal(cloud.points, table[:, [order.index(axis) for axis in "xyz"]])
    np.testing.assert_array_equal(cloud.intensity, table[:, order.index("intensity")])
    assert cloud.colors is None and cloud.normals is None


def test_colors_normals_and_intensity_under_their_usual_names(tmp_path):
    names = ["nx", "ny", "nz", "x", "y", "z", "red", "green", "blue", "alpha", "scalar_Intensity"]
    properties = "".join(f"property float {name}\n" for name in names)
    (tmp_path / "a.ply").write_bytes(header("ascii", 1, properties) + b"0 0 1 4 5 6 1.0 0.5 0 1 0.25\n")
    cloud = read_points(tmp_path / "a.ply")
    assert cloud.points.tolist() == [[4, 5, 6]] and cloud.normals.tolist() == [[0, 0, 1]]
    assert cloud.colors.tolist() == [[255, 128, 0]] and cloud.intensity.tolist() == [0.25]


def test_sixteen_bit_colors_become_eight(tmp_path):
    properties = XYZ + "".join(f"property ushort {name}\n" for name in ("red", "green", "blue"))
    (tmp_path / "a.ply").write_bytes(header("ascii", 1, properties) + b"0 0 1 65535 257 0\n")
    assert read_points(tmp_path / "a.ply").colors.tolist() == [[255, 1, 0]]


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("faces", [[[0, 1, 2], [0, 2, 3]], [[0, 1, 2, 3]], [[0, 1, 2], [0, 1, 2, 3]]])
def test_faces_are_sampled_by_area(tmp_path, form, faces):
    more = (
        f"element other 1\nproperty int a\nelement face {len(faces)}\n"
        "property uchar flag\nproperty list uchar int vertex_indices\n"
    )
    if form == "ascii":
        body = "".join(" ".join(map(str, p)) + "\n" for p in POINTS) + "7\n"
        body = (body + "".join(f"1 {len(f)} {' '.join(map(str, f))}\n" for f in faces)).encode()
    else:
        mark = "<" if "little" in form else ">"
        body = POINTS.astype(mark + "f4").tobytes() + struct.pack(mark + "i", 7)
        body += b"".join(struct.pack(f"{mark}BB{len(f)}i", 1, len(f), *f) for f in faces)
    (tmp_path / "a.ply").write_bytes(header(form, 5, XYZ, more) + body)
    cloud = read_points(tmp_path / "a.ply", mesh_samples=4000)
    assert cloud.points.shape == (4000, 3)
    assert (cloud.points[:, 2] == 0).all() and cloud.points.min() >= 0 and cloud.points.max() <= 1
    assert np.abs(cloud.normals) @ [0, 0, 1] == pytest.approx(1)
    below = (cloud.points[:, 1] < cloud.points[:, 0]).mean()
    assert below == pytest.approx(2 / 3 if len(faces) == 2 and len(faces[1]) == 4 else 0.5, abs=0.04)
    np.testing.assert_array_equal(read_points(tmp_path / "a.ply", mesh_samples=0).points, POINTS)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("count", [3, 10**12, 10**18])
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, form, count):
    body = b"1 2 3\n4 5 6\n" if form == "ascii" else bytes(24)
    (tmp_path / "a.ply").write_bytes(header(form, count) + body)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"a\.ply promises {count} .*cut off"):
        read_points(tmp_path / "a.ply")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_faces_that_are_promised_and_missing_are_refused(tmp_path, form):
    more = "element face 4000000\nproperty list uint uint vertex_indices\n"
    body = (
        b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n" if form == "ascii" else bytes(36) + struct.pack("<4I", 3_000_000_000, 0, 1, 2)
    )
    (tmp_path / "a.ply").write_bytes(header(form, 3, XYZ, more) + body)
    with pytest.raises(InputError, match="promises"):
        read_points(tmp_path / "a.ply")
    (tmp_path / "b.ply").write_bytes(header(form, 3, XYZ, more.replace("4000000", "1")) + body[:-4])
    with pytest.raises(InputError, match=r"promises|is not a face"):
        read_points(tmp_path / "b.ply")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((b"element vertex 2", b"element vertex -2"), "line 4 of its header"),
        ((b"float y", b"quaternion y"), "line 6 of its header"),
        ((b"float y", b"float yy"), "has no y"),
        ((b"format ascii 1.0\n", b""), "does not say its format"),
        ((b"ply\n", b"plot\n"), "is not a PLY file"),
        ((b"end_header", b"end"), "is not a PLY file"),
        ((b"4 5 6", b"4 5 six"), "line 10: 'six' is not a number"),
        ((b"4 5 6", b"4.25 5"), "line 10 has 2 columns"),
        ((b"4 5 6", b"4 5 \xff"), "not UTF-8"),
        ((b"vertex 2", b"vertex 0"), "holds no points"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, change, says):
    good = header("ascii", 2) + b"1 2 3\n4 5 6\n"
    (tmp_path / "a.ply").write_bytes(good)
    assert len(read_points(tmp_path / "a.ply").points) == 2
    assert good.count(change[0]) == 1 or change[0] == b"ply\n"
    (tmp_path / "a.ply").write_bytes(good.replace(*change, 1))
    with pytest.raises(InputError, match=says) as error:
        read_points(tmp_path / "a.ply")
    assert "a.ply" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("face", ["3 0 1 5", "3 0 1 -1", "3 0 1 4294967296"])
def test_a_face_with_an_unknown_vertex_is_refused(tmp_path, face):
    more = "element face 1\nproperty list uchar int vertex_indices\n"
    (tmp_path / "a.ply").write_bytes(header("ascii", 3, XYZ, more) + f"0 0 0\n1 0 0\n0 1 0\n{face}\n".encode())
    with pytest.raises(InputError, match="has a face with vertex"):
        read_points(tmp_path / "a.ply")


def test_writing_says_what_is_wrong(tmp_path):
    points = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(InputError, match="make the folder"):
        write_ply(tmp_path / "none" / "a.ply", points)
    with pytest.raises(InputError, match="cannot be written"):
        write_ply(tmp_path, points)
    with pytest.raises(InputError, match="N, 3"):
        write_ply(tmp_path / "a.ply", points[:, :2])
    with pytest.raises(InputError, match="colours"):
        write_ply(tmp_path / "a.ply", points, np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(InputError, match="labels"):
        write_ply(tmp_path / "a.ply", points, labels=np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match="32 bits"):
        write_ply(tmp_path / "a.ply", points, labels=np.array([0, 2**31]))
    assert not (tmp_path / "a.ply").exists()


def test_every_class_has_a_color_of_its_own_and_no_label_is_grey():
    colors = label_colors(50)
    assert colors.dtype == np.uint8 and colors.shape == (50, 3)
    with_grey = np.concatenate([colors, [[128, 128, 128]]]).astype(int)
    distances = np.abs(with_grey[:, None] - with_grey).sum(axis=2) + 999 * np.eye(51, dtype=int)
    assert distances.min() > 40
    np.testing.assert_array_equal(label_colors(3), colors[:3])
    assert color_labels(np.array([-1, 0, 2]), 3).tolist() == [[128, 128, 128], colors[0].tolist(), colors[2].tolist()]
    with pytest.raises(ValueError, match="-1 to 2"):
        color_labels(np.array([3]), 3)
