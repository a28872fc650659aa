"""What someone sees who loads a model by name and gives it a file."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data import isprs
from zoo.data.points import read_points, write_ply
from zoo.data.radhar import COLUMNS, RadharDataset
from zoo.data.video_writer import write_video
from zoo.engine.config import DataConfig, ValidateConfig
from zoo.engine.metrics import confusion_matrix
from zoo.engine.validate import validate
from zoo.errors import InputError, ZooError
from zoo.weights import PointInput, WeightsSpec

SCENE = "pvcnn_sem_c0p25.mosd"


@pytest.fixture(scope="module")
def gesture(gesture_model):
    return zoo.load(gesture_model, device="cpu")


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


def test_a_gesture_in_a_file(gesture, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, circle(1), fps=8)
    prediction = gesture(path)
    assert {label for label, _ in prediction.top(4)} == {"Stop", "Clockwise", "Counter Clockwise", "Move"}
    assert prediction.top(0) == []
    with pytest.raises(InputError, match="at least 0, not -1"):
        prediction.top(-1)
    scores = [score for _, score in prediction.top(4)]
    assert sum(scores) == pytest.approx(1, abs=1e-4) and scores == sorted(scores, reverse=True)
    assert set(prediction.timings_ms) == {"decode", "preprocess", "transfer", "model", "postprocess"}


@pytest.mark.parametrize(("turn", "label"), [(1, "Clockwise"), (-1, "Counter Clockwise")])
def test_the_bundled_checkpoint_sees_the_direction_of_a_circle(turn, label, tmp_path):
    trained = zoo.load("tsm_mobilenetv2_online.fingertip", device="cpu")
    write_video(tmp_path / "clip.mp4", circle(turn), fps=8)
    assert trained(tmp_path / "clip.mp4").top(1)[0][0] == label
    assert trained(circle(turn, size=224)).top(1)[0][0] == label


def test_the_bundled_checkpoint_knows_rest_from_motion():
    trained = zoo.load("tsm_mobilenetv2_online.fingertip", device="cpu")
    still = np.repeat(circle(1)[:1], 16, axis=0)
    assert trained(still).top(1)[0][0] == "Stop"


def test_arrays_and_lists_of_paths(gesture, tmp_path):
    write_video(tmp_path / "a.mp4", circle(1), fps=8)
    predictions = gesture([tmp_path / "a.mp4", str(tmp_path / "a.mp4")])
    assert [p.input for p in predictions] == [str(tmp_path / "a.mp4")] * 2
    torch.testing.assert_close(gesture(torch.from_numpy(circle(1))).scores, gesture(circle(1)).scores)
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


def test_a_radar_window_in_a_file(test_data, tmp_path):
    radar = zoo.load("pvcnn_cls_c0p25.radhar", device="cpu")
    windows = RadharDataset(test_data / "points/radhar.npz", "test")
    one_of_each = {windows.whole(index)[1]: index for index in range(0, len(windows), 5)}
    right = 0
    for label, index in one_of_each.items():
        window = windows.whole(index)[0]
        np.savetxt(tmp_path / "window.txt", window)
        np.save(tmp_path / "window.npy", window)
        np.savetxt(tmp_path / "window.csv", window, delimiter=",", header=",".join(COLUMNS), comments="")
        predictions = radar([tmp_path / f"window.{suffix}" for suffix in ("txt", "npy", "csv")])
        assert len({prediction.top(1)[0] for prediction in predictions}) == 1
        right += predictions[0].top(1)[0][0] == radar.class_names[label]
    assert len(one_of_each) == 5 and right >= 4


def test_the_ground_of_a_scan_is_found_as_it_was_measured(test_data):
    path = test_data / "points/isprs_ground.npz"
    ground = zoo.load("pvcnn_sem_c0p25.isprs", device="cpu")
    (scan,) = (scan for scan in isprs.read_scenes(path) if scan.site == "samp4")
    labels = ground(scan.points).labels
    data = DataConfig(name="isprs", path=str(path), fold=isprs.SITES.index("samp4") + 1)
    measured, _ = validate(ValidateConfig(ground.spec.name, data, device="cpu"))
    assert torch.equal(confusion_matrix(labels, torch.from_numpy(scan.labels), 2), measured.confusion)
    assert measured.figures["mean_class_accuracy"] > 0.9


@pytest.fixture(scope="module")
def colored(tmp_path_factory):
    model = zoo.create_model("pvcnn_sem_c0p125", in_channels=6, num_classes=2)
    return zoo.load(f"local-dir:{zoo.save_pretrained(model, tmp_path_factory.mktemp('scenes'))}", device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    model = zoo.create_model("tsm_mobilenetv2", num_classes=3)
    return zoo.load(f"local-dir:{zoo.save_pretrained(model, tmp_path_factory.mktemp('clips'))}", device="cpu")


@pytest.mark.parametrize(("column", "value"), [(0, np.nan), (0, 3e38), (4, np.nan), (4, np.inf)])
def test_a_point_with_an_unusable_number_is_dropped(colored, column, value):
    points = np.random.default_rng(0).uniform(size=(300, 6)).astype(np.float32)
    points[7, column] = value
    with pytest.warns(UserWarning, match="1 of 300"):
        prediction = colored(points)
    assert (prediction.labels == -1).nonzero().flatten().tolist() == [7]
    assert prediction.scores.isfinite().all()
    points = np.delete(points, 7, axis=0)
    assert torch.equal(prediction.scores, colored(points).scores)


def test_a_cloud_of_absurd_size_has_a_prediction(colored):
    points = np.random.default_rng(0).uniform(-9e17, 9e17, size=(300, 6)).astype(np.float32)
    assert colored(points).scores.isfinite().all()


def test_normals_that_are_not_numbers_are_dropped_too(tmp_path):
    parts = zoo.load(f"local-dir:{zoo.save_pretrained(zoo.create_model('pvcnn_part_c0p25'), tmp_path)}", device="cpu")
    points = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    points[3, 4] = np.nan
    np.savetxt(tmp_path / "a.xyz", points)
    header = "ply\nformat ascii 1.0\nelement vertex 50\n"
    header += "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz")) + "end_header\n"
    (tmp_path / "a.ply").write_text(header + (tmp_path / "a.xyz").read_text())
    with pytest.warns(UserWarning, match="1 of 50"):
        prediction = parts(tmp_path / "a.ply", category="Chair")
    assert prediction.labels[3] == -1 and prediction.scores.isfinite().all()


def test_saving_onto_the_input_gives_the_whole_video(clips, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (60, 112, 112, 3), dtype=np.uint8), fps=8)
    clips(path).save(path)
    assert clips(path).clip.num_video_frames == 60


def test_a_failed_save_leaves_everything_as_it_was(clips, colored, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(circle(1)[0]).save(folder / f"{number}.png")
    prediction = clips(folder)
    (folder / "19.png").write_bytes(b"damaged")
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"19\.png"):
        prediction.save(tmp_path / "out.mp4")
    with pytest.raises(InputError, match=r"\.ply"):
        colored(np.random.rand(20, 6)).save(tmp_path / "out.obj")
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "out.mp4"}


def test_a_short_video_is_named_once(clips, tmp_path, monkeypatch):
    write_video(tmp_path / "short.mp4", circle(1, frames=2), fps=8)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "short.mp4", "./short.mp4"):
        with pytest.warns(UserWarning, match="2 frames") as caught:
            prediction = clips(path)
        assert str(caught[0].message).count("short.mp4") == 1 and "short.mp4" not in prediction.warnings[0]


def test_predictions_can_be_compared(clips):
    first, second = clips(circle(1)), clips(circle(1))
    assert first == first and first != second and len({first, second}) == 2


def test_wrong_arguments_are_refused_in_a_sentence(clips, colored):
    with pytest.raises(TypeError, match="colour"):
        clips(circle(1), colour=True)
    with pytest.raises(InputError, match="leave it out"):
        colored(np.zeros((4, 6)), category=3)
    with pytest.raises(InputError, match="a video is a path or uint8"):
        clips(None)
    with pytest.raises(InputError, match="points are a path or float"):
        colored([["a", "b", "c"]] * 2)


def test_what_cannot_be_loaded_is_said(tmp_path):
    zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125", num_classes=0), tmp_path)
    with pytest.raises(ZooError, match="no classifier"):
        zoo.load(f"local-dir:{tmp_path}")
    zoo.save_pretrained(zoo.create_model("pvcnn_sem_c0p125"), tmp_path)
    with pytest.raises(ZooError, match="device 'meta'"):
        zoo.load(f"local-dir:{tmp_path}", device="meta")
    if not torch.accelerator.is_available():
        with pytest.raises(ZooError, match="device '0'"):
            zoo.load(f"local-dir:{tmp_path}", device=0)


def test_what_is_shown_of_a_prediction_is_short(scene):
    points, colors, _ = tabletop()
    prediction = scene(np.concatenate([points, colors / 255], axis=1))
    assert SCENE in repr(scene) and "2 classes" in repr(scene)
    assert "background" in repr(prediction) and len(repr(prediction)) < 200


def test_radar_points_are_read_by_name_or_by_the_columns_that_the_model_wants(tmp_path):
    torch.manual_seed(0)
    model = zoo.create_model("pvcnn_cls_c0p25", num_classes=5, in_channels=6)
    features = ("velocity", "intensity", "time")
    preprocessing = PointInput(64, features, "mean", "none", mean=(0.0, 28.5, 1.0), std=(0.25, 3.5, 1.0))
    model.spec = WeightsSpec("pvcnn_cls_c0p25", "radar", 5, preprocessing, model_args={"in_channels": 6})
    predictor = zoo.load(f"local-dir:{zoo.save_pretrained(model, tmp_path / 'radar')}", device="cpu")
    rng = np.random.default_rng(0)
    window = np.column_stack([rng.normal(size=(64, 4)), rng.uniform(16, 38, 64), rng.uniform(0, 2, 64)])
    np.savetxt(tmp_path / "plain.txt", window)
    np.save(tmp_path / "plain.npy", window)
    order = [4, 5, 3, 0, 1, 2]
    header = "intensity,time,velocity,x,y,z"
    np.savetxt(tmp_path / "named.csv", window[:, order], delimiter=",", header=header, comments="")
    keys = {"points": window[:, :3], "velocity": window[:, 3], "intensity": window[:, 4], "time": window[:, 5]}
    np.savez(tmp_path / "named.npz", **keys)
    expected = predictor(window.astype(np.float32)).scores
    for name in ("plain.txt", "plain.npy", "named.csv", "named.npz"):
        torch.testing.assert_close(predictor(tmp_path / name).scores, expected, rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match="has no velocity"):
        np.savetxt(tmp_path / "positions.txt", window[:, :3])
        scores = predictor(tmp_path / "positions.txt").scores
    assert not torch.allclose(scores, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("parts", ["tiles", "blocks"])
def test_a_wide_scene_is_divided_on_the_map(parts, tmp_path):
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=2, in_channels=8)
    preprocessing = PointInput(128, ("ground_heights",), "floor", "none", parts)
    model.spec = WeightsSpec("pvcnn_sem_c0p125", "scan", 2, preprocessing, model_args={"in_channels": 8})
    predictor = zoo.load(f"local-dir:{zoo.save_pretrained(model, tmp_path / 'scan')}", device="cpu")
    points = np.random.default_rng(0).uniform(0, [20, 20, 3], (1000, 3)).astype(np.float32)
    labels = predictor(points).labels
    assert labels.shape == (1000,) and set(labels.tolist()) <= {0, 1}
    assert torch.equal(labels, predictor(points + np.float32([64, -32, 8])).labels)  # wherever the scene lies
