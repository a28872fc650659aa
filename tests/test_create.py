import dataclasses
import json

import pytest
import torch

import zoo
from tests.parity import fixtures
from zoo.errors import CheckpointError, ZooError
from zoo.hub import bundled_names
from zoo.weights import Metric


@pytest.fixture
def part_checkpoint(tmp_path):
    return fixtures.write_checkpoint(fixtures.load("shapenet_pvcnn_c0p25"), tmp_path)


def test_other_projects_layouts_load(tmp_path):
    for layout, name in [
        ("mmaction2_tsm_resnet50_8f_kinetics400", "tsm_resnet50"),
        ("torch_pointcloud_pvcnn_c0p25_s3dis", "pvcnn_sem_c0p25"),
    ]:
        fixture = fixtures.load(f"layouts/{layout}")
        path = fixtures.write_checkpoint(fixture, tmp_path, layout)
        model = zoo.create_model(name, checkpoint=path)
        assert model.num_classes == {"tsm_resnet50": 400, "pvcnn_sem_c0p25": 13}[name]


def test_classes_and_channels_are_read_from_the_file(tmp_path):
    saved = zoo.create_model("pvcnn_sem_c0p125", num_classes=7, in_channels=6)
    path = tmp_path / "model.pth"
    torch.save(saved.state_dict(), path)
    model = zoo.create_model("pvcnn_sem_c0p125", checkpoint=path)
    assert (model.num_classes, model.in_channels) == (7, 6)


def test_only_the_head_may_differ(part_checkpoint):
    model = zoo.create_model("pvcnn_part_c0p25", checkpoint=part_checkpoint, num_classes=4)
    reference = zoo.create_model("pvcnn_part_c0p25", checkpoint=part_checkpoint)
    assert model.num_classes == 4
    first = "point_features.0.voxel_layers.0.weight"
    assert torch.equal(model.state_dict()[first], reference.state_dict()[first])


def test_another_networks_checkpoint_is_refused_with_a_list(part_checkpoint):
    with pytest.raises(CheckpointError, match=r"another network.*point_features"):
        zoo.create_model("pvcnn_part_c1", checkpoint=part_checkpoint)
    with pytest.raises(CheckpointError, match="another network"):
        zoo.create_model("tsm_resnet50", checkpoint=part_checkpoint)


def test_shifts_of_another_direction_are_refused(tmp_path):
    online = fixtures.write_checkpoint(fixtures.load("tsm_mobilenetv2_online_jester"), tmp_path, "online.pth")
    clip = fixtures.write_checkpoint(fixtures.load("tsm_mobilenetv2_8f_kinetics400"), tmp_path, "clip.pth")
    with pytest.raises(CheckpointError, match="online shifts"):
        zoo.create_model("tsm_mobilenetv2", checkpoint=online)
    with pytest.raises(CheckpointError, match=r"bidirectional shifts, which look at the next frame"):
        zoo.create_model("tsm_mobilenetv2_online", checkpoint=clip)


def test_a_file_that_tells_no_direction_is_taken_with_a_warning(tmp_path):
    torch.save(zoo.create_model("tsm_resnet18", num_classes=3).state_dict(), tmp_path / "plain.pth")
    with pytest.warns(UserWarning, match=r"plain\.pth' does not say in which direction .* with online shifts"):
        zoo.create_model("tsm_resnet18_online", checkpoint=tmp_path / "plain.pth")


@pytest.mark.parametrize("names", [("tsm_resnet18", "tsm_resnet18_online"), ("tsm_resnet18_online", "tsm_resnet18")])
def test_files_of_ours_tell_the_direction_of_their_shifts(names, tmp_path):
    written, other = names
    folder = zoo.save_pretrained(zoo.create_model(written, num_classes=3), tmp_path / "saved")
    assert zoo.create_model(written, checkpoint=folder / "model.safetensors").num_classes == 3
    with pytest.raises(CheckpointError, match="shifts, which look"):
        zoo.create_model(other, checkpoint=folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["zoo"]["architecture"] = other
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="shifts, which look"):
        zoo.create_model(f"local-dir:{folder}", pretrained=True)


