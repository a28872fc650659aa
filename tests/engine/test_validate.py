"""`tools/validate.py` on every set that a configuration can name."""

import importlib.util
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from tests.engine.small_sets import official_set, small_set, untrained, write_moving
from zoo.data import isprs, s3dis
from zoo.engine.config import AugmentConfig, DataConfig, ValidateConfig
from zoo.engine.data import TASKS
from zoo.engine.measured import open_measured
from zoo.engine.measured_keys import LOOKED_AT
from zoo.engine.validate import validate
from zoo.errors import InputError
from zoo.weights import VideoInput, WeightsSpec

ROOT = Path(__file__).parents[2]
NAMES = {
    "videos": "2 videos of",
    "clouds": "4 clouds of",
    "scenes": "2 scenes of",
    "fights": "fights, fold 1, 8 test clips of 4 sources",
    "radhar": "radhar, 20 windows of 10 test recordings",
    "isprs": "ISPRS, 1 scenes of samp5",
    "tabletop": "mOSD tabletop, 3 test scenes",
    "s3dis": "S3DIS, 1 rooms of area 5",
    "modelnet40": "modelnet40, 3 test objects",
    "scanobjectnn": "scanobjectnn, 3 test objects",
    "shapenet_part": "ShapeNet Part, 1 test shapes",
}
VAL_NAMES = {
    "fights": " val clips of ",
    "radhar": " 10 val recordings",
    "isprs": " of samp7",
    "tabletop": " val scenes",
    "s3dis": " of area 6",
    "modelnet40": " 2 val objects",
    "scanobjectnn": " 2 val objects",
    "shapenet_part": " 1 val shapes",
}


@pytest.fixture(autouse=True)
def _modules_that_sets_need(request):
    if any(name in request.node.name for name in ("modelnet40", "scanobjectnn")):
        pytest.importorskip("h5py")


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_measured_on_the_part_that_was_held_out(name, tmp_path):
    small = small_set(name, tmp_path)
    model = untrained(small, tmp_path / "model")
    evaluation, measured_on = validate(ValidateConfig(model, small.measured))
    assert measured_on.startswith(NAMES[name])
    assert all(0 <= value <= 1 for value in evaluation.figures.values())
    again, _ = validate(ValidateConfig(model, small.measured))
    assert again.figures == evaluation.figures
    if name in ("s3dis", "isprs", "shapenet_part"):
        more, _ = validate(ValidateConfig(model, replace(small.measured, num_points=128), votes=3))
        assert (more.settings["points_per_pass"], more.settings["num_votes"]) == (128, 3)
    if name in ("s3dis", "isprs"):  # every point counts once
        rooms = s3dis.S3dis(small.data.path, [5]).room_labels(0) if name == "s3dis" else None
        labels = rooms if rooms is not None else isprs.read_scenes(small.data.path)[4].labels
        counts = torch.from_numpy(np.bincount(labels, minlength=small.classes))
        assert torch.equal(evaluation.confusion.sum(1), counts)


def test_the_authors_checkpoint_needs_no_description(tmp_path):
    small = small_set("s3dis", tmp_path)
    torch.save(zoo.create_model("pvcnn_sem_c0p125", num_classes=13).state_dict(), tmp_path / "s3dis.pth.tar")
    config = ValidateConfig("pvcnn_sem_c0p125", small.data, checkpoint=str(tmp_path / "s3dis.pth.tar"))
    evaluation, _ = validate(config)
    assert evaluation.confusion.shape == (13, 13) and evaluation.settings["points_per_pass"] == 256


@pytest.mark.parametrize("name", VAL_NAMES)
def test_settings_are_chosen_on_another_part(name, tmp_path):
    small = small_set(name, tmp_path)
    evaluation, measured_on = validate(
        ValidateConfig(untrained(small, tmp_path / "model"), small.measured, split="val")
    )
    assert VAL_NAMES[name] in measured_on and evaluation.num_samples > 0


