"""What happens to a run that is ended: by a signal, by SIGKILL at any moment, by a full disk or a damaged file."""

import dataclasses
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import zoo
from tests.data.test_training_sets import write_scenes, write_tracks
from zoo.engine import checkpoint
from zoo.engine import train as module
from zoo.engine.checkpoint import Progress, load_checkpoint, newest_checkpoint, save_checkpoint
from zoo.engine.config import DataConfig, InitConfig, OptimConfig, TrainConfig
from zoo.engine.train import train
from zoo.errors import CheckpointError, InputError

ROOT = Path(__file__).parents[2]
MODEL = {"in_channels": 6, "width_multiplier": 0.125}


def small_run(folder: Path, **changes) -> TrainConfig:
    scenes = folder / "scenes.npz"
    if not scenes.exists():
        write_scenes(scenes)
    data = DataConfig("tabletop", path=str(scenes), num_points=32, samples_per_scene=4)
    return dataclasses.replace(
        TrainConfig(
            "pointnet_sem", data, model_args=MODEL, out=str(folder / "run"), epochs=3, batch_size=8, save_steps=3
        ),
        **changes,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder)[0]["model"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Products are summed in another order by other numbers of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The weights after a run that nothing ended, and its table of figures without the times."""
    folder = tmp_path_factory.mktemp("whole")
    train(small_run(folder))
    return weights(folder / "run/last"), figures(folder / "run")


def figures(out: Path) -> list[str]:
    return [line.rpartition(",")[0] for line in (out / "metrics.csv").read_text().splitlines()]


def command(folder: Path) -> list[str]:
    config = ["--model", "pointnet_sem", "--num_classes", "2", "--model_args", json.dumps(MODEL)]
    data = ["--data.name", "tabletop", "--data.path", str(folder / "scenes.npz"), "--data.num_points", "32"]
    rest = ["--data.samples_per_scene", "4", "--epochs", "3", "--batch_size", "8", "--save_steps", "3"]
    out = ["--out", str(folder / "run"), "--resume", "auto"]
    return [sys.executable, str(ROOT / "tools/train.py"), *config, *data, *rest, *out]


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_a_run_ends_in_the_same_weights(tmp_path, uninterrupted, launcher):
    small_run(tmp_path)
    arguments = command(tmp_path)[2:]
    started = time.perf_counter()
    codes, said = launcher.run("train.py", *arguments, "--out", tmp_path / "other")
    assert codes == [0], said
    whole, chance, kills = time.perf_counter() - started, random.Random(0), 0
    for _ in range(10):
        codes, said = launcher.run("train.py", *arguments, kill_after=chance.uniform(0.1, 0.6) * whole)
        if codes == [-signal.SIGKILL] and "nothing left to do" not in said:
            kills += 1
        elif kills == 0:  # the machine was slower while the whole run was timed: begin anew
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            whole /= 2
    codes, said = launcher.run("train.py", *arguments)
    assert kills > 0 and codes == [0], said  # it may be done before the tenth
    expected, rows = uninterrupted
    assert same(weights(tmp_path / "run/last"), expected) and figures(tmp_path / "run") == rows


def stop_after(steps: int, config: TrainConfig, monkeypatch) -> None:
    """Run ``config``, which SIGTERM reaches while it takes the last of ``steps`` steps but one."""
    original, begun = module.Run.step, 0

    def step(run, *arguments):
        nonlocal begun
        begun += 1
        if begun == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(run, *arguments)

    monkeypatch.setattr(module.Run, "step", step)
    with pytest.raises(module.Stopped, match=f"SIGTERM after step {steps}"):
        train(config)
    monkeypatch.undo()


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(tmp_path, uninterrupted, monkeypatch):
    config = small_run(tmp_path)
    stop_after(6, config, monkeypatch)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    train(dataclasses.replace(config, resume="auto"))
    expected, rows = uninterrupted
    assert same(weights(tmp_path / "run/last"), expected) and figures(tmp_path / "run") == rows


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_ends_a_run_without_a_traceback(tmp_path):
    small_run(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(*more):
        arguments = [*command(tmp_path), *more]
        return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    for moment in (0.2, 0.6, 1.2):  # in what is imported
        process = start()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moment)
        os.killpg(process.pid, signal.SIGINT)
        assert (process.communicate()[1], process.returncode) == ("", 130)

    process = start("--epochs", "9999", "--data.workers", "1")
    assert any("going on" in line or "epoch 1, loss" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGINT)  # which reaches the process that loads data too
    said = process.communicate()[1]
    assert process.returncode == 130 and "stopped by SIGINT after step" in said and "Traceback" not in said
    assert "the same signal again ends the run at once" in said.split("stopped by")[0]


@pytest.mark.slow
def test_a_signal_to_torchrun_ends_all_processes_after_a_step(tmp_path):
    small_run(tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [*torchrun, *command(tmp_path)[1:], "--epochs", "9999", "--data.workers", "1"]
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and any("epoch 1, loss" in line for line in process.stderr)
    process.terminate()  # which torchrun hands on to the processes that load data too
    said = process.communicate()[1]
    assert said.count("stopped by SIGTERM after step") == 1 and "DataLoader" not in said
    assert said.count("the same signal again ends the run at once") == 1
    assert f"after step {load_checkpoint(tmp_path / 'run/last')[1].step}:" in said


@pytest.mark.slow
def test_where_a_process_was_killed_all_machines_start_anew_and_end_in_the_same_weights(tmp_path, launcher):
    """Two torchruns stand for two machines, of which one restarts a process that failed, and one has to follow."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={tmp_path / 'meeting'}"]
    machine = [*torchrun, *meeting, "--nnodes=2", "--nproc-per-node=1", "--local-addr=localhost", "--max-restarts=1"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        small_run(tmp_path / name)
    codes, said = launcher.run("train.py", *command(tmp_path / "whole")[2:], "--epochs", "6", count=2)
    assert codes == [0, 0], said

    run = [*command(tmp_path / "killed")[1:], "--epochs", "6"]
    reading, writing = os.pipe()
    machines = [subprocess.Popen([*machine, *run], env=environment, stderr=writing) for _ in range(2)]
    os.close(writing)
    with open(reading) as stderr:
        assert any("epoch 1, loss" in line for line in stderr)
        pid = machines[1].pid
        os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1]), signal.SIGKILL)
        said = stderr.read()
    assert [machine.wait() for machine in machines] == [0, 0], said
    assert "going on after step" in said and "Traceback" not in said
    assert said.count("error: ") == said.count("another process has ended") == 1
    assert same(weights(tmp_path / "killed/run/last"), weights(tmp_path / "whole/run/last"))


