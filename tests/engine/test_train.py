"""`tools/train.py` as someone uses it: a configuration and overrides in, a run's folder out."""

import csv
import importlib.util
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.optim.swa_utils import AveragedModel

import zoo
from tests.data.test_training_sets import write_scenes, write_tracks
from tests.engine.small_sets import small_set
from zoo.data.points import write_ply
from zoo.engine.command_line import parse_config
from zoo.engine.config import TrainConfig
from zoo.engine.metrics import accuracy, confusion_matrix, mean_iou
from zoo.engine.optim import moving_average
from zoo.errors import CheckpointError, UnknownNameError

pytest.importorskip("jsonargparse")
ROOT = Path(__file__).parents[2]


def run(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("train_tool", ROOT / "tools/train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", ["train.py", *map(str, arguments)])
    try:
        return module.main()
    except SystemExit as stop:
        return stop.code


def tabletop_run(tmp_path, *more):
    scenes = tmp_path / "scenes.npz"
    if not scenes.exists():
        write_scenes(scenes)
    config = ["--config", ROOT / "configs/points/tabletop.yaml", "--data.path", scenes, "--out", tmp_path / "run"]
    small = ["--model", "pointnet_sem", "--data.num_points", 32, "--data.samples_per_scene", 1]
    return [*config, *small, "--epochs", 2, "--model_args", '{"in_channels": 6, "width_multiplier": 0.125}', *more]


def test_a_run_leaves_what_it_promises_and_goes_on(tmp_path, monkeypatch):
    assert run(monkeypatch, *tabletop_run(tmp_path, "--optim.lr", 0.01)) == 0
    folder = tmp_path / "run"
    assert yaml.safe_load((folder / "config.yaml").read_text())["optim"]["lr"] == 0.01
    assert "val_mean_iou" in (folder / "log.txt").read_text()
    predictor = zoo.load(f"local-dir:{folder / 'best'}")
    assert predictor(torch.rand(50, 6)).labels.shape == (50,)
    with pytest.raises(CheckpointError, match=f"pass a folder, such as {folder / 'best'}"):
        zoo.load(f"local-dir:{folder}")
    with pytest.raises(UnknownNameError, match=f"write local-dir:{folder / 'best'} for that folder"):
        zoo.load(str(folder / "best"))
    assert run(monkeypatch, *tabletop_run(tmp_path, "--epochs", 3, "--resume", "auto")) == 0
    with open(folder / "metrics.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_without_validation_the_last_epoch_counts(tmp_path, monkeypatch):
    assert run(monkeypatch, *tabletop_run(tmp_path, "--data.hold_out_val", "false")) == 0
    folder = tmp_path / "run"
    assert "val" not in (folder / "metrics.csv").read_text()
    best, last = ((folder / name / "model.safetensors").read_bytes() for name in ("best", "last"))
    assert best == last


def test_video_runs_too(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.data.fingertip.BLOCK", 17)
    tracks = write_tracks(tmp_path / "tracks.csv", 120)
    config = ["--config", ROOT / "configs/video/fingertip.yaml", "--data.path", tracks, "--out", tmp_path / "run"]
    assert run(monkeypatch, *config, "--data.image_size", 32, "--epochs", 1, "--init.weights", "none") == 0
    assert zoo.load(f"local-dir:{tmp_path / 'run/last'}").class_names == (
        "Stop",
        "Clockwise",
        "Counter Clockwise",
        "Move",
    )


def write_videos(root, classes=("left", "right"), count=4):
    """Folders of frames: a bright square that moves to one side."""
    for label, name in enumerate(classes):
        for number in range(count):
            folder = root / name / f"clip{number}"
            folder.mkdir(parents=True)
            for t in range(10):
                frame = np.full((48, 64, 3), 20 * number, np.uint8)
                x = 4 + 4 * t if label else 44 - 4 * t
                frame[16:32, x : x + 12] = 255
                Image.fromarray(frame).save(folder / f"{t:02}.jpg")
    return root


def test_own_videos(tmp_path, monkeypatch):
    train, val = write_videos(tmp_path / "train"), write_videos(tmp_path / "val", count=2)
    config = ["--config", ROOT / "configs/video/finetune.yaml", "--data.train", train, "--data.val", val]
    small = ["--model", "tsm_resnet18", "--init.weights", "none", "--data.image_size", 32, "--data.workers", 0]
    assert run(monkeypatch, *config, *small, "--epochs", 2, "--batch_size", 4, "--out", tmp_path / "run") == 0
    predictor = zoo.load(f"local-dir:{tmp_path / 'run/best'}")
    assert predictor.class_names == ("left", "right")
    assert predictor(val / "left/clip0").top(1)[0][0] in ("left", "right")


@pytest.mark.slow
def test_a_handful_of_clouds_is_told_apart_after_a_few_steps(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, name in itertools.product(("train", "val"), ("ball", "stick")):
        (tmp_path / part / name).mkdir(parents=True)
        for number in range(4):
            points = rng.normal(size=(100, 3)) * ((1, 1, 1) if name == "ball" else (0.1, 0.1, 2))
            write_ply(tmp_path / part / name / f"{number}.ply", points.astype(np.float32))
    config = ["--config", ROOT / "configs/points/finetune.yaml", "--data.train", tmp_path / "train"]
    small = ["--model_args", '{"width_multiplier": 0.125}', "--data.num_points", 100, "--data.workers", 0]
    more = ["--data.val", tmp_path / "val", "--epochs", 15, "--batch_size", 4, "--out", tmp_path / "run"]
    assert run(monkeypatch, *config, *small, *more) == 0
    with open(tmp_path / "run/metrics.csv") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert accuracies[-1] == max(accuracies) >= 0.875
    best, last = ((tmp_path / "run" / name / "model.safetensors").read_bytes() for name in ("best", "last"))
    assert best == last  # of epochs that are equally good the last, which learnt for longest


def test_scenes_in_shards_are_refused_with_the_reason(tmp_path, monkeypatch, capsys):
    config = ["--config", ROOT / "configs/points/finetune_scenes.yaml", "--data.train", tmp_path / "train-{0..3}.tar"]
    assert run(monkeypatch, *config, "--data.layout", "shards", "--out", tmp_path / "run") == 2
    assert "'shards' is not one of scenes, which are read once and kept" in capsys.readouterr().err


def test_what_needs_the_future_is_refused_for_an_online_model(tmp_path, monkeypatch, capsys):
    train = write_videos(tmp_path / "train", count=2)
    config = ["--config", ROOT / "configs/video/finetune.yaml", "--data.train", train, "--init.weights", "none"]
    more = ["--model", "tsm_mobilenetv2_online", "--data.frame_differences", "true", "--out", tmp_path / "run"]
    assert run(monkeypatch, *config, *more, "--batch_size", 2, "--data.image_size", 32) == 2
    assert "their scale over a clip knows its future" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*/model.safetensors"))


def test_a_file_that_cannot_be_read_is_counted_and_too_many_end_the_run(tmp_path, monkeypatch, capsys):
    train = write_videos(tmp_path / "train")
    (train / "left/clip9.mp4").write_text("no video")
    config = ["--config", ROOT / "configs/video/finetune.yaml", "--data.train", train, "--out", tmp_path / "run"]
    small = ["--model", "tsm_resnet18", "--init.weights", "none", "--data.image_size", 32, "--data.workers", 0]
    assert run(monkeypatch, *config, *small, "--epochs", 9, "--batch_size", 8, "--data.bad_files", "skip") == 2
    assert "1 of 9 files cannot be read, more than 1%" in capsys.readouterr().err
    assert "clip9.mp4" in (tmp_path / "run/bad_files.txt").read_text()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_bad_file_is_one_sentence_wherever_it_is_read(workers, part, tmp_path, monkeypatch, capsys):
    clouds = write_clouds(tmp_path / "train"), write_clouds(tmp_path / "val")
    (tmp_path / part / "flat/bad.ply").write_text("no cloud")
    arguments = own_clouds_run(tmp_path, *clouds, "--data.workers", workers)
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "bad.ply" in said.splitlines()[-1] and "Traceback" not in said
    assert run(monkeypatch, *arguments, "--data.bad_files", "skip", "--resume", "auto") == 2
    assert "1 of 9 files cannot be read, more than 1%" in capsys.readouterr().err
    listed = {"train": "bad_files.txt", "val": "bad_val_files.txt"}[part]
    assert "bad.ply" in (tmp_path / "run" / listed).read_text()


def test_a_run_is_neither_overwritten_nor_mixed_with_another(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, *tabletop_run(tmp_path)) == 0
    before = (tmp_path / "run/config.yaml").read_text()
    assert run(monkeypatch, *tabletop_run(tmp_path)) == 2
    assert "holds a run" in capsys.readouterr().err
    other = ["--model_args", '{"in_channels": 6, "width_multiplier": 0.25}', "--resume", "auto"]
    assert run(monkeypatch, *tabletop_run(tmp_path, *other)) == 2
    assert "of another model" in capsys.readouterr().err
    assert (tmp_path / "run/config.yaml").read_text() == before


def test_without_the_hub_it_is_said_what_else_to_start_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = ["--config", ROOT / "configs/video/finetune.yaml", "--data.train", write_videos(tmp_path / "train")]
    assert run(monkeypatch, *config, "--out", tmp_path / "run", "--model", "tsm_resnet18") == 2
    assert "--init.weights none" in capsys.readouterr().err and not (tmp_path / "run/best").exists()


def write_clouds(root):
    rng = np.random.default_rng(0)
    for name, size in (("flat", [1, 1, 0.05]), ("round", [1, 1, 1])):
        (root / name).mkdir(parents=True)
        for number in range(4):
            write_ply(root / name / f"{number}.ply", rng.normal(size=(80, 3)).astype(np.float32) * size)
    return root


def own_clouds_run(tmp_path, train, val, *more):
    config = ["--config", ROOT / "configs/points/finetune.yaml", "--data.train", train, "--data.val", val]
    small = ["--model", "pointnet_cls", "--data.num_points", 32, "--data.workers", 0, "--epochs", 1, "--batch_size", 4]
    return [*config, *small, "--out", tmp_path / "run", *more]


def test_own_clouds(tmp_path, monkeypatch):
    clouds = write_clouds(tmp_path / "clouds")
    assert run(monkeypatch, *own_clouds_run(tmp_path, clouds, clouds)) == 0
    assert zoo.load(f"local-dir:{tmp_path / 'run/last'}").class_names == ("flat", "round")


def test_own_scenes_bring_their_channels(tmp_path, monkeypatch, capsys):
    data = small_set("scenes", tmp_path).data
    config = ["--config", ROOT / "configs/points/finetune_scenes.yaml", "--data.train", data.train]
    config += ["--data.val", data.val, "--data.features", "[rgb]", "--data.num_points", 64, "--data.workers", 0]
    small = ["--model", "pointnet_sem", "--epochs", 1, "--batch_size", 4, "--out", tmp_path / "run"]
    assert run(monkeypatch, *config, *small, "--model_args", '{"in_channels": 9}') == 2
    assert "in_channels is 9, but xyz and the features of the data are 6: leave it out" in capsys.readouterr().err
    assert run(monkeypatch, *config, *small) == 0
    predictor = zoo.load(f"local-dir:{tmp_path / 'run/best'}")
    assert predictor.class_names == ("floor", "thing") and predictor(torch.rand(50, 6)).labels.shape == (50,)


def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, *tabletop_run(tmp_path, "--data.path", "nothing.npz")) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--optim.learning_rate", 1)) == 2
    assert "learning_rate" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--optim.weight_decai", 1)) == 2
    assert "did you mean optim.weight_decay" in capsys.readouterr().err
    written = tmp_path / "written.yaml"
    written.write_text("epoch: 3\n")
    for arguments, said in (
        (("--epoch", 3), "did you mean epochs?"),  # not taken for the key that begins so
        (("--config", written), "there is no key epoch; did you mean epochs?"),
        (("--system.sync_bn", "true"), "on GPUs alone: leave out system.sync_bn"),
        (("--epochs", "many"), "epochs is many: give a whole number ("),
        (("--num_classes", "two"), "num_classes is two: give a whole number or null ("),
        (("--system.amp", "fp8"), "system.amp is fp8: give one of 'none', 'bf16', 'fp16' ("),
        (("--data.mean", "1"), "data.mean is 1: give a list of numbers"),
        (("--config", "none.yaml"), "none.yaml': check what follows --config ("),
    ):
        assert run(monkeypatch, *tabletop_run(tmp_path, *arguments)) == 2
        assert said in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--batch_size", 999)) == 2
    assert "fewer than batch_size 999" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--num_classes", 5)) == 2
    assert "the data have 2" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--data.name", "videos")) == 2
    assert "take another model, or scenes, tabletop" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--model_args", "{width_multiplyer: 0.5}")) == 2
    assert "model_args.width_multiplyer is no argument of pointnet_sem; did you mean width_" in capsys.readouterr().err
    assert run(monkeypatch, *tabletop_run(tmp_path, "--model_args", "{width_multiplier: -1}")) == 2
    assert "pointnet_sem cannot be made with model_args {'width_multiplier': -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("--batch_size", 0, "1 or more"),
        ("--data.workers", -1, "0 or more"),
        ("--optim.accumulate", 0, "1 or more"),
        ("--optim.ema", 1.5, "0 to 1"),
        ("--data.augment.color_jitter", 3.0, "0 to 1"),
    ],
)
def test_a_number_out_of_its_range_is_named(key, value, wanted, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, *tabletop_run(tmp_path, key, value)) == 2
    assert capsys.readouterr().err == f"error: {key[2:]} is {value}: give a number of {wanted}\n"


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("--optim.milestones", [0.5, 2.0], "0 to 1"),
        ("--optim.class_weights", [1.0, -1.0], "0 or more"),
        ("--data.std", (0.0, 1.0, 1.0), "1e-06 or more"),
        ("--data.draw.plain", 2.0, "0 to 1"),
    ],
)
def test_a_list_with_a_number_out_of_its_range_is_named(key, value, wanted, tmp_path, monkeypatch, capsys):
    given = list(value) if isinstance(value, tuple) else value
    assert run(monkeypatch, *tabletop_run(tmp_path, key, given)) == 2
    error = capsys.readouterr().err
    assert f"{key[2:]} is {value}: give " in error and f" of {wanted}" in error


