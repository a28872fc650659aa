"""Many processes learn, and measure, what one does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

import zoo
from tests.data.test_training_sets import write_tracks
from tests.engine.small_sets import small_set, untrained
from tests.engine.test_frustum_training import write_frames
from zoo.engine.checkpoint import load_checkpoint
from zoo.engine.config import DataConfig, ValidateConfig
from zoo.engine.validate import validate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def learnt_alone(tmp_path_factory, launcher):
    """The arguments of a run, and the folder of what one process made of it."""
    folder = tmp_path_factory.mktemp("alone")
    write_tracks(folder / "tracks.csv", 40)
    # Without what differs by process: the statistics of a batch's share, and dropout.
    config = ["--model", "tsm_resnet18", "--num_classes", "8", "--model_args", '{"dropout": 0.0}']
    config += ["--init.weights", "none", "--data.name", "direction", "--data.path", str(folder / "tracks.csv")]
    config += ["--data.hold_out_val", "false", "--data.num_frames", "5", "--data.image_size", "32", "--epochs", "1"]
    config += ["--batch_size", "64", "--optim.name", "sgd", "--optim.lr", "0.01", "--optim.batch_norm", "frozen"]
    config += ["--optim.accumulate", "2"]
    codes, said = launcher.run("train.py", *config, "--out", folder / "run")
    assert codes == [0] and said.count("epoch 1: ") == 1, said
    return config, folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_gloo_processes_learn_what_one_does(tmp_path, processes, learnt_alone, launcher):
    config, alone = learnt_alone
    many = tmp_path / "many"
    if processes == 2:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command = [*torchrun, str(ROOT / "tools/train.py"), *config, "--out", str(many)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        codes, said = [done.returncode], done.stderr
    else:
        codes, said = launcher.run("train.py", *config, "--out", many, count=processes)
    assert not any(codes) and said.count("epoch 1: ") == 1, said  # one of them speaks
    loss, same = ((run / "metrics.csv").read_text().splitlines()[1].split(",")[1] for run in (alone, many))
    assert float(loss) == pytest.approx(float(same), abs=2e-5)
    expected, actual = (load_checkpoint(run / "last")[0]["model"] for run in (alone, many))
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-4, atol=1e-5)


def _measure_all(rank, folder, configs):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for config in configs:
        validate(replace(config, out=f"{config.out}2.json"))
    distributed.destroy_process_group()


def write_clouds(root, count):
    """As many clouds in each of two folders; the first of each cannot be read."""
    for name in ("flat", "round"):
        (root / name).mkdir(parents=True)
        (root / name / "bad.npy").write_text("no cloud")
        for number in range(1, count):
            np.save(root / name / f"{number}.npy", np.random.default_rng(number).normal(size=(40, 3)))
    return root


def own_clouds(folder, count, *more):
    small = ["--model", "pointnet_cls", "--model_args", '{"width_multiplier": 0.125}', "--data.num_points", 32]
    data = ["--data.train", write_clouds(folder / "train", count), "--out", folder / "run"]
    return [*small, *data, "--epochs", 2, *more]


@pytest.mark.slow
def test_too_many_bad_files_of_all_processes_end_a_run_and_are_in_one_list(tmp_path, launcher):
    options = ["--batch_size", 20, "--data.bad_files", "skip"]  # 2 of 180 files: 1.1 %, of which each meets one
    codes, said = launcher.run("train.py", *own_clouds(tmp_path, 90, *options), count=2)
    assert all(codes) and said.count("2 of 180 files cannot be read, more than 1%") == 1
    listed = (tmp_path / "run/bad_files.txt").read_text()
    assert sorted(line.split("/")[-2] for line in listed.split("\n")[:-1]) == ["flat", "round"]
    assert len(list((tmp_path / "run").glob("bad*"))) == 1


@pytest.mark.slow
def test_bad_files_of_all_processes_are_counted_and_too_many_end_a_measurement_with_one_sentence(tmp_path, launcher):
    model, out = untrained(small_set("clouds", tmp_path), tmp_path / "model"), tmp_path / "figures.json"
    clouds = write_clouds(tmp_path / "many", 90)
    measurement = ["validate.py", "--model", model, "--data.val", clouds, "--data.bad_files", "skip", "--out", out]
    codes, said = launcher.run(*measurement, count=2)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert any(codes) and len(errors) == 1 and "2 of 180 files cannot be read, more than 1%" in errors[0]
    listed = (tmp_path / "figures.bad_files.txt").read_text()
    assert sorted(line.split("/")[-2] for line in listed.splitlines()) == ["flat", "round"] and not out.exists()

    (clouds / "flat/bad.npy").unlink()
    codes, said = launcher.run(*measurement, count=2)
    results = json.loads(out.read_text())
    assert codes == [0, 0] and "error" not in said
    assert (results["num_samples"], results["settings"]["num_left_out"]) == (178, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "more", "sentence"),
    [
        ("train.py", ["--optim.rate", 1], "unrecognized arguments"),  # before the processes have joined
        ("train.py", ["--batch_size", 3], "batch_size 3 cannot be shared"),  # in all of them
        ("train.py", ["--batch_size", 20, "--data.workers", 1], "bad.npy"),  # in one, or in each another
    ],
)
def test_an_error_is_said_once_and_not_once_a_process(tool, more, sentence, tmp_path, launcher):
    codes, said = launcher.run(tool, *own_clouds(tmp_path, 10, *more), count=2)
    assert all(codes) and "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(set(errors)) == len(errors) <= 2 and all(sentence in error for error in errors)


@pytest.mark.slow
def test_gloo_processes_measure_what_one_does(tmp_path):
    configs = []
    for name in ("clouds", "videos", "radhar", "s3dis", "shapenet_part"):  # odd, even, groups, votes, IoU of shapes
        (tmp_path / name).mkdir()
        small = small_set(name, tmp_path / name)
        model = untrained(small, tmp_path / name / "model")
        configs.append(ValidateConfig(model, small.measured, batch_size=4, out=str(tmp_path / name / "figures")))
        if name in ("s3dis", "shapenet_part"):
            configs[-1] = replace(configs[-1], votes=2)
    for number in range(2, 99):
        np.save(Path(configs[0].data.val) / f"flat/{number}.npy", np.random.default_rng(number).normal(size=(80, 3)))
    (Path(configs[0].data.val) / "flat/98.npy").write_text("no cloud")
    configs[0] = replace(configs[0], data=replace(configs[0].data, bad_files="skip"))
    configs.append(_boxes(tmp_path / "boxes"))
    for config in configs:
        validate(replace(config, out=f"{config.out}1.json"))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_measure_all, (tmp_path, configs), nprocs=2)
    for config in configs:
        alone, many = (json.loads(Path(f"{config.out}{processes}.json").read_text()) for processes in (1, 2))
        assert many == alone
    assert many["num_samples"] == 5  # frames
    clouds = json.loads(Path(f"{configs[0].out}2.json").read_text())
    assert (clouds["num_samples"], clouds["settings"]["num_left_out"]) == (100, 1)
    assert "98.npy" in Path(f"{configs[0].out}2.bad_files.txt").read_text()


def _boxes(folder):
    """The measurement of a network that draws points at random, on five frames in batches of two."""
    root, detections, frames = write_frames(folder / "kitti", 5), folder / "detections", range(5)
    detections.mkdir()
    for frame in frames:
        label = (root / f"label_2/{frame:06}.txt").read_text().strip()
        (detections / f"{frame:06}.txt").write_text(f"{label} 0.9\n")
    (folder / "val.txt").write_text("".join(f"{frame:06}\n" for frame in frames))
    torch.manual_seed(0)
    model = zoo.create_model("frustum_pointnet", width_multiplier=0.125, num_points_per_object=32)
    name = f"local-dir:{zoo.save_pretrained(model, folder / 'model')}"
    data = DataConfig(name="kitti", path=str(root), val=str(folder / "val.txt"), detections=str(detections))
    return ValidateConfig(name, data, batch_size=2, out=str(folder / "figures"))