def test_the_table_of_a_run_that_was_killed_while_it_saved_lacks_no_epoch(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    original = module.Run._save

    def save(run, name):
        original(run, name)
        if run.progress.epoch == 1:
            raise Killed

    monkeypatch.setattr(module.Run, "_save", save)
    with pytest.raises(Killed):
        train(small_run(tmp_path, save_steps=0))
    monkeypatch.undo()
    train(small_run(tmp_path, save_steps=0, resume="auto"))
    assert [row.partition(",")[0] for row in figures(tmp_path / "run")] == ["epoch", "1", "2", "3"]


@pytest.mark.parametrize("moment", ["_measure", "_save"])
def test_a_run_that_was_killed_after_its_last_step_is_measured_and_kept_all_the_same(
    moment, tmp_path, uninterrupted, monkeypatch, caplog
):
    class Killed(BaseException):
        pass

    original = getattr(module.Run, moment)

    def killed(run, argument):
        if run.progress.step == run.schedule.num_steps and argument != "last":
            original(run, argument)
            raise Killed
        return original(run, argument)

    config = small_run(tmp_path, keep_every=1)
    monkeypatch.setattr(module.Run, moment, killed)
    with pytest.raises(Killed):
        train(config)
    monkeypatch.undo()
    with caplog.at_level(logging.INFO, "zoo.train"):
        train(dataclasses.replace(config, resume="auto"))
    assert "going on after step 54 of 54" in caplog.text  # no step is taken again
    expected, rows = uninterrupted
    assert figures(tmp_path / "run") == rows
    for name in ("epoch-0003", "last"):
        assert same(weights(tmp_path / "run" / name), expected)


def test_a_full_disk_is_said_in_a_sentence(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo.engine.journal.replacing", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): make room"):
        train(small_run(tmp_path))


def test_other_settings_are_said_and_a_finished_run_is_left_alone(tmp_path, caplog):
    config = small_run(tmp_path, epochs=1)
    train(config)
    with caplog.at_level(logging.INFO, "zoo.train"):
        train(dataclasses.replace(config, resume="auto", save_steps=0))
    assert "nothing left to do" in caplog.text and "other settings" not in caplog.text
    changed = small_run(tmp_path, epochs=2, resume="auto", seed=3, optim=OptimConfig(lr=0.1, ema=0.9))
    caplog.clear()
    with caplog.at_level(logging.INFO, "zoo.train"):
        train(changed)
    assert "other settings than before: optim.lr, optim.ema, seed" in caplog.text
    with pytest.raises(InputError, match=r"another optim\.name"):
        train(dataclasses.replace(changed, optim=OptimConfig(name="sgd")))
    with pytest.raises(InputError, match=r"had 18 steps and now has 9 \(changed: .*batch_size"):
        train(dataclasses.replace(changed, batch_size=16))


def test_networks_that_learn_from_each_other_go_on_together(tmp_path, monkeypatch):
    optim = OptimConfig(mutual=2, ema=0.5)
    train(small_run(tmp_path, epochs=1, optim=optim, out=str(tmp_path / "whole")))
    stop_after(4, small_run(tmp_path, epochs=1, optim=optim), monkeypatch)
    train(small_run(tmp_path, epochs=1, optim=optim, resume="auto"))
    expected, _ = load_checkpoint(tmp_path / "whole/last")
    state, _ = load_checkpoint(tmp_path / "run/last")
    assert same(state["model"], expected["model"]) and same(state["published"], expected["published"])
    assert {name.split(".")[1] for name in state["model"]} == {"0", "1"}


@pytest.mark.slow
def test_clips_are_mixed_as_they_would_have_been(tmp_path, monkeypatch):
    write_tracks(tmp_path / "tracks.csv", 30)
    data = DataConfig("direction", path=str(tmp_path / "tracks.csv"), num_frames=3, image_size=32, hold_out_val=False)
    optim = OptimConfig(mixup=0.8, cutmix=1.0, label_smoothing=0.1)
    run = TrainConfig("tsm_resnet18", data, init=InitConfig("none"), optim=optim, epochs=1, batch_size=32)
    run = dataclasses.replace(run, model_args={"num_frames": 3}, out=str(tmp_path / "whole"))
    train(run)
    stop_after(2, dataclasses.replace(run, out=str(tmp_path / "run")), monkeypatch)
    train(dataclasses.replace(run, out=str(tmp_path / "run"), resume="auto"))
    assert same(weights(tmp_path / "run/last"), weights(tmp_path / "whole/last"))


def test_a_moving_average_goes_on_too(tmp_path):
    averaged = {"optim": OptimConfig(ema=0.9), "data": small_run(tmp_path).data}
    train(small_run(tmp_path, out=str(tmp_path / "whole"), **averaged))
    train(small_run(tmp_path, out=str(tmp_path / "parts"), **averaged, epochs=1))
    state, _ = load_checkpoint(tmp_path / "parts/last")
    assert not same(state["model"], state["published"])


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    out = tmp_path / "run"
    train(small_run(tmp_path, epochs=2, keep_every=1))
    for name in ("last", "epoch-0002"):
        file = out / name / checkpoint.TENSORS_NAME
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    (out / "best" / checkpoint.STATE_NAME).write_text("{")
    with caplog.at_level(logging.WARNING, "zoo.train"):
        found = newest_checkpoint(out)
    assert found is not None and found[1].epoch == 1  # of epoch-0001
    assert caplog.text.count("is not what was written") == 2 and "best" in caplog.text
    with pytest.raises(CheckpointError, match="take another"):
        load_checkpoint(out / "last")
    (out / "epoch-0001" / checkpoint.STATE_NAME).write_text("{")
    with pytest.raises(InputError, match=r"no checkpoint in .*run is whole: take them away"):
        train(small_run(tmp_path, resume="auto"))


def test_a_run_that_was_killed_in_its_first_checkpoint_begins_anew(tmp_path):
    left = tmp_path / "run/.last.part"
    left.mkdir(parents=True)
    (left / checkpoint.STATE_NAME).touch()
    train(small_run(tmp_path, epochs=1, resume="auto"))
    assert load_checkpoint(tmp_path / "run/last")[1].epoch == 1 and not left.exists()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model = zoo.create_model("pointnet_sem", num_classes=2, **MODEL)
    save_checkpoint(tmp_path / "last", model, {}, Progress(step=1), {})

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_sync", full)
    with pytest.raises(InputError, match="No space left"):
        save_checkpoint(tmp_path / "last", model, {}, Progress(step=2), {})
    assert load_checkpoint(tmp_path / "last")[1].step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
