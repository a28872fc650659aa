"""Networks compute the same without the empty voxels, and say how they computed it."""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from tests.models.test_point_parity import ARCHITECTURES, FOLDER, RECIPE, assert_agree, state_of
from zoo import ops
from zoo.layers import sparse_pvconv
from zoo.layers.pvconv import PVConv
from zoo.layers.sparse_costs import Costs, dense_branch, measure
from zoo.layers.sparse_pvconv import SparsePVConv, sparse_voxel_branches
from zoo.registry import find_builder

native_only = pytest.mark.skipif(ops.backend() != "native", reason="the compiled operators are not built or not wanted")


@pytest.fixture
def always_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense convolutions cost more than anything, so that the sparse ones are what is tested."""
    monkeypatch.setattr(sparse_pvconv, "measure", lambda *_: Costs((1e9, 0.0), ((0, 0.0), (1, 0.0)), 0.0))


def random_statistics(model: nn.Module) -> nn.Module:
    """Batch norms as after training."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.75, 1.25)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()


def compare(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """The model without empty voxels, after its outputs were held against those with them."""
    sparse = sparse_voxel_branches(copy.deepcopy(model))
    with torch.inference_mode():
        torch.manual_seed(0)  # frustum networks draw points
        expected = model(*inputs)
        torch.manual_seed(0)
        actual = sparse(*inputs)
    if isinstance(expected, Tensor):
        expected, actual = {"out": expected}, {"out": actual}
    for key, value in expected.items():
        assert_same(actual[key], value)
    return sparse


def layers_of(model: nn.Module) -> list[SparsePVConv]:
    return [module for module in model.modules() if isinstance(module, SparsePVConv)]


@native_only
@pytest.mark.parametrize("fixture_name", [name for name in ARCHITECTURES if "pointnet" not in name])
def test_outputs_are_still_the_authors(fixture_name: str, always_sparse: None) -> None:
    fixture = json.loads((FOLDER / f"{fixture_name}.json").read_text())
    model = find_builder(ARCHITECTURES[fixture_name])()
    model.load_state_dict(state_of(fixture, fixture["checkpoint"]["prefix"]))
    source = fixture["input"]
    points = RECIPE.points_for(fixture_name, source["batch"], source["num_points"], source["extra_channels"])
    points[:, 2] += np.float32(source.get("offset_z", 0))
    ids = [torch.tensor(source[key]) for key in ("shape_ids", "class_ids") if key in source]
    sparse = compare(model.eval(), torch.from_numpy(points), *ids)
    assert layers_of(sparse) and all(layer.choice.sparse for layer in layers_of(sparse))
    if "class_ids" not in source:
        with torch.inference_mode():
            logits = sparse(torch.from_numpy(points), *ids)[:, :, :: fixture["point_stride"]]
        assert_agree(logits, torch.tensor(fixture["outputs"]["logits"]), "logits")


@native_only
@pytest.mark.parametrize("name", zoo.list_models("*pvcnn*"))
@pytest.mark.parametrize("width", [0.125, 0.3])
def test_every_network_at_any_width(name: str, width: float, always_sparse: None) -> None:
    torch.manual_seed(0)
    model = random_statistics(zoo.create_model(name, width_multiplier=width, in_channels=6))
    points = torch.rand(2, 6, 1100) * 2 - 1
    points[1, :3] = F.normalize(points[1, :3], dim=0)  # one fills the grid, and one is a surface
    ids = [torch.tensor([0, 2])] if "part" in name or "frustum" in name else []
    assert all(layer.choice.sparse for layer in layers_of(compare(model, points, *ids)))


@native_only
@pytest.mark.parametrize("name", ["pvcnn_sem_c1", "pvcnn_part_c1", "pvcnnpp_sem_c1", "frustum_pvcnne"])
def test_real_clouds(name: str, test_data: Path, always_sparse: None) -> None:
    torch.manual_seed(0)
    model = random_statistics(zoo.create_model(name, width_multiplier=0.25, in_channels=3))
    ids = [torch.tensor([0])] if "part" in name or "frustum" in name else []
    for scene in real_scenes(test_data).values():
        chosen = scene[:: max(1, len(scene) // 8000)]
        cloud = torch.from_numpy(np.ascontiguousarray(chosen.T)).float().unsqueeze(0)
        cloud = cloud - cloud.mean(dim=2, keepdim=True)
        compare(model, cloud / cloud.abs().max(), *ids)  # which touches the border of a grid that is not normalised


@native_only
@pytest.mark.parametrize("tag", ["mosd", "isprs"])
def test_real_clouds_of_networks_that_know_them(tag: str, test_data: Path, always_sparse: None) -> None:
    predictor = zoo.load(f"pvcnn_sem_c0p25.{tag}")
    batches: list[Any] = []
    hook = predictor.model.register_forward_pre_hook(lambda _, inputs: batches.append(inputs))
    predictor(real_scenes(test_data)[tag].astype(np.float32))
    hook.remove()
    compare(predictor.model, *batches[0])


def real_scenes(test_data: Path) -> dict[str, np.ndarray]:
    """A table top and a scan from the air, points [N, 3] in metres."""
    tabletop = np.load(test_data / "points/mosd_tabletop.npz")
    ground = np.load(test_data / "points/isprs_ground.npz")
    return {
        "mosd": tabletop["points_halfmm"][: tabletop["offsets"][1]] / 2000,
        "isprs": ground["points"][: ground["offsets"][1]],
    }


@native_only
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_layers_of_any_kind(always_sparse: None, data: st.DataObject) -> None:
    draw = data.draw
    channels, out_channels = draw(st.integers(1, 40)), draw(st.integers(8, 70))
    resolution, with_se, normalize = draw(st.integers(1, 20)), draw(st.booleans()), draw(st.booleans())
    batch, num_points, size = draw(st.integers(1, 3)), draw(st.integers(1, 900)), draw(st.sampled_from([0.1, 1.0, 2.0]))
    torch.manual_seed(draw(st.integers(0, 99)))
    layer = random_statistics(PVConv(channels, out_channels, resolution, with_se, normalize))
    points = size * (2 * torch.rand(batch, 3, num_points) - 1)
    assert compare(layer, torch.randn(batch, channels, num_points), points).choice.sparse


@native_only
def test_clouds_that_touch_the_border(always_sparse: None) -> None:
    layer = random_statistics(PVConv(6, 16, 8, with_se=True, normalize=False))
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3).T.unsqueeze(0)
    for scale in (1.0, 3.0):  # beyond the border all are clamped to it
        compare(layer, torch.randn(1, 6, 27), corners * scale)


@native_only
def test_the_cheaper_way_is_taken_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "zoo")
    layer = sparse_voxel_branches(PVConv(8, 8, 16).eval().requires_grad_(False))
    features, points = torch.randn(1, 8, 50), torch.randn(1, 3, 50)
    for cost, way in ((1e-9, "sparse"), (1.0, "dense")):
        monkeypatch.setattr(
            sparse_pvconv, "measure", lambda *_, cost=cost: Costs((1e-3, 0.0), ((0, 0.0), (1, cost)), 0.0)
        )
        caplog.clear()
        for _ in range(3):
            layer(features, points)
        assert layer.choice.sparse == (way == "sparse") and f"{way} (" in repr(layer) and "1.0 ms dense" in repr(layer)
        assert caplog.text.count("voxel branch of") == caplog.text.count(f"R = 16: {way} (") == 1


@native_only
@pytest.mark.parametrize("resolution", [1, 2, 3, 20])
def test_costs_go_from_one_point_to_a_full_grid(resolution: int) -> None:
    given = (16, 16, 16), resolution, True, torch.float32, torch.get_num_threads(), 16
    costs = measure(*given)
    few, *_, full = costs.sparse
    assert few[0] == 16 * 16 * sum(ops.sparse_work(one_point(resolution), True))
    assert full[0] == pytest.approx(16 * 16 * 2 * (3 * resolution - 2) ** 3)  # neighbours of all voxels, both times
    assert 0 <= costs.seconds(0, 0) == few[1] <= costs.seconds(full[0], 0) == costs.seconds(1e12, 0)
    assert costs.seconds(0, 10**9) >= costs.seconds(0, 0) and 0 < costs.dense_seconds(10**6) <= costs.dense_seconds(
        10**7
    )
    assert measure(*given) is costs


def one_point(resolution: int) -> ops.VoxelPlan:
    return ops.voxel_plan(torch.zeros(1, 3, 1), resolution, normalize=False)


@native_only
def test_clouds_of_a_batch_are_counted_together_and_none_is_no_error() -> None:
    layer = sparse_voxel_branches(PVConv(8, 8, 16).eval().requires_grad_(False))
    features, points = torch.randn(1, 8, 4000), torch.randn(1, 3, 4000)
    layer(features, points)
    alone = layer.choice
    layer(features.expand(3, -1, -1), points.expand(3, -1, -1))
    assert layer.choice.sparse == alone.sparse
    assert layer.choice.seconds == pytest.approx(3 * alone.seconds)
    assert layer(features[:0], points[:0]).shape == (0, 8, 4000)


@native_only
def test_one_point_is_cheap_and_a_full_grid_is_not() -> None:
    layer = sparse_voxel_branches(PVConv(32, 32, 16).eval().requires_grad_(False))
    layer(torch.randn(1, 32, 1), torch.randn(1, 3, 1))
    one_point = layer.choice
    assert one_point.sparse and one_point.seconds < one_point.dense_seconds
    layer(torch.randn(1, 32, 20000), torch.rand(1, 3, 20000) * 2 - 1)
    assert layer.choice.seconds > 2 * one_point.seconds
    assert layer.choice.sparse == (layer.choice.seconds < layer.choice.dense_seconds)


def test_gradients_take_the_dense_way() -> None:
    layer = random_statistics(PVConv(4, 8, 6, with_se=True))
    sparse = sparse_voxel_branches(copy.deepcopy(layer))
    points, grads = torch.randn(1, 3, 40), []
    for module in (layer, sparse):
        features = torch.linspace(-1, 1, 160).view(1, 4, 40).requires_grad_()
        module(features, points).square().sum().backward()
        grads.append(features.grad)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-4)
    assert not sparse.choice.sparse


