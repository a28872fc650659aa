"""What a frustum network finds, written as KITTI's results and read again."""

import numpy as np
import torch
from torch import nn

import zoo
from tests.engine.test_frustum_training import write_frames
from tests.engine.test_publish import validate
from zoo.data.kitti import NUM_HEADING_BINS, SIZE_TEMPLATES
from zoo.data.kitti_frustum import KittiFrustums
from zoo.engine.protocols import evaluate_kitti
from zoo.engine.protocols.kitti_files import read_kitti_objects
from zoo.engine.protocols.kitti_results import write_kitti_results
from zoo.weights import PointInput, WeightsSpec


class Seer(nn.Module):
    """Knows the answers, given one after another."""

    def __init__(self, targets):
        super().__init__()
        self.targets, self.unused = targets, nn.Parameter(torch.zeros(1))
        preprocessing = PointInput(64, ("intensity",), "none", "none")
        self.spec = WeightsSpec("frustum_pointnet", "", 3, preprocessing)

    def forward(self, points, class_ids):
        own, self.targets = self.targets[: len(points)], self.targets[len(points) :]
        bins, templates = (torch.stack([t[key] for t in own]) for key in ("heading_bin_id", "size_template_id"))
        rows = torch.arange(len(own))
        residuals, sizes = torch.zeros(len(own), NUM_HEADING_BINS), torch.zeros(len(own), len(SIZE_TEMPLATES), 3)
        residuals[rows, bins] = torch.stack([t["heading_residual"] for t in own])
        sizes[rows, templates] = torch.stack([t["size_residual"] for t in own])
        return {
            "center": torch.stack([t["center"] for t in own]),
            "heading_scores": nn.functional.one_hot(bins, NUM_HEADING_BINS).float(),
            "heading_residuals": residuals,
            "size_scores": nn.functional.one_hot(templates, len(SIZE_TEMPLATES)).float(),
            "size_residuals": sizes,
        }


def test_the_truth_is_found_again(tmp_path):
    root = write_frames(tmp_path / "kitti", 5)
    detections, results = tmp_path / "detections", tmp_path / "results"
    detections.mkdir()
    frames = [f"{number:06}" for number in range(5)]
    for frame in frames:
        line = (root / f"label_2/{frame}.txt").read_text().split()
        (detections / f"{frame}.txt").write_text(" ".join([*line, "0.9"]) if frame != "000003" else "")
    labelled = KittiFrustums(root, training=False, num_points=64, frames=[f for f in frames if f != "000003"])
    seen = KittiFrustums(root, training=False, num_points=64, frames=frames, detections=detections)
    write_kitti_results(Seer([target for _, target in labelled]), seen, frames, results, batch_size=3)
    assert (results / "000003.txt").read_text() == ""
    for frame in set(frames) - {"000003"}:
        label = read_kitti_objects(root / f"label_2/{frame}.txt")
        found = read_kitti_objects(results / f"{frame}.txt", scored=True)
        np.testing.assert_allclose(found.boxes, label.boxes, atol=2e-3)
        np.testing.assert_allclose(found.image, label.image)
        assert found.score.tolist() == [0.9]
    figures, best = (evaluate_kitti(root / "label_2", folder).figures for folder in (results, detections))
    assert figures["car_3d_easy_r40"] == best["car_3d_easy_r40"] > 0


def test_boxes_are_measured_from_the_command_line(tmp_path, monkeypatch, capsys):
    root, detections = write_frames(tmp_path / "kitti", 2), tmp_path / "detections"
    detections.mkdir()
    for frame in ("000000", "000001"):
        (detections / f"{frame}.txt").write_text((root / f"label_2/{frame}.txt").read_text().strip() + " 0.9\n")
    (tmp_path / "val.txt").write_text("000000\n000001\n")
    small = {"width_multiplier": 0.125, "num_points_per_object": 32}
    model = zoo.create_model("frustum_pointnet", **small)
    folder = zoo.save_pretrained(model, tmp_path / "best")
    data = ["--data.name", "kitti", "--data.path", root, "--data.val", tmp_path / "val.txt"]
    assert validate(monkeypatch, folder, *data) == 2
    assert "data.detections" in capsys.readouterr().err
    assert validate(monkeypatch, folder, *data, "--data.detections", detections) == 0
    out = capsys.readouterr().out
    assert "2 detections in 2 frames" in out and "car_3d_moderate_r40" in out
