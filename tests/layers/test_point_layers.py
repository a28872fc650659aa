"""The layers on points: where a cloud lies in the voxel grid, and what set abstraction sees."""

from __future__ import annotations

import pytest
import torch

from zoo.layers.pvconv import PVConv
from zoo.layers.set_abstraction import FeaturePropagation, SetAbstraction
from zoo.layers.shared_mlp import PointwiseConv, SharedMLP, use_pointwise_products
from zoo.ops import voxel_plan


def test_a_cloud_is_scaled_to_the_grid_about_its_mean() -> None:
    coords = torch.tensor([[[1.0, 3.0], [5.0, 5.0], [0.0, 0.0]]])  # mean (2, 5, 0), furthest point 1 away
    assert voxel_plan(coords, 8).coords[0].tolist() == [[0.0, 7.0], [4.0, 4.0], [4.0, 4.0]]
    assert voxel_plan(coords * 100, 8).coords[0].tolist() == [[0.0, 7.0], [4.0, 4.0], [4.0, 4.0]]


def test_an_unscaled_cloud_keeps_its_size_and_is_clamped() -> None:
    coords = torch.tensor([[[-0.5, 0.5], [0.0, 0.0], [-3.0, 3.0]]])
    assert voxel_plan(coords, 8, normalize=False).coords[0].tolist() == [[2.0, 6.0], [4.0, 4.0], [0.0, 7.0]]


def test_the_voxel_is_rounded_half_to_even() -> None:
    coords = torch.tensor([[[-0.25, 0.25], [0.0, 0.0], [0.0, 0.0]]])  # 1.5 and 2.5 of 4
    grid = voxel_plan(coords, 4, normalize=False).voxelize(torch.ones(1, 1, 2))
    assert grid.nonzero().tolist() == [[0, 0, 2, 2, 2]]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value", [0.1, 1234.567, 1e-30])
def test_identical_points_lie_in_the_middle(normalize: bool, value: float) -> None:
    coords = torch.full((2, 3, 1000), value)  # whose mean in float32 is not quite one of them
    assert (voxel_plan(coords, 16, normalize).coords == 8).all()


def test_points_too_close_to_tell_apart_lie_in_the_middle() -> None:
    coords = torch.tensor([[[0.0, 1e-30], [0.0, 0.0], [0.0, 0.0]]])
    assert (voxel_plan(coords, 16).coords == 8).all()


def test_half_coordinates_are_computed_in_float32() -> None:
    assert voxel_plan(torch.rand(1, 3, 9).half(), 32).coords.dtype == torch.float32


def test_no_gradient_reaches_coordinates() -> None:
    coords = torch.rand(1, 3, 20, requires_grad=True)
    features = torch.rand(1, 4, 20, requires_grad=True)
    PVConv(4, 8, 4, with_se=True)(features, coords).sum().backward()
    assert coords.grad is None and features.grad is not None


def test_set_abstraction_does_not_see_where_a_cloud_lies() -> None:
    torch.manual_seed(0)
    layer = SetAbstraction(4, [0.5, 1.0], [8, 16], 2, [(8, 8), (8, 12)]).eval()
    coords = (torch.rand(1, 3, 30) * 64).round() / 64  # so that moving rounds nothing
    features = torch.rand(1, 2, 30)
    with torch.inference_mode():
        here, centers = layer(features, coords)
        there, moved = layer(features, coords + 2)
    assert here.shape == (1, 20, 4) and torch.equal(moved, centers + 2)
    torch.testing.assert_close(there, here)
    assert torch.equal(centers[:, :, 0], coords[:, :, 0])


def test_propagation_carries_features_of_centers_to_points_that_lie_on_them() -> None:
    layer = FeaturePropagation(3, [3])
    torch.nn.init.dirac_(layer.mlp.layers[0].weight)
    torch.nn.init.zeros_(layer.mlp.layers[0].bias)
    layer.eval()
    coords = torch.rand(1, 3, 6)
    features, own = torch.rand(1, 2, 6), torch.rand(1, 1, 6)
    with torch.inference_mode():
        out = layer(coords, own, coords, features)
    torch.testing.assert_close(out, torch.cat([features, own], dim=1), atol=1e-4, rtol=1e-4)


def test_a_convolution_takes_its_input_in_parts() -> None:
    conv = PointwiseConv(9, 5)
    points, more, cloud = torch.randn(2, 4, 7), torch.randn(2, 2, 7), torch.randn(2, 3)
    joined = torch.cat([points, cloud.unsqueeze(2).expand(-1, -1, 7), more], dim=1)
    torch.testing.assert_close(conv((points, cloud, more)), conv(joined))
    torch.testing.assert_close(conv([joined]), conv(joined))
    assert conv.weight.grad is None
    conv((points, cloud, more)).square().sum().backward()
    grad, conv.weight.grad = conv.weight.grad, None
    conv(joined).square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, grad)


def test_matrix_products_give_what_pointwise_convolutions_do() -> None:
    torch.manual_seed(0)
    mlp = SharedMLP(6, [8, 5]).eval()
    points, parts = torch.rand(2, 6, 30), [torch.rand(2, 2, 30), torch.rand(2, 4)]
    with torch.inference_mode():
        expected = mlp(points), mlp(parts)
        use_pointwise_products(mlp)
        assert not any(type(module) is PointwiseConv for module in mlp.modules())
        found = mlp(points), mlp(parts)
    torch.testing.assert_close(found, expected)


def test_autocast_widens_nothing_that_layers_join() -> None:
    points, centers = torch.rand(1, 3, 20), torch.rand(1, 3, 6)
    layers = SetAbstraction(4, [0.5], [3], 5, [[8]]), FeaturePropagation(5 + 2, [8])
    given = []
    for mlp in (layers[0].mlps[0], layers[1].mlp):
        mlp.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        layers[0](torch.rand(1, 5, 20).bfloat16(), points)
        layers[1](points, torch.rand(1, 2, 20), centers, torch.rand(1, 5, 6).bfloat16())
    assert given == [torch.bfloat16] * 2