def test_unknown_model_arguments_are_type_errors():
    with pytest.raises(TypeError, match="color"):
        zoo.create_model("pvcnn_sem_c1", color=True)


def test_pretrained_and_checkpoint_exclude_each_other(part_checkpoint):
    with pytest.raises(ZooError, match="not both"):
        zoo.create_model("pvcnn_sem_c0p25.mosd", pretrained=True, checkpoint=part_checkpoint)


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_weights_load_and_can_be_given_another_head(name):
    model = zoo.create_model(name, pretrained=True)
    assert model.spec.name == name and model.spec.class_names and model.spec.metrics
    other = zoo.create_model(name, pretrained=True, num_classes=9)
    assert other.num_classes == 9 and not other.spec.class_names
    weight = model.first_conv + ".weight"
    assert torch.equal(model.state_dict()[weight], other.state_dict()[weight])


def test_a_saved_model_comes_back(tmp_path):
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6).eval()
    zoo.save_pretrained(model, tmp_path / "mine")
    loaded = zoo.create_model(f"local-dir:{tmp_path / 'mine'}", pretrained=True).eval()
    points = torch.rand(1, 6, 50)
    assert torch.equal(model(points), loaded(points))


def test_a_changed_weights_file_is_refused(tmp_path):
    zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125"), tmp_path)
    file = tmp_path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="sha256"):
        zoo.create_model(f"local-dir:{tmp_path}", pretrained=True)


def test_a_folder_without_a_description_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="save_pretrained"):
        zoo.load(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "tsm_resnet18"}))
    with pytest.raises(CheckpointError, match="not a description"):
        zoo.load(f"local-dir:{tmp_path}")


def test_transforms_follow_the_weights():
    model = zoo.create_model("tsm_resnet18")
    frames = torch.randint(0, 256, (5, 3, 60, 90), dtype=torch.uint8)
    assert zoo.create_transform(model)(frames).shape == (5, 3, 224, 224)
    points = torch.rand(20, 6)
    assert zoo.create_transform(zoo.create_model("pvcnn_sem_c0p125"))(points).shape == (9, 20)
    moved = zoo.create_transform(zoo.create_model("pvcnn_cls_c0p25"))(points[:, :3] + 100)
    assert moved.mean(1).abs().max() < 1e-4 and moved.norm(dim=0).max() == pytest.approx(1, abs=1e-4)


def fine_tuned(folder, **arguments):
    """A model as it comes with a tag, with class names and figures, saved to ``folder`` and loaded from there."""
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=4, **arguments)
    metric = Metric("mean IoU", 0.5, "a set", "once", "a command")
    model.spec = dataclasses.replace(
        model.spec, tag="mine", class_names=tuple("abcd"), licence="MIT", origin="here", metrics=(metric,)
    )
    zoo.save_pretrained(model, folder)
    return zoo.create_model(f"local-dir:{folder}", pretrained=True)


def test_a_changed_head_is_described_as_it_is(tmp_path):
    model = fine_tuned(tmp_path / "a")
    model.reset_classifier(7)
    zoo.save_pretrained(model, tmp_path / "b")
    again = zoo.load(f"local-dir:{tmp_path / 'b'}", device="cpu")
    assert len(again.class_names) == again.model.num_classes == 7
    spec = again.spec
    assert (spec.tag, spec.origin, spec.metrics, spec.class_names) == ("", "", (), ()) and spec.licence == "MIT"


def test_the_tag_belongs_to_the_weights(tmp_path):
    model = fine_tuned(tmp_path / "a")
    zoo.save_pretrained(model, tmp_path / "same")
    assert zoo.load(f"local-dir:{tmp_path / 'same'}").spec == model.spec and model.spec.metrics
    with torch.no_grad():
        next(model.parameters()).add_(1)
    zoo.save_pretrained(model, tmp_path / "tuned")
    spec = zoo.load(f"local-dir:{tmp_path / 'tuned'}").spec
    assert spec.class_names == tuple("abcd") and (spec.tag, spec.metrics) == ("", ())


