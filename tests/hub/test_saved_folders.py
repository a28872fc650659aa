"""A folder of one model: it comes back bit for bit, says what timm's users look for, and may come from a stranger."""

import dataclasses
import hashlib
import inspect
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from zoo.errors import CheckpointError, ZooError
from zoo.hub import check_golden
from zoo.weights import PointInput, VideoInput

MODELS = {
    "tsm_mobilenetv2_online": {"num_classes": 4, "num_frames": 4},
    "tsm_resnet18": {"num_classes": 0, "num_frames": 2},
    "tsn_mobilenetv2": {"modality": "flow", "num_frames": 2},
    "pvcnn_sem_c0p125": {"in_channels": 6},
    "pvcnn_part_c0p25": {},
    "pointnet_cls": {"width_multiplier": 0.25},
    "frustum_pointnet": {"width_multiplier": 0.25},
}


@pytest.fixture
def model():
    return zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6)


@pytest.fixture
def folder(model, tmp_path):
    return zoo.save_pretrained(model, tmp_path / "model")


def change_block(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"zoo": config["zoo"] | changes}))


def refused(folder, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        zoo.create_model(f"local-dir:{folder}", pretrained=True)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_with_its_golden_outputs(name, tmp_path):
    model = zoo.create_model(name, **MODELS[name])
    state = torch.get_rng_state()
    first = zoo.save_pretrained(model, tmp_path / "first")
    assert model.training and torch.equal(torch.get_rng_state(), state)
    again = zoo.create_model(f"local-dir:{first}", pretrained=True)
    second = zoo.save_pretrained(again, tmp_path / "second")
    for file in ("model.safetensors", "config.json", "README.md", "test/input.safetensors", "test/output.safetensors"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    check_golden(first, again)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])


def test_golden_tensors_notice_other_weights(model, folder):
    check_golden(folder, model)
    with torch.no_grad():
        model.classifier[-1].bias.add_(0.1)
    with pytest.raises(CheckpointError, match="does not give the golden output 'output'"):
        check_golden(folder, model)
    with torch.no_grad():
        model.classifier[-1].bias.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="golden output"):
        check_golden(folder, model)


def test_strange_golden_tensors_are_one_error(model, folder):
    def refuse(match):
        with pytest.raises(CheckpointError, match=match) as caught:
            check_golden(folder, model)
        assert "\n" not in str(caught.value)

    inputs, outputs = folder / "test/input.safetensors", folder / "test/output.safetensors"
    right = load_file(inputs)
    for tensors in ({"input": torch.zeros(2)}, {"other": torch.zeros(1, 6, 8)}, {"input": torch.zeros(1, 6, 8).long()}):
        save_file(tensors, inputs)
        refuse("save it again|another shape")
    save_file(right, inputs)
    save_file({"output": torch.zeros(1, 3, 7)}, outputs)
    refuse("another shape")
    save_file({"scores": torch.zeros(1)}, outputs)
    refuse("other names")
    outputs.write_bytes(b"no tensors")
    refuse("damaged")
    outputs.unlink()
    refuse("missing")


