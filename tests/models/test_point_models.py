"""What every point architecture promises, and the errors that a user meets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo.models  # noqa: F401
from zoo.models.frustum import draw, sample_foreground
from zoo.registry import architecture_task, find_builder

PART = [
    "pvcnn_part_c1",
    "pvcnn_part_c0p5",
    "pvcnn_part_c0p25",
    "pointnet_part",
    "pointnet2_part_ssg",
    "pointnet2_part_msg",
]
SEM = ["pvcnn_sem_c1", "pvcnn_sem_c0p25", "pvcnn_sem_c0p125", "pvcnnpp_sem_c1", "pvcnnpp_sem_c0p5", "pointnet_sem"]
CLS = ["pvcnn_cls_c1", "pvcnn_cls_c0p25", "pointnet_cls"]
FRUSTUM = ["frustum_pointnet", "frustum_pointnet2", "frustum_pvcnne"]
PLAIN = [*PART, *SEM, *CLS]
CHANNELS = {"part_segmentation": 6, "semantic_segmentation": 9, "point_classification": 3, "object_detection": 4}
CLASSES = {"part_segmentation": 50, "semantic_segmentation": 13, "point_classification": 40, "object_detection": 3}


def build(name: str, **arguments: Any) -> Any:
    return find_builder(name)(**arguments).eval()


def small(name: str, **arguments: Any) -> Any:
    if name.startswith(("pvcnn", "frustum_pvcnne")):
        arguments["voxel_resolution_multiplier"] = 0.25
    return build(name, width_multiplier=0.25, **arguments)


@pytest.mark.parametrize("name", ["pvcnn_cls_c1", "pvcnnpp_sem_c1", "frustum_pvcnne"])
def test_a_factor_that_leaves_nothing_is_refused(name: str) -> None:
    for factor in ("width_multiplier", "voxel_resolution_multiplier"):
        with pytest.raises(ValueError, match=f"{factor} is 0.001, which leaves nothing of one of the layers: raise it"):
            build(name, **{factor: 0.001})


def inputs_for(name: str, batch: int = 2, num_points: int = 40) -> tuple[Tensor, ...]:
    task = architecture_task(name)
    points = torch.rand(batch, CHANNELS[task], num_points, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ids = torch.arange(batch) % 3
    return (points, ids) if task in ("part_segmentation", "object_detection") else (points,)


def take_all_as_foreground(model: Any) -> None:
    with torch.no_grad():
        model.inst_seg_net.classifier[-1].bias.copy_(torch.tensor([-9.0, 9.0]))


def shape_of(name: str, classes: int, num_points: int) -> tuple[int, ...]:
    return (2, classes) if name in CLS else (2, classes, num_points)


@pytest.mark.parametrize("name", [*PLAIN, *FRUSTUM])
def test_the_defaults_are_those_of_the_papers(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    task = architecture_task(name)
    assert (model.in_channels, model.num_classes) == (CHANNELS[task], CLASSES[task])
    assert model.get_submodule(model.first_conv).weight.shape[1] == model.in_channels
    inputs = [x.to("meta") for x in inputs_for(name, num_points=64)]
    out = model(*inputs)
    if isinstance(out, dict):
        shapes = {key: tuple(value.shape) for key, value in out.items()}
        assert shapes == {
            "mask_logits": (2, 2, 64),
            "center_reg": (2, 3),
            "center": (2, 3),
            "heading_scores": (2, 12),
            "heading_residuals_normalized": (2, 12),
            "heading_residuals": (2, 12),
            "size_scores": (2, 8),
            "size_residuals_normalized": (2, 8, 3),
            "size_residuals": (2, 8, 3),
        }
    else:
        last = model.get_submodule(model.classifier_name)
        assert (last.weight.shape[0], last.weight.shape[1]) == (model.num_classes, model.num_features)
        assert out.shape == shape_of(name, model.num_classes, 64)


@pytest.mark.parametrize("name", PLAIN)
def test_no_classes_give_the_features_that_the_head_takes(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    inputs = inputs_for(name)
    with torch.inference_mode():
        features, logits = model.forward_features(*inputs), model(*inputs)
        assert features.shape == shape_of(name, model.num_features, 40)
        assert torch.equal(model.forward_head(features), logits)
        assert torch.equal(model.forward_head(features, pre_logits=True), features)
        model.reset_classifier(0)
        assert torch.equal(model(*inputs), features)
        model.reset_classifier(7)
        assert model(*inputs).shape == shape_of(name, 7, 40)
    assert model.num_classes == 7
    assert small(name, num_classes=0)(*inputs).shape == features.shape


@pytest.mark.parametrize("name", [*PLAIN, *FRUSTUM])
def test_gradients_reach_every_layer_in_evaluation_mode(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    if name in FRUSTUM:
        take_all_as_foreground(model)
    out = model(*inputs_for(name))
    (sum(value.square().sum() for value in out.values()) if isinstance(out, dict) else out.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    convs = [m for m in model.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    assert all(conv.weight.grad.abs().sum() > 0 for conv in convs)


@pytest.mark.parametrize("name", ["pvcnn_part_c0p25", "pvcnn_sem_c0p25", "pvcnn_cls_c0p25", "pointnet_part"])
def test_the_order_of_points_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    points, *ids = inputs_for(name)
    order = torch.randperm(points.shape[2])
    with torch.inference_mode():
        out, permuted = model(points, *ids), model(points[:, :, order], *ids)
    torch.testing.assert_close(permuted, out if name in CLS else out[:, :, order], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*PLAIN, *FRUSTUM])
def test_one_point_and_identical_points_give_finite_numbers(name: str) -> None:
    model = small(name)
    points, *ids = inputs_for(name)
    for cloud in (points[:, :, :1], points[:, :, :1].repeat(1, 1, 9)):
        with torch.inference_mode():
            out = model(cloud, *ids)
        for value in out.values() if isinstance(out, dict) else [out]:
            assert value.isfinite().all()


@pytest.mark.parametrize("name", ["pvcnn_sem_c0p25", "pointnet_sem", "frustum_pointnet2"])
def test_a_training_step_lowers_the_loss(name: str) -> None:
    torch.manual_seed(0)
    model = small(name).train()
    inputs = inputs_for(name, num_points=64)
    target = (inputs[0][:, 0] > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        out = model(*inputs)
        loss = nn.functional.cross_entropy(out["mask_logits"] if isinstance(out, dict) else out, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", ["pvcnn_part_c0p25", "pvcnnpp_sem_c0p5"])
def test_bfloat16_and_float64_models_run(name: str) -> None:
    points, *ids = inputs_for(name)
    for dtype in (torch.bfloat16, torch.float64):
        with torch.inference_mode():
            out = small(name).to(dtype)(points.to(dtype), *ids)
        assert out.dtype == dtype and out.isfinite().all()


def test_the_category_of_a_shape_matters_and_is_required() -> None:
    torch.manual_seed(0)
    model = small("pvcnn_part_c0p25")
    points, ids = inputs_for("pvcnn_part_c0p25")
    with torch.inference_mode():
        assert not torch.equal(model(points, ids), model(points, ids + 1))
    with pytest.raises(ValueError, match=r"shape_ids must be int64 of shape \[2\].*not nothing"):
        model(points)
    with pytest.raises(ValueError, match=r"not torch\.float32"):
        model(points, ids.float())
    with pytest.raises(ValueError, match=r"shape_ids 16 is out of range: it must be in \[0, 15\]"):
        model(points, ids + 15)


def test_pointnet2_with_one_scale_ignores_the_category() -> None:
    model = small("pointnet2_part_ssg")
    points, ids = inputs_for("pointnet2_part_ssg")
    with torch.inference_mode():
        assert torch.equal(model(points, ids), model(points))


@pytest.mark.parametrize("name", ["pvcnn_sem_c0p25", "pvcnnpp_sem_c0p5", "pointnet_cls", "frustum_pvcnne"])
def test_wrong_points_are_refused_by_shape_and_dtype(name: str) -> None:
    model = small(name)
    points, *ids = inputs_for(name)
    channels = points.shape[1]
    for wrong in (points[0], points[:, :-1], points.transpose(1, 2), points[:, :, :0]):
        with pytest.raises(ValueError, match=rf"points must have the shape \[B, {channels}, N\]"):
            model(wrong, *ids)
    with pytest.raises(ValueError, match="must be floating"):
        model(points.long(), *ids)


def test_impossible_arguments_are_refused() -> None:
    for arguments in ({"in_channels": 2}, {"num_classes": -1}):
        with pytest.raises(ValueError, match="at least"):
            build("pvcnn_sem_c0p25", **arguments)
    with pytest.raises(TypeError, match="wings"):
        build("pvcnn_sem_c0p25", wings=2)


def test_frustum_networks_have_no_classifier_to_exchange() -> None:
    with pytest.raises(ValueError, match="no classifier to reset"):
        small("frustum_pointnet").reset_classifier(2)
    with pytest.raises(ValueError, match="at least one class"):
        build("frustum_pointnet", num_classes=0)
    with pytest.raises(ValueError, match=r"\[S, 3\], not \[2\]"):
        build("frustum_pointnet", size_templates=[1.0, 2.0])


def test_frustum_networks_take_templates_and_a_generator() -> None:
    torch.manual_seed(0)
    model = small("frustum_pvcnne", size_templates=[[4.0, 2.0, 1.5], [1.0, 0.5, 1.7]], num_points_per_object=8)
    take_all_as_foreground(model)
    points, ids = inputs_for("frustum_pvcnne")
    with torch.inference_mode():
        first = model(points, ids, generator=torch.Generator().manual_seed(5))
        again = model(points, ids, generator=torch.Generator().manual_seed(5))
        other = model(points, ids, generator=torch.Generator().manual_seed(6))
    assert first["size_residuals"].shape == (2, 2, 3)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert torch.equal(first["mask_logits"], other["mask_logits"])
    assert not torch.equal(first["center"], other["center"])
    features = model.forward_features(points, ids)
    assert features["box_features"].shape == (2, model.num_features)


def test_foreground_points_are_drawn_equally_often() -> None:
    coords = torch.rand(3, 3, 50)
    object_points = torch.zeros(3, 50, dtype=torch.bool)
    object_points[0, 10:15] = True
    object_points[1, ::2] = True
    logits = torch.stack([torch.zeros(3, 50), object_points.float() - 0.5], dim=1)
    drawn, mean = sample_foreground(coords, logits, 12, draw(coords))
    torch.testing.assert_close(mean[0], coords[0, :, 10:15].mean(dim=1))
    found = torch.cdist((drawn[0] + mean[0, :, None]).T, coords[0].T).argmin(dim=1)
    assert sorted(found.bincount(minlength=50)[10:15].tolist()) == [2, 2, 2, 3, 3]
    found = torch.cdist((drawn[1] + mean[1, :, None]).T, coords[1].T).argmin(dim=1)
    assert len(set(found.tolist())) == 12 and all(number % 2 == 0 for number in found.tolist())
    assert (drawn[2] == 0).all() and (mean[2] == 0).all()
