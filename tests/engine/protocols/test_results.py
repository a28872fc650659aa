"""What is left on disk of a measurement."""

import json
import math

import pytest
import torch

from tests.engine.test_publish import load_tool
from zoo.engine.protocols import Evaluation, write_results
from zoo.engine.protocols.confusion_plot import write_confusion
from zoo.errors import InputError


def evaluation():
    figures, intervals = {"overall_accuracy": 0.75, "nothing": math.nan}, {"overall_accuracy": (0.3, 0.95)}
    views = {"views": {"num_views": 30}}
    return Evaluation("dense_10x3", 4, figures, intervals, views, ("a", "b"), torch.tensor([[2, 1], [0, 1]]))


def test_results_say_how_they_were_measured(tmp_path):
    write_results(tmp_path / "results.json", evaluation(), "tsm_resnet50.k400_8f", "ab" * 32)
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["model"], results["weights_sha256"]) == ("tsm_resnet50.k400_8f", "ab" * 32)
    assert (results["protocol"], results["settings"]["views"]["num_views"]) == ("dense_10x3", 30)
    assert results["metrics"]["overall_accuracy"] == {"value": 0.75, "interval_95": [0.3, 0.95]}
    assert results["metrics"]["nothing"] == {"value": None, "interval_95": None}
    assert results["num_samples"] == 4 and results["confusion"] == [[2, 1], [0, 1]]
    assert {"python", "torch", "numpy"} <= set(results["versions"])


def test_files_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"\.json"):
        write_results(tmp_path / "results.txt", evaluation(), "model")
    with pytest.raises(InputError, match="make the folder"):
        write_confusion(tmp_path / "no/confusion.png", torch.eye(2))


@pytest.mark.parametrize("size", [2, 24, 60])
def test_a_confusion_matrix_as_png(tmp_path, size):
    pytest.importorskip("matplotlib")
    path = tmp_path / "confusion.png"
    write_confusion(path, torch.eye(size, dtype=torch.int64) * 12345, [f"a class named {n}" for n in range(size)])
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (16, 20))
    assert min(width, height) >= 15 * size  # pixels: the letters of a name need as many in height


def test_names_fit_the_matrix(tmp_path):
    with pytest.raises(ValueError, match="3 names"):
        write_confusion(tmp_path / "confusion.png", torch.eye(2), ["a", "b", "c"])


def test_folds_are_one_figure_from_their_files(tmp_path, capsys):
    for number, confusion in enumerate(([[8, 2], [0, 0]], [[0, 0], [5, 5]])):
        results = {"class_names": ["a", "b"], "confusion": confusion}
        (tmp_path / f"{number}.json").write_text(json.dumps(results))
    load_tool("merge_folds").run(sorted(tmp_path.glob("*.json")))
    assert capsys.readouterr().out.split() == [
        *("overall_accuracy:", "0.6500", "mean_class_accuracy:", "0.6500", "mean_iou:", "0.4750")
    ]
    (tmp_path / "2.json").write_text("{}")
    with pytest.raises(InputError, match=r"2\.json has no confusion matrix"):
        load_tool("merge_folds").run(sorted(tmp_path.glob("*.json")))