def test_weights_learn_the_dense_way_and_are_prepared_anew(always_sparse: None) -> None:
    layer = sparse_voxel_branches(random_statistics(PVConv(4, 8, 6)))
    features, points = torch.randn(1, 4, 40), torch.randn(1, 3, 40)
    with torch.no_grad():
        before = layer(features, points)
    layer(features, points).square().sum().backward()
    conv = layer.dense[0]
    assert not layer.choice.sparse and conv.weight.grad is not None
    with torch.no_grad():
        conv.weight.sub_(conv.weight.grad)
        after = layer(features, points)
        dense = dense_branch(features, ops.voxel_plan(points, 6), layer.dense_layers)
        assert_same(after, dense + layer.point_features(features))
    assert (after - before).abs().max() > 1e-3


@native_only
@pytest.mark.parametrize("how", ["bfloat16", "autocast", "double"])
def test_other_precisions(how: str, always_sparse: None) -> None:
    layer = random_statistics(PVConv(8, 16, 8, with_se=True))
    sparse, points, features = sparse_voxel_branches(copy.deepcopy(layer)), torch.randn(2, 3, 99), torch.randn(2, 8, 99)
    with torch.inference_mode():
        expected = layer(features, points)
        sparse(features, points)  # in float32 first: what was prepared for it must not be taken again
        if how == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                actual = sparse(features, points)
        else:
            dtype = getattr(torch, how)
            actual = sparse.to(dtype)(features.to(dtype), points)
    assert (actual.float() - expected).abs().max() <= 0.05 * expected.abs().max()
    assert sparse.choice.sparse == (how != "double")