def test_a_device_that_holds_no_numbers_is_refused(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, *tabletop_run(tmp_path, "--system.device", "meta")) == 2
    assert "there is no device 'meta' here" in capsys.readouterr().err


def test_one_class_alone_is_refused(tmp_path, monkeypatch, capsys):
    clouds = write_clouds(tmp_path / "clouds")
    shutil.rmtree(clouds / "round")
    assert run(monkeypatch, *own_clouds_run(tmp_path, clouds, clouds)) == 2
    assert "the class flat alone: give two" in capsys.readouterr().err


def test_a_pass_of_one_sample_is_refused_where_layers_need_more(tmp_path, monkeypatch, capsys):
    clouds = write_clouds(tmp_path / "clouds")
    assert run(monkeypatch, *own_clouds_run(tmp_path, clouds, clouds, "--optim.accumulate", 4)) == 2
    assert "has no statistics for batch normalisation: raise batch_size" in capsys.readouterr().err


def test_decoders_are_chosen_by_name():
    config = parse_config(TrainConfig, ["--model", "tsm_resnet18", "--data.decoder", "frames"])
    assert config.data.decoder == "frames"


def test_the_configuration_is_printed_and_hyphens_do_as_well(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, *tabletop_run(tmp_path, "--batch-size", 7, "--print-config")) == 0
    assert yaml.safe_load(capsys.readouterr().out)["batch_size"] == 7


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/**/*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_valid(path):
    config = parse_config(TrainConfig, ["--config", str(path)])
    zoo.create_model(config.model, num_classes=config.num_classes, **config.model_args)


def test_metrics():
    targets, predictions = torch.tensor([0, 0, 0, 1, -1]), torch.tensor([0, 0, 1, 1, 1])
    confusion = confusion_matrix(predictions, targets, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert accuracy(confusion) == pytest.approx(3 / 4)
    assert mean_iou(confusion) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_the_moving_average_forgets_the_untrained_beginning():
    model = torch.nn.BatchNorm1d(1)
    averaged = AveragedModel(model, multi_avg_fn=moving_average(0.99), use_buffers=True)
    averaged.update_parameters(model)
    model.running_var.fill_(0.01)
    for _ in range(50):
        averaged.update_parameters(model)
    assert averaged.module.running_var.item() == pytest.approx(0.01, rel=1e-3)
    model.running_var.fill_(1.01)
    averaged.update_parameters(model)
    assert 0.01 < averaged.module.running_var.item() < 0.2  # and is slow afterwards
