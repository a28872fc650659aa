"""Frustum networks learn boxes: each loss is near zero for the truth, and training makes the boxes better."""

import csv
import math

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, default_collate

import zoo
from tests.data.test_kitti import CALIBRATION, box_points
from tests.data.test_kitti import root as frame  # noqa: F401 - a fixture: one car of KITTI
from zoo.data.kitti import SIZE_TEMPLATES
from zoo.data.kitti_frustum import KittiFrustums
from zoo.engine.boxes import boxes_of, target_boxes
from zoo.engine.config import DataConfig, InitConfig, OptimConfig, TrainConfig
from zoo.engine.data import Sets
from zoo.engine.frustum_loss import frustum_loss, loss_parts
from zoo.engine.scores import BoxScores
from zoo.engine.train import train
from zoo.errors import InputError
from zoo.weights import PointInput

HALF_BIN = math.pi / 12
SURE = 30.0  # a score that leaves nothing to the others


@pytest.fixture
def target(frame):  # noqa: F811
    data = KittiFrustums(frame, num_points=64)
    return default_collate([data[0][1] for _ in range(3)])


def truth(target):
    """What a network would give that knows the target."""
    size = len(target["center"])
    templates = torch.tensor(SIZE_TEMPLATES)
    heading, sizes = torch.zeros(size, 12), torch.zeros(size, len(templates), 3)
    rows = torch.arange(size)
    heading[rows, target["heading_bin_id"]] = target["heading_residual"]
    sizes[rows, target["size_template_id"]] = target["size_residual"]
    return {
        "mask_logits": SURE * torch.nn.functional.one_hot(target["mask_logits"], 2).transpose(1, 2).float(),
        "center_reg": target["center"].clone(),
        "center": target["center"].clone(),
        "heading_scores": SURE * torch.nn.functional.one_hot(target["heading_bin_id"], 12).float(),
        "heading_residuals": heading,
        "heading_residuals_normalized": heading / HALF_BIN,
        "size_scores": SURE * torch.nn.functional.one_hot(target["size_template_id"], 8).float(),
        "size_residuals": sizes,
        "size_residuals_normalized": sizes / templates,
    }


def test_the_truth_costs_nothing_and_has_finite_gradients(target):
    outputs = {name: value.requires_grad_() for name, value in truth(target).items()}
    loss, count = frustum_loss(outputs, target)
    assert loss.item() < 1e-4 and count.item() == 3
    loss.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in outputs.values())
    assert BoxScores().figures(BoxScores().count(outputs, target)) == {
        "val_mask_accuracy": 1,
        "val_box_iou": pytest.approx(1, abs=1e-5),
    }


@pytest.mark.parametrize(
    ("name", "change", "cost"),
    [
        ("center", lambda o: o["center"].add_(torch.tensor([3.0, 0, 0])), 2 * (3 - 1)),  # beyond two metres: linear
        ("first_center", lambda o: o["center_reg"].add_(torch.tensor([0.5, 0, 0])), 0.5**2 / 2),
        ("heading_residual", lambda o: o["heading_residuals_normalized"].add_(0.5), 0.5**2 / 2),
        ("heading_bin", lambda o: o["heading_scores"].zero_(), math.log(12)),
        ("size_template", lambda o: o["size_scores"].zero_(), math.log(8)),
        ("size_residual", lambda o: o["size_residuals_normalized"].add_(1.0), math.sqrt(3) - 0.5),
        ("mask", lambda o: o["mask_logits"].zero_(), math.log(2)),
        ("corners", lambda o: o["center"].add_(torch.tensor([0, 3.0, 0])), 3 - 0.5),
    ],
)
def test_each_mistake_costs_what_the_paper_says(target, name, change, cost):
    outputs = truth(target)
    change(outputs)
    _, part = loss_parts(outputs, target)[name]
    torch.testing.assert_close(part, torch.full((3,), float(cost)), rtol=1e-4, atol=1e-5)


def test_a_box_the_wrong_way_round_has_the_right_corners(target):
    outputs = truth(target)
    outputs["heading_residuals"] += math.pi
    assert loss_parts(outputs, target)["corners"][1].max() < 1e-6
    boxes = boxes_of(outputs)
    torch.testing.assert_close(boxes.turned_round().corners(), target_boxes(target).corners(), atol=1e-4, rtol=1e-4)


def write_frames(root, count):
    """Frames with one car each, in the benchmark's layout."""
    rng = np.random.default_rng(0)
    for name in ("calib", "label_2", "velodyne"):
        (root / name).mkdir(parents=True)
    for number in range(count):
        heading = rng.uniform(-0.4, 0.4)
        car = box_points(300, rng)
        camera = np.concatenate([car, np.column_stack([rng.uniform(-20, 20, (900, 2)), rng.uniform(25, 60, 900)])])
        laser = np.column_stack([camera[:, 2] + 0.2, -camera[:, 0], -camera[:, 1] - 0.1, rng.random(len(camera))])
        laser.astype("<f4").tofile(root / f"velodyne/{number:06}.bin")
        (root / f"calib/{number:06}.txt").write_text(CALIBRATION)
        line = f"Car 0 0 {heading:.2f} 700 170 900 270 1.5 1.8 4.0 6 1.65 20 0.4"
        (root / f"label_2/{number:06}.txt").write_text(line + "\n")
    return root


def frustum_run(folder, **optim):
    root = write_frames(folder / "kitti", 8) if not (folder / "kitti").exists() else folder / "kitti"
    data = KittiFrustums(root, training=False, num_points=64)  # without variation a few steps show
    sets = Sets(
        ConcatDataset([data] * 10), data, data.class_names, PointInput(64, ("intensity",), center="none", scale="none")
    )
    small = {"width_multiplier": 0.125, "num_points_per_object": 32}
    config = TrainConfig("frustum_pointnet", DataConfig("clouds"), model_args=small, init=InitConfig("none"))
    config.optim = OptimConfig(lr=1e-2, **optim)
    config.epochs, config.batch_size, config.out = 2, 4, str(folder / "run")
    return config, sets


def test_training_makes_boxes_better(tmp_path):
    config, sets = frustum_run(tmp_path)
    config.epochs = 4  # on some machines the second is still slow
    train(config, sets)
    with open(tmp_path / "run/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) / 2
    assert float(rows[-1]["val_box_iou"]) > 0.4 and float(rows[-1]["val_mask_accuracy"]) > 0.9
    model = zoo.create_model(f"local-dir:{tmp_path / 'run/best'}", pretrained=True)
    assert model.spec.class_names == ("Car", "Pedestrian", "Cyclist")


def test_what_is_for_classes_is_refused_for_boxes(tmp_path):
    config, sets = frustum_run(tmp_path, label_smoothing=0.1)
    with pytest.raises(InputError, match="label_smoothing"):
        train(config, sets)
