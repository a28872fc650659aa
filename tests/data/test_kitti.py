"""KITTI: a frame in the benchmark's layout with one car whose place is known, and three real frames."""

import math

import numpy as np
import pytest
import torch

import zoo
from zoo.data import kitti
from zoo.data.kitti_frustum import KittiFrustums, heading_bin
from zoo.errors import InputError

CALIBRATION = """P0: 1 0 0 0 0 1 0 0 0 0 1 0
P2: 700 0 600 40 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.2

"""
CENTER, SIZE, HEADING = np.array([6.0, 0.9, 20.0]), np.array([4.0, 1.8, 1.5]), 0.4


def box_points(count, rng):
    """Points on a car, in the camera's coordinates."""
    local = rng.uniform(-0.49, 0.49, (count, 3)) * SIZE[[0, 2, 1]]
    return kitti.rotate_about_y(local, -HEADING) + CENTER


@pytest.fixture
def root(tmp_path):
    return write_frame(tmp_path)


def write_frame(tmp_path):
    """A frame with one car that counts."""
    rng = np.random.default_rng(0)
    for name in ("calib", "label_2", "velodyne"):
        (tmp_path / name).mkdir()
    (tmp_path / "calib/000007.txt").write_text(CALIBRATION)
    calibration = kitti.read_calibration(tmp_path / "calib/000007.txt")
    car = box_points(300, rng)
    pixels = calibration.to_image(car)
    box = [*pixels.min(axis=0) - 1, *pixels.max(axis=0) + 1]
    bottom = CENTER + np.array([0, SIZE[2] / 2, 0])
    numbers = [*box, SIZE[2], SIZE[1], SIZE[0], *bottom, HEADING]
    line = " ".join(f"{number:.6f}" for number in numbers)
    small = "Cyclist 0.00 0 0.1 10 10 20 30 1.7 0.6 1.8 1 1 20 0.3"
    (tmp_path / "label_2/000007.txt").write_text(
        f"Car 0.00 0 0.1 {line}\n{small}\nDontCare -1 -1 -10 1 2 3 99 -1 -1 -1 0 0 0 0\n"
    )
    background = np.column_stack([rng.uniform(-20, 20, 3000), rng.uniform(-1, 1.6, 3000), rng.uniform(25, 60, 3000)])
    camera = np.concatenate([car, background])
    laser = np.column_stack([camera[:, 2] + 0.2, -camera[:, 0], -camera[:, 1] - 0.1, rng.random(len(camera))])
    laser.astype("<f4").tofile(tmp_path / "velodyne/000007.bin")
    return tmp_path


def test_the_laser_is_seen_by_the_camera(root):
    calibration = kitti.read_calibration(root / "calib/000007.txt")
    camera = calibration.to_camera(np.array([[10.2, -2.0, 0.9]]))
    np.testing.assert_allclose(camera, [[2, -1, 10]])
    ((u, v),) = calibration.to_image(camera)
    assert (u, v) == (600 + (700 * 2 + 40) / 10, 180 - 70)
    np.testing.assert_allclose(calibration.from_image(u, v, 10.0), camera[0])


def test_labels_have_the_columns_of_the_benchmark(root):
    car, cyclist, ignored = kitti.read_labels(root / "label_2/000007.txt")
    assert (car.type, cyclist.type, ignored.type) == ("Car", "Cyclist", "DontCare")
    np.testing.assert_allclose(car.center, CENTER)
    np.testing.assert_allclose(car.size, SIZE)
    assert car.score == 1 and car.heading == pytest.approx(HEADING)
    assert car.contains(box_points(500, np.random.default_rng(1))).all()
    assert not car.contains(CENTER + np.array([[4, 0, 0], [0, 1, 0], [0, 0, 2.2]])).any()
    front = CENTER + 1.95 * np.array([math.cos(HEADING), 0, -math.sin(HEADING)])
    assert car.contains(front[None])[0]


def test_a_frustum_has_the_car_and_what_lies_behind(root):
    data = KittiFrustums(root, training=False, num_points=2000)
    assert len(data) == 1  # the cyclist is too low
    assert data.path_of(0).endswith("velodyne/000007.bin")
    (points, class_id), target = data[0]
    assert points.shape == (2000, 4) and points.dtype == torch.float32 and data.class_names[class_id] == "Car"
    mask = target["mask_logits"].bool()
    assert 0.2 < mask.float().mean() < 1 and mask.dtype == torch.bool
    assert points[mask, 0].mean().abs() < 0.5  # turned to the front
    torch.testing.assert_close(points[mask, :3].mean(dim=0), target["center"], atol=0.2, rtol=0)
    assert target["size_template_id"] == 0
    np.testing.assert_allclose(target["size_residual"], SIZE - kitti.SIZE_TEMPLATES[0], atol=1e-5)
    assert torch.equal(data[0][0][0], points)


def test_the_target_leads_back_to_the_label(root):
    _, target = KittiFrustums(root, training=False)[0]
    angle = float(target["rotation_angle"])
    center = kitti.rotate_about_y(target["center"].numpy()[None], -angle)[0]
    np.testing.assert_allclose(center, CENTER, atol=1e-4)
    heading = int(target["heading_bin_id"]) * 2 * math.pi / 12 + float(target["heading_residual"]) + angle
    assert (heading - HEADING + math.pi) % (2 * math.pi) - math.pi == pytest.approx(0, abs=1e-5)


