"""Points without a format of their own: text, numpy's arrays, and bare float32 rows."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from zoo.data.points import read_points
from zoo.errors import InputError

RNG = np.random.default_rng(0)
XYZ = RNG.normal(scale=20, size=(40, 3)).astype(np.float32)
RGB = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
UNIT = (XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)).astype(np.float32)
ONE = RNG.random((40, 1)).astype(np.float32)


def save_text(path, *columns, delimiter=" ", header=""):
    np.savetxt(
        path,
        np.concatenate(columns, axis=1, dtype=np.float64),
        fmt="%.7g",
        delimiter=delimiter,
        header=header,
        comments="",
    )


@pytest.mark.parametrize("suffix", ["txt", "xyz", "csv", "pts", "asc", "TXT"])
@pytest.mark.parametrize("delimiter", [" ", ",", "\t", "; "])
def test_text_of_every_delimiter(tmp_path, suffix, delimiter):
    save_text(tmp_path / f"a.{suffix}", XYZ, delimiter=delimiter)
    cloud = read_points(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(cloud.points, XYZ, rtol=1e-6)
    assert cloud.colors is None and cloud.intensity is None and cloud.normals is None and cloud.finite.all()


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ([ONE], {"intensity"}),
        ([ONE, ONE * 9], {"intensity"}),
        ([RGB], {"colors"}),
        ([RGB / 255], {"colors"}),
        ([UNIT], {"normals"}),
        ([UNIT, np.full((40, 1), 45)], {"normals"}),
        ([RGB, np.full((40, 1), 3)], {"colors"}),
        ([ONE * -2000, RGB], {"intensity", "colors"}),
        ([RGB, UNIT], {"colors", "normals"}),
        ([UNIT, RGB, np.ones((40, 1))], {"colors", "normals"}),
        ([XYZ], set()),
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "npy"])
def test_further_columns_are_understood_by_their_values(tmp_path, columns, found, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, np.concatenate([XYZ, *columns], axis=1))
    else:
        save_text(path, XYZ, *columns)
    cloud = read_points(path)
    assert {name for name in ("colors", "intensity", "normals") if getattr(cloud, name) is not None} == found
    if "colors" in found:
        np.testing.assert_array_equal(cloud.colors, RGB)
    if "normals" in found:
        np.testing.assert_allclose(cloud.normals, UNIT, atol=1e-6)
    if "intensity" in found:
        np.testing.assert_allclose(cloud.intensity, columns[0][:, 0], rtol=1e-5)


def test_rows_of_nan_do_not_hide_the_colors(tmp_path):
    table = np.concatenate([XYZ, RGB], axis=1, dtype=np.float64)
    table[7] = np.nan
    save_text(tmp_path / "a.txt", table)
    cloud = read_points(tmp_path / "a.txt")
    assert cloud.finite.sum() == 39 and not cloud.finite[7]
    np.testing.assert_array_equal(cloud.colors[8:], RGB[8:])


def test_a_header_of_names_says_what_the_columns_are(tmp_path):
    save_text(tmp_path / "a.csv", RGB, XYZ, ONE, delimiter=",", header='"R","G","B","X","Y","Z","Intensity"')
    cloud = read_points(tmp_path / "a.csv")
    np.testing.assert_allclose(cloud.points, XYZ, rtol=1e-6)
    np.testing.assert_array_equal(cloud.colors, RGB)
    np.testing.assert_allclose(cloud.intensity, ONE[:, 0], rtol=1e-6)


def test_pts_with_its_count_intensity_and_colors(tmp_path):
    save_text(tmp_path / "a.pts", XYZ, np.full((40, 1), 17), RGB, header="40")
    cloud = read_points(tmp_path / "a.pts")
    np.testing.assert_array_equal(cloud.colors, RGB)
    assert (cloud.intensity == 17).all()


def test_comments_blank_lines_and_infinite_points_are_accepted(tmp_path):
    (tmp_path / "a.xyz").write_text("\ufeff// X Y Z\n# scanner 3\n1 2 3\n\nnan 0 0  # lost\n0 -inf 1e300\r\n4 5 6")
    cloud = read_points(tmp_path / "a.xyz")
    assert cloud.finite.tolist() == [True, False, False, True]
    assert cloud.points[cloud.finite].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_single_point_is_enough(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3")
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3]]))
    np.array([1, 2, 3, 0.5], dtype="<f4").tofile(tmp_path / "a.bin")
    for name in ("a.txt", "a.npy", "a.bin"):
        assert read_points(tmp_path / name).points.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("1 2 3\n4 5\n", "line 2 has 2 columns where the lines before have 3"),
        ("1 2 3\n\n4 5 6 7\n", "line 3 has 4 columns"),
        ("1 2 3\n4 five 6\n", "line 2: 'five' is not a number"),
        ("x,y,z\n1,2,3\n4,,6\n", "line 3 has 2 columns"),
        ("1 2\n3 4\n", "has 2 columns"),
        ("1\n", "holds no points"),
        ("3\n1 2 3\n", "promises 3 points"),
        ("1000000000000\n1 2 3\n", "promises 1000000000000 points"),
        ("hello world\nthis is a letter\n", "'this' is not a number"),
        ("# only comments\n", "holds no points"),
        ("nan nan nan\ninf 0 0\n", "holds no finite point"),
        (b"1 2 3\n\xff\xfe\n", "is not UTF-8 text"),
        ("1 2 3\n".encode("utf-16"), "is not UTF-8 text"),
        (bytes(100), "is not UTF-8 text"),
    ],
)
def test_damaged_text_is_refused_in_one_sentence(tmp_path, content, says):
    (tmp_path / "a.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says) as error:
        read_points(tmp_path / "a.txt")
    assert "a.txt" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "keys", [("points", "colors", "normals"), ("xyz", "rgb", "normal"), ("pos", "color", "normals")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_under_its_keys(tmp_path, keys, save):
    arrays = dict(zip(keys, (XYZ.astype(np.float64), RGB, UNIT), strict=True))
    save(tmp_path / "a.npz", **arrays, intensity=ONE[:, 0], names=np.array([{"a": 1}], dtype=object))
    cloud = read_points(tmp_path / "a.npz")
    np.testing.assert_array_equal(cloud.points, XYZ)
    np.testing.assert_array_equal(cloud.colors, RGB)
    np.testing.assert_array_equal(cloud.normals, UNIT)
    np.testing.assert_array_equal(cloud.intensity, ONE[:, 0])


def test_npy_of_records_and_of_fortran_order(tmp_path):
    records = np.zeros(2, dtype=[("z", "f8"), ("x", "i4"), ("y", "f4"), ("name", "U5")])
    records["x"], records["y"], records["z"] = [1, 4], [2, 5], [3, 6]
    np.save(tmp_path / "a.npy", records)
    np.save(tmp_path / "b.npy", np.asfortranarray([[1, 2, 3], [4, 5, 6]]))
    for name in ("a.npy", "b.npy"):
        assert read_points(tmp_path / name).points.tolist() == [[1, 2, 3], [4, 5, 6]]


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[Bomb()] * 3], dtype=object), "Python objects"),
        (np.zeros((4, 2)), "has 2 columns"),
        (np.zeros((3, 4000)), "transposing"),
        (np.zeros(9), "of shape"),
        (np.zeros((2, 5, 3)), "of shape"),
        (np.zeros((0, 3)), "holds no points"),
        (np.full((5, 3), np.nan), "holds no finite point"),
        (np.array([["a", "b", "c"]]), "not numbers"),
        (np.zeros((4, 3), dtype=complex), "not numbers"),
    ],
)
def test_arrays_that_are_no_cloud_are_refused(tmp_path, capsys, array, says):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=says):
        read_points(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", points=array)
    with pytest.raises(InputError, match=says):
        read_points(tmp_path / "a.npz")
    assert capsys.readouterr().out == ""


def test_a_pickle_named_npy_is_refused_and_not_run(tmp_path, capsys):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="is not an array of numpy's format"):
        read_points(tmp_path / "a.npy")
    assert capsys.readouterr().out == ""


def promise(shape) -> bytes:
    """An NPY header of ``shape`` with only 24 bytes behind it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(24)