def test_the_configuration_has_timms_shape(tmp_path):
    model = zoo.create_model("tsm_mobilenetv2_online.fingertip", pretrained=True)
    config = json.loads((zoo.save_pretrained(model, tmp_path) / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("tsm_mobilenetv2_online", 4)
    assert config["num_features"] == model.num_features and config["label_names"][0] == "Stop"
    known = config["pretrained_cfg"]
    assert (known["tag"], known["input_size"], known["crop_pct"]) == ("fingertip", [3, 96, 96], 1.0)
    assert known["license"] == "Apache-2.0" and known["mean"] == list(model.spec.input.mean)
    from timm.models import PretrainedCfg

    assert PretrainedCfg(**known).num_classes == 4
    again = zoo.load(f"local-dir:{tmp_path}", device="cpu").spec
    file = {name: getattr(again, name) for name in ("file", "sha256", "size")}
    assert again == dataclasses.replace(model.spec, **file) and again.metrics


def test_further_entries_are_kept_but_replace_nothing(model, tmp_path):
    @dataclasses.dataclass
    class Recipe:
        lr: float = 0.1

    folder = zoo.save_pretrained(model, tmp_path / "a", config=Recipe())
    assert json.loads((folder / "config.json").read_text())["lr"] == 0.1
    zoo.create_model(f"local-dir:{folder}", pretrained=True)
    with pytest.raises(ZooError, match="architecture"):
        zoo.save_pretrained(model, tmp_path / "b", config={"architecture": "mine"})
    with pytest.raises(ZooError, match="JSON"):
        zoo.save_pretrained(model, tmp_path / "c", config={"lr": object()})
    with pytest.raises(TypeError, match="dataclass"):
        zoo.save_pretrained(model, tmp_path / "d", config=[1])


def test_keywords_are_the_mixins_and_strict(model, tmp_path):
    from huggingface_hub import ModelHubMixin

    def keywords(function):
        return set(inspect.signature(function).parameters)

    assert keywords(zoo.push_to_hub) - {"model"} == keywords(ModelHubMixin.push_to_hub) - {"self"}
    theirs = keywords(ModelHubMixin.save_pretrained) - {"self"}
    assert keywords(zoo.save_pretrained) - {"model"} == theirs and not isinstance(model, ModelHubMixin)
    with pytest.raises(TypeError, match="colour"):
        zoo.push_to_hub(model, "me/it", colour="red")
    with pytest.raises(TypeError, match="private"):
        zoo.save_pretrained(model, tmp_path, private=True)
    with pytest.raises(TypeError, match="licence"):
        zoo.save_pretrained(model, tmp_path, model_card_kwargs={"licence": "MIT"})
    with pytest.raises(ZooError, match="repo_id"):
        zoo.save_pretrained(model, tmp_path, push_to_hub=True)


def test_the_licence_goes_into_card_and_configuration(model, tmp_path):
    from huggingface_hub import ModelCard

    texts = {"license": "MIT", "tags": ["office"], "datasets": ["mine"], "limits": "Only indoors."}
    folder = zoo.save_pretrained(model, tmp_path, model_card_kwargs=texts)
    assert zoo.create_model(f"local-dir:{folder}").spec.licence == "MIT"
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit" and "office" in card.data.tags and card.data.datasets == ["mine"]
    assert "Only indoors." in card.text


HUGE = 10**9


@pytest.mark.parametrize(
    "changes",
    [
        {"num_classes": HUGE},
        {"num_classes": 10**400},
        {"num_classes": float("nan")},
        {"architecture": "resnet50"},
        {"architecture": "os.system"},
        {"architecture": "../../pvcnn_sem_c0p125"},
        {"file": "../model.safetensors"},
        {"file": "/etc/passwd"},
        {"file": "a/../../model.safetensors"},
        {"file": "model.bin"},
        {"size": HUGE},
        {"model_args": {"in_channels": HUGE}},
        {"model_args": {"width_multiplier": 1000.0}},
        {"model_args": {"width_multiplier": -1e300}},
        {"model_args": {"width_multiplier": float("inf")}},
        {"model_args": {"in_channels": [[[[[[]]]]]]}},
        {"model_args": {"in_channels": {"a": 1}}},
        {"model_args": {"backbone": "hf-hub:somebody/something"}},
        {"model_args": {"backbone": "local-dir:/tmp"}},
        {"model_args": {"pretrained_backbone": True}},
        {"class_names": ["a", "b", "c\x1b[2J"]},
        {"class_names": ["a", "b", "c" * 10**5]},
        {"origin": "two\nlines"},
        {"input": {"kind": "points", "num_points": HUGE, "features": ["rgb"]}},
        {"input": {"kind": "points", "num_points": 64, "features": ["rgb"] * 10**5}},
        {"input": {"kind": "video", "num_frames": HUGE}},
        {"input": {"kind": "video", "crop_size": HUGE}},
        {"metrics": [{"name": "a", "value": float("inf"), "dataset": "", "protocol": "", "source": ""}]},
    ],
)
def test_a_strangers_description_is_refused(folder, changes):
    change_block(folder, **changes)
    refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{",
        '{"zoo": []}',
        '{"architecture": "resnet50"}',
        "[" * 10**6,
        '{"zoo": ' * 10**5,
        "\udcff",
        " " * 2**25,
    ],
)
def test_a_file_that_is_no_description_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(folder)


def test_backbones_are_names_alone(tmp_path):
    folder = zoo.save_pretrained(zoo.create_model("tsm", backbone="resnet18", num_classes=2, num_frames=2), tmp_path)
    for backbone in ("hf-hub:somebody/something", "local-dir:/tmp", "hf_hub:a/b", "../resnet18", "resnet18\n"):
        change_block(folder, model_args={"backbone": backbone, "num_frames": 2})
        refused(folder, "backbone")


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def entry(dtype="F32", shape=(1,), offsets=(0, 4)) -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        header(b"{", 2**62),
        header(b"{", 2**40),
        header(b"not JSON"),
        header(b"[" * 10**5),
        header(entry()),
        header(entry(offsets=(0, 2**40))) + bytes(4),
        header(entry(offsets=(4, 0))) + bytes(4),
        header(entry(shape=(2**40, 2**40))) + bytes(4),
        header(entry(shape=(2**62, 4), offsets=(0, 0))),
        header(entry(shape=(-1,))) + bytes(4),
        header(entry(dtype="EXE")) + bytes(4),
        header(entry()) + bytes(4) + b"hidden behind",
        header(entry()) + bytes(4),
    ],
)
def test_a_weights_file_that_lies_is_refused(folder, data):
    path = folder / "model.safetensors"
    path.write_bytes(data)
    refused(folder, "sha256")
    change_block(folder, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    with pytest.raises(CheckpointError) as caught:
        zoo.create_model(f"local-dir:{folder}", pretrained=True)
    assert "\n" not in str(caught.value)
    assert {file.name for file in folder.parent.iterdir()} == {folder.name}


def test_inputs_of_the_largest_sizes_are_still_described(folder):
    change_block(folder, input={"kind": "points", "num_points": 2**20, "features": ["rgb"]})
    assert zoo.create_model(f"local-dir:{folder}").spec.input == PointInput(2**20, ("rgb",))
    assert VideoInput().num_frames < 2**10


def test_a_folder_that_is_none_is_refused(tmp_path):
    refused(tmp_path, "save_pretrained")
    refused(Path(tmp_path / "nothing"), "there is no such folder")
