"""Clouds of one's own, in folders and in files of arrays."""

import numpy as np
import pytest
import torch

from zoo.data.bad_files import BadFiles, GuardedDataset
from zoo.data.class_names import class_names
from zoo.data.object_sets import SCANOBJECTNN_CLASSES, modelnet40, scanobjectnn
from zoo.data.point_dataset import PointArrays, PointFolder, PointScenes
from zoo.errors import InputError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("cube", 2), ("ball", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            np.savetxt(tmp_path / name / f"{index}.txt", np.column_stack([rng.normal(size=(50, 3)), rng.random(50)]))
    (tmp_path / "readme.md").write_text("not a cloud")
    return tmp_path


def write_scenes(path, num_classes=3, offsets=(0, 300, 420), **more):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 10, (420, 6)).astype(np.float32)
    arrays = {"points": points, "labels": rng.integers(0, num_classes, 420), "offsets": np.array(offsets)} | more
    np.savez(path, **arrays)
    return path


def test_folders_bear_the_names_of_classes(folder):
    data = PointFolder(folder, num_points=64, features=("intensity",))
    assert data.class_names == ("ball", "cube") and len(data) == 5
    points, label = data[4]
    assert points.shape == (64, 4) and points.dtype == torch.float32 and label == 1
    assert PointFolder(folder, class_names=("cube", "ball", "cone")).files[0][1] == 1
    torch.manual_seed(0)
    first = data[0][0]
    assert not torch.equal(first, data[0][0])
    still = PointFolder(folder, num_points=32, training=False)
    assert torch.equal(still[0][0], still[0][0]) and len(torch.unique(still[0][0], dim=0)) == 32


def test_folders_that_cannot_be_used_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="nowhere is no folder"):
        PointFolder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="ball"):
        PointFolder(folder, class_names=("cube",))
    with pytest.raises(InputError, match="has no rgb"):
        PointFolder(folder, features=("rgb",))[0]
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="no folders with clouds"):
        PointFolder(folder / "empty")


def test_clouds_that_cannot_be_read_are_listed_by_their_paths(folder, tmp_path):
    bad = folder / "ball" / "1.txt"
    bad.write_text("no numbers")
    data = PointFolder(folder)
    guarded = GuardedDataset(data, "skip", data.path_of)
    bad_files = BadFiles(tmp_path / "bad_files.txt", len(data), limit=0.5)
    for index in range(len(data)):
        bad_files.add(guarded[index].bad)
    (line,) = (tmp_path / "bad_files.txt").read_text().splitlines()
    assert line.split("\t")[0] == str(bad)


def test_scenes_are_sampled_in_training_and_covered_outside(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    train = PointScenes(path, "abc", num_points=128, samples_per_scene=3)
    assert len(train) == 6 and train.class_names == ("a", "b", "c")
    points, labels = train[1]
    assert points.shape == (128, 6) and labels.shape == (128,) and labels.dtype == torch.int64
    for parts in ("random", "tiles", "blocks"):
        test = PointScenes(path, "abc", num_points=128, training=False, parts=parts)
        for scene in (0, 1):
            seen = np.concatenate([rows for index, rows in test.parts if index == scene])
            assert set(seen) == set(range(len(test.scenes[scene][0])))
        points, labels = test[0]
        np.testing.assert_array_equal(points, test.scenes[0][0][test.parts[0][1]])
        assert torch.equal(points, test[0][0])


def test_tiles_are_compact(tmp_path):
    path = write_scenes(tmp_path / "scenes.npz")
    spread = {}
    for parts in ("random", "tiles"):
        points, _ = PointScenes(path, "abc", num_points=40, parts=parts)[0]
        spread[parts] = points[:, :2].std()
    assert spread["tiles"] < spread["random"]


def test_a_folder_of_scenes_without_offsets(tmp_path):
    for index in range(2):
        np.savez(tmp_path / f"{index}.npz", points=np.random.rand(30 + index, 3), labels=np.full(30 + index, -1))
    data = PointScenes(tmp_path, ["thing"], num_points=40)
    assert [len(points) for points, _ in data.scenes] == [30, 31] and data[0][0].shape == (40, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": np.zeros(7)}, "do not fit"),
        ({"offsets": np.array([0, 300])}, "offsets"),
        ({"labels": np.full(420, 3)}, "label 3"),
        ({"points": np.zeros((420, 2))}, "do not fit"),
        ({"labels": np.array([None] * 420)}, "cannot be read"),
    ],
)
def test_scenes_that_do_not_fit_are_named(tmp_path, change, text):
    with pytest.raises(InputError, match=text) as error:
        PointScenes(write_scenes(tmp_path / "wrong.npz", **change), "abc")
    assert "wrong.npz" in str(error.value)


def test_labelled_clouds_of_one_size(tmp_path):
    rng = np.random.default_rng(0)
    data, normal = rng.normal(size=(2, 4, 100, 3))
    np.savez(tmp_path / "clouds.npz", data=data, normal=normal, label=np.array([[0], [1], [2], [0]]))
    clouds = PointArrays([tmp_path / "clouds.npz"] * 2, "abc", num_points=60, normals=True, training=False)
    points, label = clouds[6]
    assert len(clouds) == 8 and label == 2 and points.shape == (60, 6)
    np.testing.assert_allclose(points, np.concatenate([data, normal], axis=2)[2, :60], rtol=1e-6)
    training = PointArrays([tmp_path / "clouds.npz"], "abc", num_points=60)
    assert not torch.equal(training[0][0], training[0][0])
    with pytest.raises(InputError, match="label 2"):
        PointArrays([tmp_path / "clouds.npz"], "ab")


def test_modelnet40_and_scanobjectnn(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    names = class_names("modelnet40")
    assert len(names) == 40 and names[:2] == ("airplane", "bathtub")
    assert len(SCANOBJECTNN_CLASSES) == 15

    def write(path, labels):
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["data"], file["label"] = rng.normal(size=(len(labels), 2048, 3)).astype(np.float32), labels

    write(tmp_path / "ply_data_train0.h5", np.array([[3], [39]], np.uint8))
    (tmp_path / "train_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    train = modelnet40(tmp_path, "train")
    points, label = train[1]
    assert points.shape == (1024, 3) and train.class_names[label] == "xbox"
    with pytest.raises(InputError, match=r"test_files\.txt"):
        modelnet40(tmp_path, "test")
    with pytest.raises(InputError, match="no array normal"):
        modelnet40(tmp_path, "train", normals=True)

    write(tmp_path / "main_split/test_objectdataset_augmentedrot_scale75.h5", np.array([14, 0]))
    test = scanobjectnn(tmp_path, "test")
    assert test.class_names[test[0][1]] == "toilet" and torch.equal(test[0][0], test[0][0])
    with pytest.raises(InputError, match="t60"):
        scanobjectnn(tmp_path, "test", "t60")
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"broken\.h5 cannot be read"):
        PointArrays([tmp_path / "broken.h5"], "abc")


def test_the_real_meshes(test_data):
    data = PointFolder(test_data / "points/formats/modelnet_off", num_points=256)
    assert data.class_names == ("airplane", "bathtub", "bed") and len(data) == 7
    assert data[0][0].shape == (256, 3)
