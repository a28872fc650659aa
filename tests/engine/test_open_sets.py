"""Data sets as a configuration names them: their samples pass through a network, and their parts share nothing."""

from dataclasses import replace

import pytest
import torch

import zoo
from tests.engine.small_sets import official_set, small_set
from zoo.data import fights
from zoo.data.isprs import SITES
from zoo.data.s3dis import AREAS
from zoo.engine.config import AugmentConfig, DataConfig
from zoo.engine.data import fold_parts, open_sets, transforms
from zoo.engine.order import Prepared
from zoo.errors import InputError
from zoo.weights import WeightsSpec

ONES_OWN = ("videos", "clouds", "scenes")
NAMES = ("fights", "radhar", "isprs", "tabletop", "s3dis", "modelnet40", "scanobjectnn", "shapenet_part")


@pytest.fixture(autouse=True)
def _modules_that_sets_need(request):
    if any(name in request.node.name for name in ("modelnet40", "scanobjectnn")):
        pytest.importorskip("h5py")


def model_of(small, sets):
    """The network that training would make of the set."""
    model = zoo.create_model(small.model, num_classes=len(sets.class_names), **small.arguments).eval()
    names = sets.class_names
    model.spec = WeightsSpec(small.model, "mine", len(names), sets.input, class_names=names, model_args=small.arguments)
    return model


@pytest.mark.parametrize("name", [*ONES_OWN, *NAMES, "kitti"])
def test_samples_pass_through_a_network(name, tmp_path):
    small = small_set(name, tmp_path)
    sets = open_sets(small.data, small.model)
    assert len(sets.class_names) == small.classes and sets.input == small.input and sets.val is not None
    model = model_of(small, sets)
    varied, plain = transforms(model, sets, AugmentConfig())
    for dataset, transform in ((sets.train, varied), (sets.val, plain)):
        inputs, target = Prepared(dataset, transform)[len(dataset) - 1]
        with torch.no_grad():
            outputs = model(*(each[None] for each in inputs))
        if name == "kitti":
            assert outputs["mask_logits"].shape[2:] == target["mask_logits"].shape
        else:
            assert outputs.shape == (1, small.classes, *target.shape) and 0 <= target.max() < small.classes
    first = Prepared(sets.val, plain)[0][0][0]
    assert torch.equal(first, Prepared(sets.val, plain)[0][0][0])  # what is chosen by does not change


@pytest.mark.parametrize("name", NAMES)
def test_the_validation_part_can_be_learnt_from_too(name, tmp_path):
    small = small_set(name, tmp_path)
    held_out, all_of_it = (open_sets(replace(small.data, hold_out_val=hold), small.model) for hold in (True, False))
    assert all_of_it.val is None and len(all_of_it.train) > len(held_out.train)


@pytest.mark.parametrize("fold", range(7))
def test_areas_and_sites_are_in_one_part_each(fold):
    for name, parts in (("s3dis", AREAS), ("isprs", SITES)):
        train, val, test = fold_parts(DataConfig(name=name, fold=fold), parts)
        assert sorted([*train, *val, *test]) == sorted(parts) and len(val) == 1
        assert test == ([parts[fold - 1]] if fold else [])
        assert fold_parts(DataConfig(name=name, fold=fold, hold_out_val=False), parts) == (
            [part for part in parts if part not in test],
            [],
            test,
        )


def test_rooms_of_the_area_that_is_tested_on_are_not_learnt_from(tmp_path):
    small = small_set("s3dis", tmp_path)
    sets = open_sets(small.data, small.model)
    areas = [{room.parent.name for room in part.rooms} for part in (sets.train, sets.val)]
    assert areas == [{"Area_1", "Area_2", "Area_3", "Area_4"}, {"Area_6"}]


@pytest.mark.parametrize("fold", range(4))
def test_folds_of_fights_share_no_source(fold, tmp_path):
    small = small_set("fights", tmp_path)
    parts = fights.clips_of(fights.read_clips(tmp_path), fold, True)
    train, val, test = ({clip.source for clip in clips} for clips in parts)
    assert not train & val and not train & test and not val & test and len(train | val | test) == 12
    assert bool(test) == (fold > 0)
    sets = open_sets(replace(small.data, fold=fold), small.model)
    assert [len(sets.train), len(sets.val)] == [len(clips) for clips in parts[:2]]


