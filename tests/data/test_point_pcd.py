"""PCD files of the three kinds of storage, and the LZF compression of one."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from zoo.data.point_formats.lzf import decompress_lzf
from zoo.data.points import read_points
from zoo.errors import InputError

KINDS = ["ascii", "binary", "binary_compressed"]


def compress(data: bytes) -> bytes:
    """A plain LZF compressor: the longest earlier copy that three equal bytes lead to, literals for the rest."""
    out, literals, seen, i = bytearray(), bytearray(), {}, 0

    def flush():
        for start in range(0, len(literals), 32):
            out.append(len(literals[start : start + 32]) - 1)
            out.extend(literals[start : start + 32])
        literals.clear()

    while i < len(data):
        start = seen.get(data[i : i + 3], -9999)
        seen[data[i : i + 3]] = i
        length = 0
        while (
            i - start <= 8192 and length < 264 and i + length < len(data) and data[start + length] == data[i + length]
        ):
            length += 1
        if length < 3:
            literals.append(data[i])
            i += 1
            continue
        flush()
        distance = i - start - 1
        out.extend([min(length - 2, 7) << 5 | distance >> 8, *([length - 9] if length >= 9 else []), distance & 255])
        i += length
    flush()
    return bytes(out)


def pcd(fields: dict[str, np.ndarray], kind: str, points: int | None = None) -> bytes:
    count = len(next(iter(fields.values())))
    sizes = " ".join(str(values.itemsize) for values in fields.values())
    types = " ".join({"f": "F", "u": "U", "i": "I"}[values.dtype.kind] for values in fields.values())
    counts = " ".join(str(values[:1].size) for values in fields.values())
    text = (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS {' '.join(fields)}\nSIZE {sizes}\nTYPE {types}\nCOUNT {counts}\n"
        f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points or count}\nDATA {kind}\n"
    )
    flat = [values.reshape(count, -1) for values in fields.values()]
    if kind == "ascii":
        rows = (" ".join(repr(v.item()) for values in flat for v in values[i]) for i in range(count))
        return text.encode() + "\n".join(rows).encode() + b"\n"
    if kind == "binary":
        return text.encode() + b"".join(values[i].tobytes() for i in range(count) for values in flat)
    raw = b"".join(values.tobytes() for values in flat)
    packed = compress(raw)
    return text.encode() + struct.pack("<II", len(packed), len(raw)) + packed


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=npst.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(width=32)),
    kind=st.sampled_from(KINDS),
    double=st.booleans(),
)
def test_points_colors_and_intensities_are_read(tmp_path, points, kind, double):
    points[0] = 1
    n = len(points)
    colors = np.random.default_rng(n).integers(0, 256, (n, 3), dtype=np.uint8)
    packed = (colors.astype(np.uint32) << [16, 8, 0]).sum(axis=1, dtype=np.uint32)
    fields = {
        "label": np.arange(n, dtype=np.uint16),
        "z": points[:, 2],
        "x": points[:, 0].astype(np.float64 if double else np.float32),
        "histogram": np.ones((n, 4), dtype=np.float32),
        "y": points[:, 1],
        "rgb": packed if double else packed.view(np.float32),
        "Intensity": np.arange(n, dtype=np.float32),
    }
    (tmp_path / "a.PCD").write_bytes(pcd(fields, kind))
    cloud = read_points(tmp_path / "a.PCD")
    np.testing.assert_array_equal(cloud.points, points)
    np.testing.assert_array_equal(cloud.colors, colors)
    np.testing.assert_array_equal(cloud.intensity, np.arange(n))


@given(st.binary(max_size=400) | st.lists(st.sampled_from([b"ab", b"abc", b"\0" * 300, b"xyz"])).map(b"".join))
def test_lzf_unpacks_what_was_packed(data):
    assert decompress_lzf(compress(data), len(data)) == data


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"\x20", "cut off"),
        (b"\xe0\x01", "cut off"),
        (b"\x00a\x20\x05", "before its start"),
        (b"\x05ab", "holds 2 bytes"),
    ],
)
def test_damaged_lzf_is_an_error(stream, says):
    with pytest.raises(ValueError, match=says):
        decompress_lzf(stream, 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [7, 10**12])
def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken(tmp_path, kind, count):
    fields = {axis: np.arange(6, dtype=np.float32) for axis in "xyz"}
    (tmp_path / "a.pcd").write_bytes(pcd(fields, kind, count))
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"a\.pcd promises {count} points"):
        read_points(tmp_path / "a.pcd")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("FIELDS x y z", "FIELDS x y w"), "lacks x, y or z"),
        (("SIZE 4 4 4", "SIZE 4 4 3"), "incomplete or of unknown types"),
        (("TYPE F F F", "TYPE F F"), "incomplete or of unknown types"),
        (("COUNT 1 1 1", "COUNT 1 1 -1"), "impossible counts"),
        (("WIDTH 6", "WIDTH -6"), "impossible counts"),
        (("POINTS 6", "POINTS -6"), "impossible counts"),
        (("DATA ascii", "DATA zipped"), "contradict"),
        (("DATA ascii", "DATE ascii"), "is not a PCD file"),
        (("3.0 3.0 3.0", "3.0 x 3.0"), "line 15: 'x' is not a number"),
        (("3.0 3.0 3.0", "3.0 3.0"), "line 15 has 2 columns"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(tmp_path, change, says):
    good = pcd({axis: np.arange(6, dtype=np.float32) for axis in "xyz"}, "ascii").decode()
    assert good.count(change[0]) == 1
    (tmp_path / "a.pcd").write_text(good.replace(*change))
    with pytest.raises(InputError, match=says) as error:
        read_points(tmp_path / "a.pcd")
    assert "a.pcd" in str(error.value) and "\n" not in str(error.value)


def test_damaged_compressed_points_are_refused(tmp_path):
    good = pcd({axis: np.arange(60, dtype=np.float32) for axis in "xyz"}, "binary_compressed")
    start = good.index(b"compressed\n") + 11 + 8
    (tmp_path / "a.pcd").write_bytes(good[:start] + b"\x3f" + good[start + 1 :])
    with pytest.raises(InputError, match="damaged compressed points"):
        read_points(tmp_path / "a.pcd")
    (tmp_path / "a.pcd").write_bytes(good[:-5])
    with pytest.raises(InputError, match="cut off"):
        read_points(tmp_path / "a.pcd")
