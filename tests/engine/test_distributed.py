"""Many processes learn what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.data.test_training_sets import write_tracks
from zoo.engine.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_gloo_processes_learn_what_one_does(tmp_path, processes):
    write_tracks(tmp_path / "tracks.csv", 40)
    # Without what differs by process: the statistics of a batch's share, and dropout.
    config = [
        "--model",
        "tsm_resnet18",
        "--num_classes",
        "8",
        "--model_args",
        '{"dropout": 0.0}',
        "--init.weights",
        "none",
    ]
    config += ["--data.name", "direction", "--data.path", str(tmp_path / "tracks.csv"), "--data.hold_out_val", "false"]
    config += ["--data.num_frames", "5", "--data.image_size", "32", "--epochs", "1", "--batch_size", "64"]
    config += ["--optim.name", "sgd", "--optim.lr", "0.01", "--optim.batch_norm", "frozen", "--optim.accumulate", "2"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    runs = []
    for name, start in (("alone", []), ("many", torchrun)):
        command = [sys.executable, *start, str(ROOT / "tools/train.py"), *config, "--out", str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("epoch 1: ") == 1  # one of them speaks
        runs.append((tmp_path / name / "metrics.csv").read_text().splitlines()[1].split(",")[1])
    assert float(runs[0]) == pytest.approx(float(runs[1]), abs=2e-5)
    alone, many = (load_checkpoint(tmp_path / name / "last")[0]["model"] for name in ("alone", "many"))
    for name in alone:
        torch.testing.assert_close(many[name], alone[name], rtol=1e-4, atol=1e-5)