def test_shapes_are_scaled_once(tmp_path):
    small = small_set("shapenet_part", tmp_path)
    sets = open_sets(small.data, small.model)
    (points, _), _ = sets.val[0]
    inputs, _ = Prepared(sets.val, transforms(model_of(small, sets), sets, AugmentConfig())[1])[0]
    assert torch.equal(inputs[0].T, points)


def test_shards_are_read_in_their_order(tmp_path):
    from zoo.data.shards import write_shards
    from zoo.data.video_sets import find_videos
    from zoo.data.video_writer import write_video

    for name in ("left/a", "left/b", "right/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_video(tmp_path / f"{name}.mp4", torch.zeros(6, 32, 48, 3, dtype=torch.uint8).numpy(), fps=8)
    found = find_videos(tmp_path)
    (shard,) = write_shards(found.samples, found.class_names, tmp_path / "train")
    data = DataConfig(layout="shards", train=str(shard), num_frames=4, image_size=32)
    sets = open_sets(data, "tsm_resnet18")
    assert sets.class_names == ("left", "right") and sets.train.shard_sizes == (3,) and sets.val is None
    assert sets.train[0][0].shape == (4, 3, 32, 48)


def test_official_sets_are_opened_by_the_names_of_their_parts(tmp_path):
    data = official_set(tmp_path)
    sets = open_sets(replace(data, train_part="train2", val_part="test2"), "tsm_resnet18")
    parts = [[sets.class_names[clip.label] for clip in part.samples] for part in (sets.train, sets.val)]
    assert parts == [["wave"], ["clap"]]
    with pytest.raises(InputError, match=r"say which part.* data.train_part"):
        open_sets(data, "tsm_resnet18")
    with pytest.raises(InputError, match="the layout folders has no parts such as 'train2'"):
        open_sets(replace(data, layout="auto", train=data.videos, train_part="train2"), "tsm_resnet18")
    with pytest.raises(InputError, match=r"data\.val is missing.* 'test2' is the part"):
        open_sets(replace(data, val="", val_part="test2"), "tsm_resnet18")
    with pytest.raises(InputError, match="are of videos, not of clouds"):
        open_sets(replace(data, val_part="test2"), "pvcnn_cls_c1")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(InputError, match=r"'tabletop' gives: take another model, or clouds, radhar, modelnet40"):
        open_sets(DataConfig(name="tabletop", path="x.npz"), "pvcnn_cls_c1")
    with pytest.raises(InputError, match="another model, or shapenet_part"):
        open_sets(DataConfig(train="clouds"), "pvcnn_part_c1")
    for name, model in (("videos", "tsm_resnet18"), ("clouds", "pvcnn_cls_c1")):
        with pytest.raises(InputError, match=r"data\.train is missing"):
            open_sets(DataConfig(name=name), model)
    with pytest.raises(InputError, match=r"data\.path is missing: give the file or folder of s3dis"):
        open_sets(DataConfig(name="s3dis"), "pvcnn_sem_c1")
    with pytest.raises(InputError, match="has the folds 1 to 6"):
        open_sets(DataConfig(name="s3dis", path=str(tmp_path), fold=7), "pvcnn_sem_c1")
    with pytest.raises(InputError, match="the list of the frames to learn from"):
        open_sets(DataConfig(name="kitti", path=str(tmp_path)), "frustum_pvcnne")


def test_scenes_say_what_is_missing(tmp_path):
    data = small_set("scenes", tmp_path).data
    with pytest.raises(InputError, match=r"points of 6 columns, but xyz and data\.features \[\] are 3"):
        open_sets(replace(data, features=[]), "pvcnn_sem_c1")
    (tmp_path / "val/classes.txt").write_text("thing\nfloor\n")
    with pytest.raises(InputError, match="number them alike"):
        open_sets(data, "pvcnn_sem_c1")
    (tmp_path / "train/classes.txt").unlink()
    with pytest.raises(InputError, match=r"into a classes\.txt"):
        open_sets(data, "pvcnn_sem_c1")


def test_augmentations_that_would_spoil_the_target_are_refused(tmp_path):
    small = small_set("kitti", tmp_path)
    sets = open_sets(small.data, small.model)
    with pytest.raises(InputError, match="away from their boxes"):
        transforms(model_of(small, sets), sets, AugmentConfig(points=["rotate"]))
