"""From a trained run to a bundled checkpoint: measure, then enter into the index."""

import importlib.util
import json
from pathlib import Path

import zoo
from tests.data.test_training_sets import write_scenes, write_tracks
from zoo import hub
from zoo.weights import PointInput, VideoInput, WeightsSpec

ROOT = Path(__file__).parents[2]


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tool(monkeypatch, name, *arguments):
    module = load_tool(name)
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    return module.main()


def validate(monkeypatch, folder, *arguments):
    return tool(monkeypatch, "validate", "--model", f"local-dir:{folder}", *arguments)


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
    scenes, results = write_scenes(tmp_path / "scenes.npz"), tmp_path / "test.json"
    claims = ["--licence", "Apache-2.0", "--origin", "a test", "--figures", "mean_iou", "overall_accuracy"]
    assert tool(monkeypatch, "add_checkpoint", best, "--results", results, *claims) == 2
    assert "tools/validate.py" in capsys.readouterr().err
    data = ["--data.name", "tabletop", "--data.path", scenes]
    assert validate(monkeypatch, best, *data, "--out", results) == 0
    assert "3 test scenes" in capsys.readouterr().out and results.with_suffix(".png").is_file()
    assert tool(monkeypatch, "add_checkpoint", best, "--results", results, *claims) == 0
    (entry,) = json.loads((bundle / "index.json").read_text())
    assert entry["file"] == "pvcnn_sem_c0p125.mine.safetensors" and (bundle / entry["file"]).is_file()
    assert (bundle / "golden" / entry["file"]).is_file()
    assert [metric["name"] for metric in entry["metrics"]] == ["mean iou", "overall accuracy"]
    low, high = entry["metrics"][0]["interval"]
    assert low <= entry["metrics"][0]["value"] <= high
    other = checkpoint(tmp_path / "other", "pointnet_sem", 2, PointInput(32, ("rgb",)), in_channels=6)
    others = tmp_path / "other.json"
    assert validate(monkeypatch, other, *data, "--out", others) == 0
    compared = ["--compare", "pointnet_sem", others]
    assert tool(monkeypatch, "add_checkpoint", best, "--results", results, *claims, *compared) == 0
    (entry,) = json.loads((bundle / "index.json").read_text())
    assert [metric["name"] for metric in entry["metrics"]][2:] == [
        "mean iou of pointnet_sem",
        "overall accuracy of pointnet_sem",
    ]
    capsys.readouterr()
    assert tool(monkeypatch, "add_checkpoint", best, "--results", others, *claims) == 2
    assert "other weights" in capsys.readouterr().err


def test_folds_are_averaged(tmp_path):
    paths = []
    for fold, value in enumerate((0.7, 0.9), start=1):
        settings = {"data": f"fights, fold {fold}", "command": "tools/validate.py"}
        figure = {"value": value, "interval_95": [value - 0.1, value + 0.1]}
        paths.append(tmp_path / f"{fold}.json")
        paths[-1].write_text(
            json.dumps({"settings": settings, "protocol": "center", "metrics": {"top_1_accuracy": figure}})
        )
    (metric,) = load_tool("add_checkpoint").read_metrics(paths, ["top_1_accuracy"])
    assert metric.value == 0.8 and metric.dataset == "2 folds of fights" and "0.700 to 0.900" in metric.protocol
    assert metric.interval == (0.7, 0.9)


def test_gestures_are_measured_as_dot_and_as_stroke(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zoo.data.fingertip.BLOCK", 17)
    tracks = write_tracks(tmp_path / "tracks.csv", 120)
    best = checkpoint(tmp_path, "tsm_mobilenetv2_online", 4, VideoInput(16, 32, 32, "squash"))
    for style in ("dot", "stroke"):
        data = ["--data.name", "fingertip", "--data.path", tracks, "--data.draw.styles", f"[{style}]"]
        assert validate(monkeypatch, best, *data, "--split", "val") == 0
        out = capsys.readouterr().out
        assert f"8 val tracks drawn as {style}" in out and "top_1_accuracy" in out