def test_arguments_beside_pretrained_are_kept(tmp_path):
    zoo.save_pretrained(zoo.create_model("tsm_mobilenetv2", num_classes=3), tmp_path / "a")
    model = zoo.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True, shift_div=4, num_frames=5)
    assert model.spec.model_args == {"shift_div": 4, "num_frames": 5} and model.spec.input.num_frames == 5
    zoo.save_pretrained(model.eval(), tmp_path / "b")
    again = zoo.create_model(f"local-dir:{tmp_path / 'b'}", pretrained=True).eval()
    clip = torch.rand(1, 4, 3, 64, 64)
    assert torch.equal(model(clip), again(clip)) and again.num_frames == 5


def test_tensors_among_the_arguments_come_back(tmp_path):
    templates = torch.rand(3, 3)
    zoo.save_pretrained(zoo.create_model("frustum_pointnet", size_templates=templates), tmp_path)
    model = zoo.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(model.size_templates[0], templates) and type(model.spec.model_args["size_templates"]) is list


def test_what_was_loaded_is_reported(part_checkpoint):
    assert zoo.create_model("pvcnn_part_c0p25").load_report is None
    report = zoo.create_model("pvcnn_part_c0p25", checkpoint=part_checkpoint, num_classes=4).load_report
    assert report.source == "pvcnn" and report.skipped


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../model.safetensors"},
        {"file": "/model.safetensors"},
        {"file": ".."},
        {"file": 3},
        {"num_classes": "13"},
        {"num_classes": -1},
        {"num_classes": True},
        {"class_names": "abc"},
        {"class_names": ["a", "b"]},
        {"architecture": ["pvcnn_sem_c0p125"]},
        {"size": None},
        {"metrics": [1]},
        {"model_args": []},
        {"model_args": {"pretrained_backbone": True}},
        {"model_args": {"color": True}},
        {"model_args": {"in_channels": 2}},
        {"input": []},
        {"input": {"kind": "sound"}},
        {"input": {"kind": "video"}},
        {"input": {"kind": "points", "num_points": "many"}},
        {"input": {"kind": "points", "num_points": 64, "features": ["smell"]}},
        {"input": {"kind": "points", "num_points": 64, "features": ["rgb"]}},
    ],
)
def test_a_damaged_description_is_one_error(tmp_path, change):
    zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"zoo": config["zoo"] | change}))
    with pytest.raises(CheckpointError) as caught:
        zoo.load(f"local-dir:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_normals_turn_with_the_points():
    transform = zoo.create_transform(zoo.create_model("pvcnn_part_c0p25"), training=True)
    points = torch.randn(50, 3)
    turned = transform(torch.cat([points, points], 1))
    assert torch.nn.functional.cosine_similarity(turned[:3], turned[3:], dim=0).min() < 0.999  # centred
    directions = torch.nn.functional.normalize(points - points.mean(0), dim=1)
    turned = transform(torch.cat([points, directions], 1))
    assert torch.nn.functional.cosine_similarity(turned[:3], turned[3:], dim=0).median() > 0.999


@pytest.mark.parametrize(("name", "up"), [("pvcnn_sem_c0p125", 2), ("pvcnn_part_c0p25", 1)])
def test_up_stays_up_in_training(name, up):
    model = zoo.create_model(name)
    points = torch.randn(50, 6)
    points[:, up] *= 1000
    turned = zoo.create_transform(model, training=True)(points)
    spread = turned[:3].std(dim=1)
    assert spread.argmax() == up and spread[up] > 100 * spread.sort().values[1]


def test_frustums_are_not_varied():
    model = zoo.create_model("frustum_pointnet")
    points = torch.rand(50, 4)
    assert torch.equal(zoo.create_transform(model, training=True)(points), points.T)


def test_the_place_of_the_shifts_and_flow_are_read_from_the_file(tmp_path):
    for number, arguments in enumerate([{"shift_place": "block"}, {"modality": "flow"}]):
        saved = zoo.create_model("tsm_resnet18", num_classes=5, **arguments)
        torch.save(saved.state_dict(), tmp_path / f"{number}.pth")
        model = zoo.create_model("tsm_resnet18", checkpoint=tmp_path / f"{number}.pth")
        assert (model.shifts, model.in_channels) == (saved.shifts, saved.in_channels)
        assert model.spec.model_args == arguments
