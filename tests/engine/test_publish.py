"""From a trained run to a bundled checkpoint: measure, then enter into the index."""

import importlib.util
import json
from pathlib import Path

import zoo
from tests.data.test_training_sets import write_scenes, write_tracks
from zoo import hub
from zoo.weights import PointInput, VideoInput, WeightsSpec

ROOT = Path(__file__).parents[2]


def tool(monkeypatch, name, *arguments):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    return module.main()


def checkpoint(folder, architecture, num_classes, preprocessing, **arguments):
    model = zoo.create_model(architecture, num_classes=num_classes, **arguments)
    model.spec = WeightsSpec(architecture, "mine", num_classes, preprocessing, model_args=arguments)
    return zoo.save_pretrained(model, folder / "best")


def test_a_measured_checkpoint_enters_the_index(tmp_path, monkeypatch, capsys):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "index.json").write_text("[]")
    monkeypatch.setattr(hub, "checkpoints_folder", lambda: bundle)
    best = checkpoint(tmp_path, "pvcnn_sem_c0p125", 2, PointInput(32, ("rgb",)), in_channels=6)
    claims = ["--licence", "Apache-2.0", "--origin", "a test"]
    assert tool(monkeypatch, "add_checkpoint", best, *claims) == 2
    assert "tools/validate.py" in capsys.readouterr().err
    scenes = write_scenes(tmp_path / "scenes.npz")
    assert tool(monkeypatch, "validate", best, "--data", "tabletop", "--path", scenes) == 0
    assert "3 test scenes" in capsys.readouterr().out
    assert tool(monkeypatch, "add_checkpoint", best, *claims) == 0
    (entry,) = json.loads((bundle / "index.json").read_text())
    assert entry["file"] == "pvcnn_sem_c0p125.mine.safetensors" and (bundle / entry["file"]).is_file()
    assert [metric["name"] for metric in entry["metrics"]] == ["mean IoU", "point accuracy"]
    other = checkpoint(tmp_path / "other", "pointnet_sem", 2, PointInput(32, ("rgb",)), in_channels=6)
    assert tool(monkeypatch, "validate", other, "--data", "tabletop", "--path", scenes) == 0
    assert tool(monkeypatch, "add_checkpoint", best, *claims, "--compare", other) == 0
    (entry,) = json.loads((bundle / "index.json").read_text())
    assert [metric["name"] for metric in entry["metrics"]][2:] == [
        "mean IoU of pointnet_sem",
        "point accuracy of pointnet_sem",
    ]


def test_gestures_are_measured_as_dot_and_as_stroke(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoo.data.fingertip.BLOCK", 17)
    tracks = write_tracks(tmp_path / "tracks.csv", 120)
    best = checkpoint(tmp_path, "tsm_mobilenetv2_online", 4, VideoInput(16, 32, 32, "squash"))
    assert tool(monkeypatch, "validate", best, "--data", "fingertip", "--path", tracks, "--split", "val") == 0
    out = capsys.readouterr().out
    assert "accuracy, dot" in out and "accuracy, stroke" in out and "8 val tracks" in out