@pytest.mark.parametrize("shape", [(2, 3), (10**12, 3), (-4, 3)])
def test_arrays_that_promise_too_much_are_refused_before_memory_is_taken(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(promise(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("points.npy", promise(shape))
    for name in ("a.npy", "a.npz"):
        tracemalloc.start()
        with pytest.raises(InputError, match="promises"):
            read_points(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("points.npy", "w") as member,
    ):
        member.write(promise((10**7, 3)))
        for _ in range(240):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match="unpacks to more than 100 times its size"):
        read_points(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_archives_that_are_damaged_or_do_not_match_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", cloud=XYZ)
    with pytest.raises(InputError, match=r"has no array 'points'.*it has: cloud"):
        read_points(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", points=XYZ, colors=RGB[:7])
    with pytest.raises(InputError, match=r"40 points but an array of shape \[7, 3\]"):
        read_points(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "a.npz", points=XYZ)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:200])
    with pytest.raises(InputError, match="is not an NPZ archive, or a damaged one"):
        read_points(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(content[:80] + b"~~~~" + content[84:])
    with pytest.raises(InputError, match="a damaged one"):
        read_points(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ([ONE], "intensity"),
        ([np.rint(ONE * 255)], "intensity"),
        ([ONE * 200, np.rint(ONE * 31)], "intensity"),
        ([RGB], "colors"),
        ([RGB / 255], "colors"),
    ],
)
def test_the_columns_of_bin_are_found_out(tmp_path, columns, found):
    np.concatenate([XYZ, *columns], axis=1).astype("<f4").tofile(tmp_path / "a.BIN")
    cloud = read_points(tmp_path / "a.BIN")
    np.testing.assert_array_equal(cloud.points, XYZ)
    assert {name for name in ("colors", "intensity", "normals") if getattr(cloud, name) is not None} == {found}
    if found == "colors":
        np.testing.assert_array_equal(cloud.colors, RGB)
    else:
        np.testing.assert_allclose(cloud.intensity, columns[0][:, 0], rtol=1e-6)


@pytest.mark.parametrize("num_columns", [3, 4, 7, 20])
def test_the_columns_of_bin_can_be_said(tmp_path, num_columns):
    table = RNG.normal(size=(20, num_columns)).astype("<f4")
    table.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_points(tmp_path / "a.bin", num_columns=num_columns).points, table[:, :3])
    with pytest.raises(InputError, match="no whole rows of 11"):
        read_points(tmp_path / "a.bin", num_columns=11)
    with pytest.raises(InputError, match="at least x, y and z"):
        read_points(tmp_path / "a.bin", num_columns=2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (np.ones(7, "<f4").tobytes(), "no whole rows of 4, 5, 6 or 3 float32"),
        (np.random.default_rng(1).bytes(16_000), "does not hold float32 coordinates"),
        (b"0.125 0.5 1.75\n" * 400, "does not hold float32 coordinates"),
        (np.full(400, np.nan, "<f4").tobytes(), "holds no finite point"),
    ],
)
def test_bin_files_that_hold_something_else_are_refused(tmp_path, content, says):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_points(tmp_path / "a.bin")