def test_training_varies_by_torchs_seed(root):
    data = KittiFrustums(root, num_points=1000)
    torch.manual_seed(0)
    (points, _), target = data[0]
    (other, _), _ = data[0]
    torch.manual_seed(0)
    assert torch.equal(data[0][0][0], points) and not torch.equal(other, points)
    centers = []
    for _ in range(20):
        (points, _), target = data[0]
        mask = target["mask_logits"].bool()
        torch.testing.assert_close(points[mask, :3].mean(dim=0), target["center"], atol=0.4, rtol=0)
        centers.append(target["center"])
    assert torch.stack(centers).std(dim=0)[2] > 0.01


def test_detections_stand_in_for_labels(root, tmp_path):
    folder = tmp_path / "found"
    folder.mkdir()
    box = kitti.read_labels(root / "label_2/000007.txt")[0].box2d
    words = " ".join(f"{number:.2f}" for number in box)
    (folder / "000007.txt").write_text(f"Pedestrian -1 -1 -10 {words} -1 -1 -1 -1000 -1000 -1000 -10 0.87\n")
    data = KittiFrustums(root, training=False, detections=folder)
    (_, class_id), target = data[0]
    assert data.class_names[class_id] == "Pedestrian" and target["score"] == pytest.approx(0.87)
    assert set(target) == {"rotation_angle", "score"}


def test_a_detection_of_fewer_than_five_points_is_none(root, tmp_path):
    box = kitti.read_labels(root / "label_2/000007.txt")[0].box2d
    calibration, laser = (
        kitti.read_calibration(root / "calib/000007.txt"),
        kitti.read_laser(root / "velodyne/000007.bin"),
    )
    pixels = calibration.to_image(calibration.to_camera(laser[:, :3]))
    rows = np.sort(pixels[((pixels >= box[:2]) & (pixels < box[2:])).all(axis=1), 0])
    rest = "-1 -1 -1 -1 -1 -1 -1 0.5"
    for right, count in ((rows[3] + rows[4]) / 2, 1), ((rows[4] + rows[5]) / 2, 2):
        lines = [f"Car -1 -1 -10 {box[0]} {box[1]} {end} {box[3]} {rest}\n" for end in (box[2], right)]
        (tmp_path / "found").mkdir(exist_ok=True)
        (tmp_path / "found/000007.txt").write_text("".join(lines))
        assert len(KittiFrustums(root, training=False, detections=tmp_path / "found")) == count


def test_a_batch_goes_into_a_frustum_network(root):
    data = KittiFrustums(root, num_points=64)
    (points, class_ids), target = next(iter(torch.utils.data.DataLoader(torch.utils.data.ConcatDataset([data] * 3), 3)))
    model = zoo.create_model("frustum_pointnet", width_multiplier=0.125).eval()
    boxes = model(points.transpose(1, 2), class_ids)
    assert boxes["mask_logits"].shape == (3, 2, 64) and target["mask_logits"].shape == (3, 64)
    assert boxes["center"].shape == target["center"].shape == (3, 3)


def test_headings_fall_into_twelve_bins():
    assert heading_bin(0.0) == (0, pytest.approx(0, abs=1e-9))
    assert heading_bin(math.pi / 2 + 0.1) == (3, pytest.approx(0.1))
    assert heading_bin(-0.2) == (0, pytest.approx(-0.2))
    assert heading_bin(-math.pi / 6) == (11, pytest.approx(0, abs=1e-9))
    for angle in np.linspace(-7, 7, 99):
        index, residual = heading_bin(angle)
        assert 0 <= index < 12 and abs(residual) <= math.pi / 12 + 1e-9
        assert math.cos(index * math.pi / 6 + residual - angle) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("calib", "P2: 1 2 3\n", "P2, R0_rect"),
        ("label_2", "Car 0 0 1 2\n", "line 1"),
        ("velodyne", "cut off", "cut off"),
    ],
)
def test_damaged_frames_are_named(root, name, content, text):
    (path,) = (root / name).iterdir()
    path.write_text(content)
    with pytest.raises(InputError, match=text) as error:
        KittiFrustums(root)
    assert path.name in str(error.value)


def test_no_frames_and_pictures_that_are_none(root, tmp_path):
    with pytest.raises(InputError, match="no box"):
        KittiFrustums(tmp_path / "nowhere")
    (root / "image_2").mkdir()
    (root / "image_2/000007.png").write_text("no picture")
    with pytest.raises(InputError, match=r"000007\.png"):
        KittiFrustums(root)
    with pytest.raises(InputError, match=r"000008\.txt"):
        KittiFrustums(root, frames=["000008"])


def test_frame_lists(tmp_path):
    (tmp_path / "train.txt").write_text("000000\n000003\n")
    assert kitti.read_frame_ids(tmp_path / "train.txt") == ["000000", "000003"]


def test_real_frames(test_data):
    data = KittiFrustums(test_data / "points/scenes/kitti_object/training", training=False, frames=["000001"])
    distances = []
    for index in range(0, len(data), 4):
        (points, _), target = data[index]
        mask = target["mask_logits"].bool()
        if mask.any():
            distances.append((points[mask, :3].mean(dim=0) - target["center"]).norm())
    assert len(data) > 20 and torch.stack(distances).median() < 1.5
