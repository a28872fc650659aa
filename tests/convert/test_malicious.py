"""Files that attack: nothing in them runs, they take no memory, and the user reads one sentence."""

import collections
import contextlib
import functools
import os
import pickle
import resource
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from tests.convert.files import Call, Storage, dumps, legacy_file, tensor, zip_file
from zoo.convert import read_tensors
from zoo.errors import CheckpointError

ELEMENT = struct.pack("<f", 1.0)


@pytest.fixture(params=["zip", "legacy"])
def write(request, tmp_path):
    """Write a pickle as a file in either format, with a storage of one element if it refers to one."""

    def write(pickled: bytes, keys: tuple[str, ...] = ("0",)):
        path = tmp_path / "evil.pth"
        if request.param == "zip":
            return zip_file(path, pickled, {f"data/{key}": ELEMENT for key in keys})
        return legacy_file(path, pickled, keys, b"".join(struct.pack("<q", 1) + ELEMENT for _ in keys))

    return write


@pytest.fixture
def mark(tmp_path):
    """A path that an attack creates when it succeeds."""
    path = tmp_path / "it ran"
    yield path
    assert not path.exists(), "the file ran what it holds"


def command(mark) -> str:
    return f"touch '{mark}'"


def good() -> Call:
    return tensor(Storage(1), 0, (1,), (1,))


def attacks(mark) -> dict[str, object]:
    """Calls that create the mark, if anything makes them."""
    line = f"open({os.fspath(mark)!r}, 'w')"
    return {
        "os.system": Call(os.system, command(mark)),
        "eval": Call(eval, line),
        "exec": Call(exec, line),
        "open": Call(open, os.fspath(mark), "w"),
        "os.mkdir": Call(os.mkdir, os.fspath(mark)),
        "getattr": Call(Call(getattr, Call(__import__, "os"), "system"), command(mark)),
        "partial": Call(functools.partial, Call(functools.partial, os.system, command(mark))),
        "map": Call(list, Call(map, os.system, [command(mark)])),
        "torch.hub": Call(torch.hub.load, "owner/repository", "model"),
        "torch.load": Call(torch.load, os.fspath(mark)),
        "from_type": Call(torch._tensor._rebuild_from_type_v2, os.mkdir, torch.Tensor, (os.fspath(mark),), {}),
        "parameter": Call(torch._utils._rebuild_parameter, Call(os.system, command(mark)), True, {}),
        "ordered": Call(collections.OrderedDict, Call(os.mkdir, os.fspath(mark))),
        "default": Call(collections.defaultdict, Call(os.mkdir, os.fspath(mark))),
        "tensor": tensor(Call(os.mkdir, os.fspath(mark)), 0, (1,), (1,)),
        "size": tensor(Storage(1), 0, Call(os.mkdir, os.fspath(mark)), (1,)),
        "hooks": Call(
            torch._utils._rebuild_tensor_v2, Storage(1), 0, (1,), (1,), False, Call(os.mkdir, os.fspath(mark))
        ),
    }