def test_a_layer_can_be_saved_and_takes_other_weights(always_sparse: None) -> None:
    layer, other = (sparse_voxel_branches(random_statistics(PVConv(4, 8, 6))).requires_grad_(False) for _ in range(2))
    features, points = torch.randn(1, 4, 40), torch.randn(1, 3, 40)
    expected = other(features, points)
    layer(features, points)  # with weights of its own first
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert_same(again(features, points), layer(features, points))
    again.load_state_dict(other.state_dict())
    assert_same(again(features, points), expected)


def test_weights_that_change_in_their_place_are_seen(always_sparse: None) -> None:
    layer = sparse_voxel_branches(random_statistics(PVConv(4, 8, 6))).requires_grad_(False)
    features, points = torch.randn(1, 4, 40), torch.randn(1, 3, 40)
    plan = ops.voxel_plan(points, 6)
    layer(features, points)
    with torch.no_grad():
        layer.dense[0].weight.mul_(2)
    assert_same(layer.voxel_branch(features, plan), dense_branch(features, plan, layer.dense_layers))
    layer.dense[2].weight.data = layer.dense[2].weight.data * 2
    assert_same(layer.voxel_branch(features, plan), dense_branch(features, plan, layer.dense_layers))


def test_plain_operators_take_the_dense_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ZOO_OPS", "reference")
    assert not layers_of(compare(PVConv(4, 4, 4).eval(), torch.randn(1, 4, 9), torch.randn(1, 3, 9)))[0].choice.sparse


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call model\.eval"):
        sparse_voxel_branches(PVConv(4, 4, 4))
    partly = nn.Sequential(PVConv(4, 4, 4)).eval()
    partly[0].train()
    with pytest.raises(ValueError, match="on all layers"):
        sparse_voxel_branches(partly)
    with pytest.raises(ValueError, match="from a PVConv, not from Conv3d"):
        SparsePVConv(nn.Conv3d(4, 4, 3))  # type: ignore[arg-type]


@native_only
@pytest.mark.slow
def test_compilers_trace_it() -> None:
    model = sparse_voxel_branches(random_statistics(zoo.create_model("pvcnn_cls_c0p25", width_multiplier=0.125)))
    points = torch.randn(1, 3, 200)
    with torch.no_grad():
        expected = model(points)
        assert_same(torch.compile(model, fullgraph=True, backend="aot_eager")(points), expected)
        assert_same(torch.export.export(model, (points,)).module()(points), expected)