@pytest.mark.parametrize(
    ("protocol", "views", "size"), [("center", 1, 32), ("crop10", 10, 32), ("twice_x3", 6, 37), ("dense_10x3", 30, 37)]
)
def test_a_protocol_says_what_is_seen_of_a_video(protocol, views, size, tmp_path):
    small = small_set("videos", tmp_path)
    spec = WeightsSpec("tsm_resnet18", "mine", 2, small.input)
    for num_frames in (4, 8):  # 8 of more than the model learnt from
        data = replace(small.measured, num_frames=num_frames)
        measured = open_measured(ValidateConfig("mine", data, protocol=protocol), spec)
        assert measured.protocol == protocol and measured.settings["views"]["num_views"] == views
        assert measured.settings["views"]["num_frames"] == num_frames
        assert next(iter(measured.samples))[0].shape == (views, num_frames, 3, size, size)


def test_a_part_of_an_official_set_is_measured_and_named(tmp_path):
    spec = WeightsSpec("tsm_resnet18", "mine", 51, VideoInput(4, 37, 32))
    data = replace(official_set(tmp_path), train="", num_frames=None)
    measured = open_measured(ValidateConfig("mine", replace(data, val_part="test2")), spec)
    assert measured.name == f"1 videos of {data.val}, test2" and len(list(measured.samples)) == 1
    with pytest.raises(InputError, match=r"data\.val_part"):
        open_measured(ValidateConfig("mine", data), spec)


def test_the_command_writes_the_figures_and_what_was_seen(tmp_path, monkeypatch, capsys):
    pytest.importorskip("jsonargparse")
    small = small_set("videos", tmp_path)
    spec = importlib.util.spec_from_file_location("validate_tool", ROOT / "tools/validate.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = ["--model", untrained(small, tmp_path / "model"), "--data.val", small.data.val]
    monkeypatch.setattr("sys.argv", ["validate.py", *arguments, "--out", str(tmp_path / "figures.json")])
    monkeypatch.setattr("zoo.engine.journal.SAY_EVERY_S", 0.0)
    assert tool.main() == 0
    said = capsys.readouterr()
    assert f"2 videos of {small.data.val}; center\ntop_1_accuracy: 0.5" in said.out
    assert "1 of 2 samples, " in said.err and "2 of 2 samples, " in said.err
    results = json.loads((tmp_path / "figures.json").read_text())
    assert results["settings"]["views"]["crop_size"] == 32 and results["metrics"]["top_1_accuracy"]["value"] == 0.5
    assert (tmp_path / "figures.png").is_file()


def test_shards_give_what_the_files_give(tmp_path):
    from zoo.data.shards import write_shards
    from zoo.data.video_sets import find_videos
    from zoo.data.video_writer import write_video

    rng = np.random.default_rng(0)
    for name in ("left/a", "left/b", "right/a"):
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / f"files/{name}.mp4", rng.integers(0, 255, (8, 32, 48, 3), dtype=np.uint8), fps=8)
    found = find_videos(tmp_path / "files")
    (shard,) = write_shards(found.samples, found.class_names, tmp_path / "val")
    spec = WeightsSpec("tsm_resnet18", "mine", 2, VideoInput(4, 37, 32), class_names=found.class_names)
    files, shards = (
        list(open_measured(ValidateConfig("mine", data, protocol="twice_x3"), spec).samples)
        for data in (DataConfig(val=str(tmp_path / "files")), DataConfig(val=str(shard), layout="shards"))
    )
    assert len(files) == len(shards) == 3 and files[0][0].shape == (6, 4, 3, 37, 37)
    sums = [sorted((int(label), int(views.sum())) for views, label in samples) for samples in (files, shards)]
    assert sums[0] == sums[1]


def test_a_model_brings_its_own_order_of_classes(tmp_path):
    write_moving(tmp_path)
    spec = WeightsSpec("tsm_resnet18", "mine", 2, VideoInput(4, 37, 32), class_names=("right", "left"))
    samples = open_measured(ValidateConfig("mine", DataConfig(val=str(tmp_path))), spec).samples
    left = next(int(label) for views, label in samples if views[0, -1, ..., :18].sum() > views[0, -1, ..., 18:].sum())
    assert spec.class_names[left] == "left"