NAMES = sorted(attacks("mark"))
PLACES = {
    "alone": lambda attack: attack,
    "for the tensors": lambda attack: {"state_dict": attack},
    "for a tensor": lambda attack: {"state_dict": {"a": good(), "b": attack}},
    "beside the tensors": lambda attack: {"state_dict": {"a": good()}, "nested": [({"x": (attack,)},)]},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_file_runs(write, mark, name, place):
    attack = attacks(mark)[name]
    path = write(dumps(PLACES[place](attack)))
    try:
        read = read_tensors(path)
    except CheckpointError as error:
        assert "evil.pth" in str(error) and "\n" not in str(error)
    else:  # what is not of the tensors and looks harmless may stand beside them, unrebuilt
        assert name == "torch.load" and list(read) == ["a"]
    assert not mark.exists()


def test_the_attacks_would_work_elsewhere(write, mark):
    for name in ("os.mkdir", "getattr", "from_type"):
        with contextlib.suppress(AttributeError):
            torch.load(write(dumps({"model": attacks(mark)[name]}), ()), weights_only=False)
        assert mark.exists()
        mark.rmdir() if mark.is_dir() else mark.unlink()


def test_dangerous_function_is_named(write, mark):
    with pytest.raises(CheckpointError, match=r"asks for (posix|nt)\.system to be called .* delete the file"):
        read_tensors(write(dumps({"state_dict": {"a": good()}, "config": attacks(mark)["os.system"]})))


STEERING = "x\x1b]0;owned\x07\u202e"


def steering_global(module: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{STEERING}\n".encode() + b")R."


@pytest.mark.parametrize(
    "pickled",
    [
        steering_global("os"),
        steering_global("torch"),
        dumps({"model": {STEERING: good()}}),
        dumps({"model": {"y" * 10**6: good()}}),
        dumps({"model": {"a" + "\n": good()}}),
        dumps({"model": {"a": tensor(Storage(1, STEERING), 0, (1,), (1,))}}),
    ],
)
def test_what_a_file_is_called_inside_cannot_steer_a_terminal(write, pickled):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(write(pickled))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 10_000


def test_names_in_safetensors_cannot_either(tmp_path):
    save_file({STEERING: torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="cannot be shown"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("position", [0, 1, 2, 4])
def test_every_pickle_of_an_old_file_is_guarded(tmp_path, mark, position):
    parts = [dumps(item) for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": good()}, ["0"])]
    parts[position] = dumps(Call(os.mkdir, os.fspath(mark)))
    path = tmp_path / "evil.pth"
    path.write_bytes(b"".join(parts) + struct.pack("<q", 1) + ELEMENT)
    with pytest.raises(CheckpointError):
        read_tensors(path)


def text(string: str) -> bytes:
    return b"X" + struct.pack("<I", len(string)) + string.encode()


@pytest.mark.parametrize(
    "make",
    [
        lambda line: b"(" + text(line) + b"iposix\nsystem\n.",  # INST
        lambda line: b"(cposix\nsystem\n" + text(line) + b"o.",  # OBJ
        lambda line: b"cposix\nsystem\n" + text(line) + b"\x85\x81.",  # NEWOBJ
        lambda line: b"cposix\nsystem\n" + text(line) + b"\x85}\x92.",  # NEWOBJ_EX
        lambda line: b"\x80\x04" + text("posix") + text("system") + b"\x93" + text(line) + b"\x85R.",  # STACK_GLOBAL
        lambda line: (
            b"cargparse\nNamespace\n)\x81}" + text("__setstate__") + b"cposix\nsystem\nsb" + text(line) + b"b."
        ),
        lambda line: b"cbuiltins\ngetattr\ncos.path\nos\n" + text("system") + b"\x86R" + text(line) + b"\x85R.",
        lambda line: b"cos.path\nos.system\n" + text(line) + b"\x85R.",
        lambda line: b"\x80\x04" + text("genericpath") + text("os.system") + b"\x93" + text(line) + b"\x85R.",
        lambda line: b"]cposix\nsystem\na" + text(line) + b"b.",  # BUILD of a list
        lambda line: b"\x82\x01.",  # EXT1
        lambda line: b"\x97.",  # NEXT_BUFFER
    ],
)
def test_no_operation_runs_anything(write, mark, make):
    pickled = make(command(mark))
    for content in (pickled, b"}" + text("model") + pickled[:-1] + b"s."):
        with pytest.raises(CheckpointError):
            read_tensors(write(content, ()))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (2,), (1,)),
        (1, (1,), (1,)),
        (2, (0,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (1,), (-1,)),
        (0, (1, 1), (1,)),
        (0, (2,), (0,)),
        (0, (2**40,), (0,)),
        (0, (2**62, 2**62), (1, 1)),
        (0, (2**70,), (0,)),
        (0, (True,), (1,)),
        (0, (1.0,), (1,)),
        (0, [1], [1]),
        (0, (1,) * 1000, (1,) * 1000),
        ("0", (1,), (1,)),
    ],
)
def test_tensor_outside_its_storage_is_refused(write, offset, size, stride):
    assert list(read_tensors(write(dumps({"a": good()})))) == ["a"]
    with pytest.raises(CheckpointError, match="cannot be trusted"):
        read_tensors(write(dumps({"a": tensor(Storage(1), offset, size, stride)})))


@pytest.mark.parametrize("numel", [2, 2**20, 2**40, 2**61, 2**62, 2**70, -1, "1", None])
def test_storage_that_claims_more_than_the_file_has_is_refused(write, numel):
    with pytest.raises(CheckpointError):
        read_tensors(write(dumps({"a": tensor(Storage(numel), 0, (1,), (1,))})))


def test_storages_that_contradict_each_other_are_refused(write):
    with pytest.raises(CheckpointError, match="two ways"):
        read_tensors(write(dumps({"a": good(), "b": tensor(Storage(2), 0, (2,), (1,))})))
    with pytest.raises(CheckpointError):
        read_tensors(write(dumps({"a": tensor(Storage(1, "../../secret"), 0, (1,), (1,))})))
    with pytest.raises(CheckpointError, match="part of the storage"):
        read_tensors(write(dumps({"a": tensor(Storage(1, "0", (("1", 5, 1),)), 0, (1,), (1,))})))


@pytest.mark.parametrize(
    "pickled",
    [
        b"}r\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"\x8e" + struct.pack("<Q", 2**45) + b".",  # bytes
        b"\x8d" + struct.pack("<Q", 2**45) + b".",  # text
        b"\x96" + struct.pack("<Q", 2**45) + b".",  # a byte array
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",  # a number
        b"\x95" + struct.pack("<Q", 2**45) + b"}.",  # a frame
        b"cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
        b"]" + b"(" * 1000 + b"t" * 1000 + b".",
        b"}(" + b")" + b"\x85" * 200_000 + b"K\x01u.",  # a key so deep that its hash would overflow the stack
        b"(" + b")" + b"\x85" * 200_000 + b"\x91.",
        b"c" + b"a" * 1_000_000 + b"\nb\n.",
    ],
)
def test_memory_and_time_are_bounded(write, pickled):
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(CheckpointError):
        read_tensors(write(pickled, ()))
    assert time.monotonic() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_compressed_archive_is_refused(tmp_path):
    path = zip_file(tmp_path / "bomb.pth", b"}" * 50_000_000, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match="compressed"):
        read_tensors(path)


def test_plain_pickle_is_refused_unrun(tmp_path, mark):
    path = tmp_path / "plain.pth"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Call(os.mkdir, os.fspath(mark)), protocol))
        with pytest.raises(CheckpointError):
            read_tensors(path)
