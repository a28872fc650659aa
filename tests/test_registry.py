import pytest

import zoo
from zoo import registry
from zoo.errors import UnknownNameError

ARCHITECTURES = [
    "tsn_resnet50",
    "tsm_resnet18",
    "tsm_resnet34",
    "tsm_resnet50",
    "tsm_resnet101",
    "tsm_resnet50_nl",
    "tsm_mobilenetv2",
    "tsn_mobilenetv2",
    "tsm_mobilenetv2_online",
    "tsm_resnet18_online",
    "tsm_resnet50_online",
    "tsm_online",
    "pvcnn_part_c1",
    "pvcnn_part_c0p5",
    "pvcnn_part_c0p25",
    "pvcnn_sem_c1",
    "pvcnn_sem_c0p25",
    "pvcnn_sem_c0p125",
    "pvcnnpp_sem_c1",
    "pvcnnpp_sem_c0p5",
    "pvcnn_cls_c1",
    "pvcnn_cls_c0p25",
    "pointnet_part",
    "pointnet_sem",
    "pointnet_cls",
    "pointnet2_part_ssg",
    "pointnet2_part_msg",
    "frustum_pointnet",
    "frustum_pointnet2",
    "frustum_pvcnne",
]


def test_every_architecture_is_listed():
    assert set(ARCHITECTURES) <= set(zoo.list_models())


def test_wildcards_and_natural_order():
    assert zoo.list_models("tsm_resnet*") == [
        "tsm_resnet18", "tsm_resnet18_online", "tsm_resnet34", "tsm_resnet50", "tsm_resnet50_nl",
        "tsm_resnet50_online", "tsm_resnet101",
    ]  # fmt: skip
    assert zoo.list_models("pvcnn_sem_*") == ["pvcnn_sem_c0p125", "pvcnn_sem_c0p25", "pvcnn_sem_c1"]


def test_pretrained_lists_loadable_names():
    names = zoo.list_models(pretrained=True)
    assert names and all("." in name for name in names)
    assert zoo.list_models("pvcnn*", pretrained=True) == [name for name in names if name.startswith("pvcnn")]
    assert not set(zoo.list_models(pretrained=False)) & {name.split(".")[0] for name in names}


def test_task_filters():
    assert zoo.list_models(task="object_detection") == ["frustum_pointnet", "frustum_pointnet2", "frustum_pvcnne"]
    with pytest.raises(UnknownNameError, match="video_classification"):
        zoo.list_models(task="cooking")


def test_unknown_names_list_the_nearest_five():
    with pytest.raises(UnknownNameError, match="tsm_resnet50") as caught:
        zoo.create_model("tsm_resnet5")
    assert str(caught.value).count(",") >= 4


def test_unknown_tag_lists_the_tags():
    with pytest.raises(UnknownNameError, match="mosd"):
        zoo.load("pvcnn_sem_c0p25.shapenet")


def test_a_name_is_registered_once():
    def tsm_resnet50():
        """A second network of that name."""

    with pytest.raises(ValueError, match="twice"):
        registry.register_model(task="video_classification")(tsm_resnet50)