def test_a_bad_file_ends_a_measurement_or_is_left_out_and_more_than_one_in_a_hundred_end_it(tmp_path, caplog):
    small = small_set("clouds", tmp_path)
    flat, listed = Path(small.data.val) / "flat", tmp_path / "figures.bad_files.txt"
    for number in range(2, 97):  # 99 in all
        (flat / f"{number}.npy").write_bytes((flat / "0.npy").read_bytes())
    (flat / "bad.npy").write_text("no cloud")
    model, out = untrained(small, tmp_path / "model"), tmp_path / "figures.json"

    def measure(policy):
        return validate(ValidateConfig(model, replace(small.measured, bad_files=policy), out=str(out)))

    with pytest.raises(InputError, match=r"bad\.npy .*\(data\.bad_files 'skip' goes on without it\)"):
        measure("raise")
    with pytest.raises(InputError, match=r"resample is for training: .* would count twice; take skip"):
        measure("resample")
    listed.write_text("old.npy\tof a measurement before\n")
    measure("skip")
    results = json.loads(out.read_text())
    assert (results["num_samples"], results["settings"]["num_left_out"]) == (99, 1)
    (line,) = listed.read_text().splitlines()
    assert line.startswith(f"{flat / 'bad.npy'}\t") and "bad.npy is left out" in caplog.text

    (flat / "worse.npy").write_text("no cloud")
    with pytest.raises(
        InputError, match=f"2 of 101 files cannot be read, more than 1%: repair those that {listed} lists"
    ):
        measure("skip")
    assert len(listed.read_text().splitlines()) == 2


@pytest.mark.parametrize("name", ["s3dis", "isprs", "fights"])
def test_without_a_fold_nothing_is_held_out(name, tmp_path):
    small = small_set(name, tmp_path)
    config = ValidateConfig(untrained(small, tmp_path / "model"), replace(small.measured, fold=0))
    with pytest.raises(InputError, match=r"data\.fold is 0, so there is nothing to measure on"):
        validate(config)
    without = replace(config, data=replace(small.measured, hold_out_val=False), split="val")
    with pytest.raises(InputError, match=r"data\.hold_out_val is false"):
        validate(without)


@pytest.mark.parametrize(
    ("name", "keys", "options", "decides"),
    [
        ("videos", {"sampling": "dense"}, {}, "--protocol decides"),
        ("videos", {"image_size": 64}, {}, "the model brings its own"),
        ("videos", {"train": "my_videos/train"}, {}, "it is for training"),
        ("videos", {"augment": AugmentConfig(mirror=True)}, {}, "it is for training"),
        ("videos", {"fold": 2}, {}, "nothing is decided by it on data.name 'videos'"),
        ("videos", {}, {"split": "val"}, "data.val says"),
        ("videos", {}, {"votes": 2}, "label every point"),
        ("clouds", {"features": ["rgb"]}, {}, "the model brings its own"),
        ("clouds", {}, {"protocol": "crop10"}, "for videos"),
        ("kitti", {"num_points": 64}, {}, "nothing is decided by it"),
    ],
)
def test_a_key_without_effect_is_refused_with_what_decides_instead(name, keys, options, decides, tmp_path):
    small = small_set(name, tmp_path)
    data = replace(small.measured, **({"num_points": None} | keys))
    key = next(iter([*(f"data.{each}" for each in keys), *options]))
    with pytest.raises(InputError, match=f"{key} .*{decides}.*; leave"):
        validate(ValidateConfig(untrained(small, tmp_path / "model"), data, **options))


def test_every_set_says_what_a_measurement_looks_at():
    keys = {field.name for field in fields(DataConfig)}
    assert set(LOOKED_AT) == set(TASKS) - {"direction"} and all(looked_at <= keys for looked_at in LOOKED_AT.values())


def test_sets_that_do_not_suit_the_model_are_named(tmp_path):
    clouds = WeightsSpec("pointnet_cls", "mine", 2, small_set("tabletop", tmp_path).input)
    with pytest.raises(InputError, match="'s3dis' gives: take another model"):
        open_measured(ValidateConfig("mine", DataConfig(name="s3dis", path=str(tmp_path))), clouds)
    with pytest.raises(InputError, match=r"data\.val is missing"):
        open_measured(ValidateConfig("mine", DataConfig()), clouds)
    tracks = WeightsSpec("tsm_resnet18", "mine", 2, VideoInput(4, 37, 32))
    with pytest.raises(InputError, match=r"nothing is measured on data\.name 'direction'"):
        open_measured(ValidateConfig("mine", DataConfig(name="direction", path="tracks.csv")), tracks)
