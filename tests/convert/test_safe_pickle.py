"""What a user meets who opens a file: every tensor as it was saved, or one sentence that says what is wrong."""

import argparse
import collections
import os
import pickle

import numpy as np
import pytest
import torch

from tests.convert.files import dumps, legacy_file, zip_file
from zoo.convert import read_tensors
from zoo.errors import CheckpointError, InputError


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    def save(content, **options):
        path = tmp_path / f"{request.param}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip", **options)
        return path

    return save


def state() -> dict[str, torch.Tensor]:
    base = torch.arange(40.0)
    return {
        "conv.weight": torch.randn(4, 3, 2, 2),
        "half": torch.randn(5).half(),
        "bfloat": torch.randn(5).bfloat16(),
        "double": torch.randn(5).double(),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "empty": torch.empty(0, 3),
        "part": base[3:9],
        "every other": base[10:30:2],
        "transposed": torch.randn(3, 5).t(),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("under", [None, "state_dict", "model"])
def test_every_tensor_comes_back(save, under, protocol):
    tensors = state()
    read = read_tensors(save(tensors if under is None else {under: tensors}, pickle_protocol=protocol))
    assert list(read) == list(tensors)
    for name, expected in tensors.items():
        assert read[name].dtype == expected.dtype
        assert torch.equal(read[name], expected), name


def test_safetensors_are_told_by_content(tmp_path):
    from safetensors.torch import save_file

    save_file({"module.a": torch.ones(2), "module.b": torch.zeros(3)}, tmp_path / "named.pth")
    read = read_tensors(tmp_path / "named.pth")
    assert torch.equal(read["a"], torch.ones(2)) and torch.equal(read["b"], torch.zeros(3))


def test_module_is_stripped_only_where_all_have_it(save):
    assert set(read_tensors(save({"module.a": torch.ones(1), "module.b": torch.ones(1)}))) == {"a", "b"}
    assert set(read_tensors(save({"module.a": torch.ones(1), "b": torch.ones(1)}))) == {"module.a", "b"}


class Configuration(dict):
    """Stands for the authors' own class, which nobody else has."""

    def __setstate__(self, _):
        raise AssertionError("the object was rebuilt")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_objects_beside_the_tensors_are_passed_over(save, protocol):
    configuration = Configuration(optimizer=torch.optim.Adam)
    configuration.train = argparse.Namespace(lr=0.1, model=collections.deque([1]))
    content = {
        "epoch": 3,
        "configs": configuration,
        "model": collections.OrderedDict({"a": torch.ones(2)}),
        "meters": collections.defaultdict(list, {"acc": [np.float64(0.5)]}),
        "history": np.arange(4),
        "tags": {"x", "y"},
        "device": torch.device("cpu"),
        "optimizer": {"state": {0: {"step": 1, "exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0]}]},
    }
    read = read_tensors(save(content, pickle_protocol=protocol))
    assert list(read) == ["a"] and torch.equal(read["a"], torch.ones(2))


def test_tied_tensors_are_read_once(save):
    weight = torch.randn(6, 4)
    read = read_tensors(save({"a": weight, "b": weight, "bias": weight[0]}))
    assert torch.equal(read["a"], weight) and torch.equal(read["bias"], weight[0])
    assert read["a"].data_ptr() == read["b"].data_ptr()


def test_whole_network_is_refused_by_name(save):
    with pytest.raises(
        CheckpointError, match=r"torch\.nn\.modules\.linear\.Linear in the place of its tensors.*state_dict"
    ):
        read_tensors(save(torch.nn.Linear(2, 2)))
    with pytest.raises(CheckpointError, match="Linear in the place of its tensors"):
        read_tensors(save({"model": torch.nn.Linear(2, 2)}))


def test_file_without_tensors_is_refused(save):
    for content in ({"epoch": 3}, [torch.ones(2)], {}, 3, {"state_dict": {}}, {"model": "resnet"}):
        with pytest.raises(CheckpointError, match="holds no tensors"):
            read_tensors(save(content))
    for value in (np.ones(2), 3, None, {"deeper": torch.ones(2)}):
        with pytest.raises(CheckpointError, match="'b' where a tensor should be"):
            read_tensors(save({"a": torch.ones(2), "b": value}))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_cut_off_download_names_the_remedy(save, share):
    path = save({"state_dict": state()})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="download it again") as error:
        read_tensors(path)
    assert str(int(len(whole) * share)) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_cut_off_safetensors_name_the_remedy(tmp_path, share):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({f"layer{i}.weight": torch.randn(100) for i in range(20)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"cut off.*download it again"):
        read_tensors(path)


def test_real_cut_off_download_is_named(test_data):
    path = test_data / "weights" / "tsm_jester_truncated" / "mobilenetv2_jester_online.pth.tar"
    with pytest.raises(CheckpointError, match="cut off: it ends after 1048576 bytes of 9225904; download it again"):
        read_tensors(path)


def test_flipped_bytes_give_tensors_or_one_sentence(save):
    path = save({"state_dict": {"a": torch.arange(6.0), "b": torch.ones(3, dtype=torch.int64)}})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 400):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read = read_tensors(path)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: download it again"),
        (b"hello, I am a text\n", "is not a checkpoint"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (bytes(range(1, 256)) * 40, "is not a checkpoint"),
        (bytes(4000), "is not a checkpoint"),
        (b"\x80", "cut off"),
        (b"PK\x03\x04", "cut off"),
        (pickle.dumps({"state_dict": {"a": 1}}), "not one that torch.save wrote"),
    ],
)
def test_other_files_are_named_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_tensors(path)
    assert "model.pth" in str(error.value) and "\n" not in str(error.value)


def test_missing_file_and_folder_are_input_errors(tmp_path):
    with pytest.raises(InputError, match=r"no checkpoint .*missing\.pth"):
        read_tensors(tmp_path / "missing.pth")
    with pytest.raises(InputError, match="is a folder"):
        read_tensors(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no ordinary file"):
        read_tensors(tmp_path / "pipe")


def test_other_archives_are_refused(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(CheckpointError, match=r"not one that torch\.save wrote"):
        read_tensors(tmp_path / "arrays.npz")
    program = zip_file(tmp_path / "program.pt", dumps({"a": 1}), {"constants.pkl": dumps(()), "code/a.py": b"print(1)"})
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_tensors(program)
    with pytest.raises(CheckpointError, match="its index ends too soon"):
        read_tensors(zip_file(tmp_path / "garbage.pth", b"garbage"))
    with pytest.raises(CheckpointError, match="cut off"):
        read_tensors(legacy_file(tmp_path / "short.pth", dumps({"a": 1})[:-1]))
