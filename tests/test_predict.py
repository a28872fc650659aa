"""What someone sees who loads a model by name and gives it a file."""

import math

import numpy as np
import pytest
import torch

import zoo
from zoo.data.points import read_points, write_ply
from zoo.data.video_writer import write_video
from zoo.errors import InputError

GESTURE = "tsm_mobilenetv2_online.fingertip"
SCENE = "pvcnn_sem_c0p25.mosd"


@pytest.fixture(scope="module")
def gesture():
    return zoo.load(GESTURE, device="cpu")


@pytest.fixture(scope="module")
def scene():
    return zoo.load(SCENE, device="cpu")


def circle(direction, frames=16, size=128):
    """A light dot that goes round once on a dark ground; +1 is clockwise on the screen."""
    y, x = np.mgrid[:size, :size] + 0.5
    clip = np.full((frames, size, size, 3), 20, np.uint8)
    for t, angle in enumerate(np.linspace(0, 2 * math.pi * 0.95, frames) * direction):
        centre = size * (0.5 + 0.15 * np.array([math.cos(angle), math.sin(angle)]))
        clip[t][np.hypot(x - centre[0], y - centre[1]) < 5] = 240
    return clip


def tabletop(num_points=3000):
    """A grey table and a red box on it, seen by a camera that looks down; returns points and which are the box."""
    rng = np.random.default_rng(0)
    table = np.c_[rng.uniform(-0.4, 0.4, (num_points, 2)), np.zeros(num_points)]
    table = table[~((np.abs(table[:, 0]) < 0.08) & (np.abs(table[:, 1]) < 0.08))]
    box = rng.uniform([-0.08, -0.08, 0], [0.08, 0.08, 0.16], (num_points // 5, 3))
    box[::2, 2] = 0.16
    box[1::2, 1] = -0.08
    points = np.concatenate([table, box])
    pitch = math.radians(48)
    up = np.array([0, -math.cos(pitch), -math.sin(pitch)])
    right = np.array([1.0, 0, 0])
    camera = points @ np.stack([right, np.cross(up, right), up]) + [0, 0, 1]
    colors = np.repeat(np.array([[180, 170, 165], [170, 60, 50]], np.uint8), [len(table), len(box)], axis=0)
    return camera.astype(np.float32), colors, np.arange(len(points)) >= len(table)


@pytest.mark.parametrize(("direction", "label"), [(1, "Clockwise"), (-1, "Counter Clockwise")])
def test_a_gesture_in_a_file(gesture, tmp_path, direction, label):
    path = tmp_path / "clip.mp4"
    write_video(path, circle(direction), fps=8)
    prediction = gesture(path)
    assert prediction.top(1)[0][0] == label
    assert [name for name, _ in prediction.top(4)] and sum(score for _, score in prediction.top(4)) == pytest.approx(1)
    assert set(prediction.timings_ms) == {"decode", "preprocess", "model"}


def test_arrays_and_lists_of_paths(gesture, tmp_path):
    write_video(tmp_path / "a.mp4", circle(1), fps=8)
    predictions = gesture([tmp_path / "a.mp4", str(tmp_path / "a.mp4")])
    assert [p.input for p in predictions] == [str(tmp_path / "a.mp4")] * 2
    assert gesture(torch.from_numpy(circle(1))).top(1)[0][0] == "Clockwise"
    with pytest.raises(InputError, match=r"\[T, H, W, 3\]"):
        gesture(np.zeros((4, 8, 8)))


def test_every_point_gets_a_label(scene, tmp_path):
    points, colors, is_box = tabletop()
    write_ply(tmp_path / "scan.ply", points, colors)
    prediction = scene(tmp_path / "scan.ply")
    assert prediction.labels.shape == (len(points),) and prediction.labels.dtype == torch.int64
    predicted = prediction.labels.numpy() == 1
    assert (predicted & is_box).sum() / (predicted | is_box).sum() > 0.7
    prediction.save(tmp_path / "segmented.ply")
    saved = read_points(tmp_path / "segmented.ply")
    assert len(saved.points) == len(points) and len(np.unique(saved.colors, axis=0)) == 2


def test_points_that_are_not_finite_are_counted_and_dropped(scene):
    points, colors, _ = tabletop(500)
    points[[3, 7]] = [[np.nan, 0, 0], [np.inf, 0, 0]]
    with pytest.warns(UserWarning, match="2 of") as caught:
        prediction = scene(np.c_[points, colors])
    assert len(caught) == 1
    assert (prediction.labels == -1).nonzero().flatten().tolist() == [3, 7]


def test_missing_colours_are_said(scene):
    points, _, _ = tabletop(500)
    with pytest.warns(UserWarning, match="no rgb"):
        assert len(scene(points).labels) == len(points)


def test_a_single_point_is_accepted(scene, tmp_path):
    (tmp_path / "one.txt").write_text("0.1 0.2 0.9 10 20 30\n")
    assert scene(tmp_path / "one.txt").labels.shape == (1,)


def test_the_annotated_video_can_be_read_again(gesture, tmp_path):
    write_video(tmp_path / "clip.mp4", circle(1), fps=8)
    gesture(tmp_path / "clip.mp4").save(tmp_path / "annotated.mp4")
    assert gesture(tmp_path / "annotated.mp4").clip.num_video_frames == 16


def test_a_cloud_for_a_video_model_and_the_reverse(gesture, scene, tmp_path):
    points, colors, _ = tabletop(50)
    write_ply(tmp_path / "scan.ply", points, colors)
    write_video(tmp_path / "clip.mp4", circle(1), fps=8)
    with pytest.raises(InputError, match=r"scan\.ply"):
        gesture(tmp_path / "scan.ply")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        scene(tmp_path / "clip.mp4")


def test_part_models_want_a_category(tmp_path):
    zoo.save_pretrained(zoo.create_model("pvcnn_part_c0p25"), tmp_path)
    parts = zoo.load(f"local-dir:{tmp_path}")
    points = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)
    assert torch.equal(parts(points, category="Chair").labels, parts(points, category=4).labels)
    with pytest.raises(InputError, match="Airplane"):
        parts(points)
    with pytest.raises(InputError, match="Boat"):
        parts(points, category="Boat")
