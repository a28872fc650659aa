"""The point operators against loops that follow the definitions one point at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo import ops


def loop_voxelize(features: Tensor, coords: Tensor, r: int) -> Tensor:
    out = torch.zeros(*features.shape[:2], r, r, r)
    for b in range(features.shape[0]):
        points_of: dict[tuple[int, ...], list[int]] = {}
        for n in range(features.shape[2]):
            points_of.setdefault(tuple(coords[b, :, n].tolist()), []).append(n)
        for (x, y, z), members in points_of.items():
            out[b, :, x, y, z] = features[b, :, members].mean(dim=1)
    return out


def loop_devoxelize(grid: Tensor, coords: Tensor) -> Tensor:
    out = torch.zeros(*grid.shape[:2], coords.shape[2])
    for b, n in itertools.product(range(coords.shape[0]), range(coords.shape[2])):
        low = [math.floor(c) for c in coords[b, :, n].tolist()]
        part = [c - f for c, f in zip(coords[b, :, n].tolist(), low, strict=True)]
        for up in itertools.product((0, 1), repeat=3):
            if all(u == 0 or p > 0 for u, p in zip(up, part, strict=True)):
                weight = math.prod(p if u else 1 - p for u, p in zip(up, part, strict=True))
                x, y, z = (f + u for f, u in zip(low, up, strict=True))
                out[b, :, n] += weight * grid[b, :, x, y, z]
    return out


def squared(a: np.ndarray, b: np.ndarray) -> np.float32:
    d = (a - b).astype(np.float32)
    return np.float32(np.float32(d[0] * d[0] + d[1] * d[1]) + d[2] * d[2])


def loop_furthest(points: Tensor, m: int) -> list[list[int]]:
    rows = []
    for cloud in points.numpy().transpose(0, 2, 1):
        chosen, nearest = [0], [np.float32(np.inf)] * len(cloud)
        while len(chosen) < m:
            nearest = [min(d, squared(p, cloud[chosen[-1]])) for d, p in zip(nearest, cloud, strict=True)]
            chosen.append(max(range(len(cloud)), key=lambda n: (nearest[n], -n)))
        rows.append(chosen)
    return rows


def loop_ball(centers: Tensor, points: Tensor, radius: float, u: int) -> list[list[list[int]]]:
    reach = np.float32(radius) * np.float32(radius)
    out = []
    for some, cloud in zip(centers.numpy().transpose(0, 2, 1), points.numpy().transpose(0, 2, 1), strict=True):
        rows = []
        for center in some:
            near = [n for n, p in enumerate(cloud) if squared(center, p) < reach][:u]
            rows.append(near + [near[0] if near else 0] * (u - len(near)))
        out.append(rows)
    return out


def loop_interpolate(points: Tensor, centers: Tensor, features: Tensor) -> Tensor:
    out = torch.zeros(*features.shape[:2], points.shape[2])
    for b, n in itertools.product(range(points.shape[0]), range(points.shape[2])):
        distances = [float(squared(points[b, :, n].numpy(), c)) for c in centers[b].numpy().T]
        order = sorted(range(len(distances)), key=lambda m: (distances[m], m))[:3]
        weights = [1 / min(max(distances[m], 1e-10), 1e10) for m in order] + [1e-10] * (3 - len(order))
        order += [0] * (3 - len(order))
        for m, weight in zip(order, weights, strict=True):
            out[b, :, n] += features[b, :, m] * weight / sum(weights)
    return out


@pytest.fixture
def cloud() -> Tensor:
    return torch.rand(2, 3, 60, generator=torch.Generator().manual_seed(0))


def test_voxels_hold_the_mean_of_their_points(cloud: Tensor) -> None:
    coords = (cloud * 4).int().clamp(0, 3)
    features = torch.randn(2, 5, 60)
    torch.testing.assert_close(ops.avg_voxelize(features, coords, 4), loop_voxelize(features, coords, 4))
    torch.testing.assert_close(ops.avg_voxelize(features, coords.long(), 7), loop_voxelize(features, coords, 7))


@pytest.mark.parametrize("resolution", [64, 65])
def test_a_large_grid_holds_bit_for_bit_what_its_channels_do_alone(resolution: int) -> None:
    plan = ops.voxel_plan(torch.randn(2, 3, 3000).round(decimals=1), resolution)
    assert plan.counts.max() > 2
    features = torch.randn(2, 5, 3000)
    features[0, 1, 7], features[1, 4, :] = math.inf, -0.0
    alone = [plan.voxelize(features[:, c : c + 1].contiguous()) for c in range(5)]
    assert torch.equal(plan.voxelize(features).view(torch.int32), torch.cat(alone, dim=1).view(torch.int32))


def test_voxel_coordinates_are_x_major() -> None:
    grid = ops.avg_voxelize(torch.ones(1, 1, 1), torch.tensor([[[1], [0], [2]]]), 3)
    assert grid.nonzero().tolist() == [[0, 0, 1, 0, 2]]


def test_devoxelisation_weighs_eight_corners(cloud: Tensor) -> None:
    grid = torch.randn(2, 5, 4, 4, 4)
    coords = cloud * 3
    coords[:, :, :8] = coords[:, :, :8].round()  # on the planes of the grid, the last one too
    coords[0, :, 8] = 3.0
    torch.testing.assert_close(ops.trilinear_devoxelize(grid, coords), loop_devoxelize(grid, coords))


def test_furthest_points_are_those_of_the_definition(cloud: Tensor) -> None:
    assert ops.furthest_point_sample(cloud, 20).tolist() == loop_furthest(cloud, 20)


def test_furthest_point_takes_the_lowest_index_on_a_tie_and_repeats_at_the_end() -> None:
    square = torch.tensor([[[0.0, 1, -1, 0, 0], [0.0, 0, 0, 1, -1], [0.0, 0, 0, 0, 0]]])
    assert ops.furthest_point_sample(square, 8).tolist() == [[0, 1, 2, 3, 4, 0, 0, 0]]


@pytest.mark.parametrize(("radius", "neighbors"), [(0.3, 8), (0.05, 3), (2.0, 100), (0.0, 2)])
def test_ball_query_keeps_the_first_neighbours_in_index_order(cloud: Tensor, radius: float, neighbors: int) -> None:
    centers = cloud[:, :, ::7] + 0.01
    found = ops.ball_query(centers, cloud, radius, neighbors)
    assert found.dtype == torch.int64
    assert found.tolist() == loop_ball(centers, cloud, radius, neighbors)


def test_a_point_at_exactly_the_radius_is_outside() -> None:
    points = torch.tensor([[[0.5, 0.25], [0.0, 0.0], [0.0, 0.0]]])
    assert ops.ball_query(torch.zeros(1, 3, 1), points, 0.5, 2).tolist() == [[[1, 1]]]


def test_a_large_query_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch, cloud: Tensor) -> None:
    features = torch.randn(2, 4, 60)
    whole = ops.ball_query(cloud, cloud, 0.3, 8), ops.three_nn_interpolate(cloud + 0.01, cloud, features)
    monkeypatch.setattr("zoo.ops.reference._CHUNK", 500)
    pieces = ops.ball_query(cloud, cloud, 0.3, 8), ops.three_nn_interpolate(cloud + 0.01, cloud, features)
    assert torch.equal(whole[0], pieces[0])
    torch.testing.assert_close(whole[1], pieces[1])


def test_gathering_and_grouping_take_the_named_columns() -> None:
    features = torch.arange(24.0).view(2, 3, 4)
    indices = torch.tensor([[3, 0], [1, 1]])
    assert ops.gather_points(features, indices)[1].tolist() == [[13, 13], [17, 17], [21, 21]]
    grouped = ops.group_points(features, indices.unsqueeze(2).int())
    assert torch.equal(grouped, ops.gather_points(features, indices).unsqueeze(3))


@pytest.mark.parametrize("num_centers", [1, 2, 3, 12])
def test_interpolation_weighs_the_three_nearest(cloud: Tensor, num_centers: int) -> None:
    centers, features = cloud[:, :, :num_centers].contiguous(), torch.randn(2, 4, num_centers)
    torch.testing.assert_close(
        ops.three_nn_interpolate(cloud, centers, features),
        loop_interpolate(cloud, centers, features),
        atol=1e-5,
        rtol=1e-4,
    )


def test_interpolation_takes_the_lowest_of_equally_near_centers() -> None:
    features = torch.tensor([[[1.0, 1.0, 1.0, 100.0]]])
    out = ops.three_nn_interpolate(torch.zeros(1, 3, 1), torch.ones(1, 3, 4), features)
    assert out.item() == pytest.approx(1.0)


def on_features(features: Tensor, cloud: Tensor) -> dict[str, Tensor]:
    """Every operator that carries features [2, C, 27]."""
    cloud = cloud[:, :, :27]
    indices = ops.ball_query(cloud[:, :, :5], cloud, 0.5, 4)
    return {
        "avg_voxelize": ops.avg_voxelize(features, (cloud * 3).int().clamp(0, 2), 3),
        "trilinear_devoxelize": ops.trilinear_devoxelize(features.unflatten(2, (3, 3, 3)), cloud * 2),
        "gather_points": ops.gather_points(features, indices[:, :, 0]),
        "group_points": ops.group_points(features, indices),
        "three_nn_interpolate": ops.three_nn_interpolate(cloud * 2, cloud, features),
    }


def test_gradients_reach_features_and_never_coordinates() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 2, 27, dtype=torch.float64, generator=generator, requires_grad=True)
    cloud = torch.rand(2, 3, 27, dtype=torch.float64, generator=generator).requires_grad_()
    for name, out in on_features(features, cloud).items():
        assert torch.autograd.grad(out.sum(), cloud, allow_unused=True, retain_graph=True) == (None,), name

    def run(values: Tensor) -> tuple[Tensor, ...]:
        return tuple(on_features(values, cloud.detach()).values())

    assert torch.autograd.gradcheck(run, features)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_types_keep_their_type(cloud: Tensor, dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, 27, generator=torch.Generator().manual_seed(2)).to(dtype)
    coords = cloud.to(dtype)
    expected = on_features(features.float(), coords.float())
    for name, out in on_features(features, coords).items():
        assert out.dtype == dtype, name
        torch.testing.assert_close(
            out, expected[name].to(dtype), atol=2e-2 if dtype != torch.float64 else 1e-5, rtol=1e-2
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype: torch.dtype) -> None:
    many = torch.full((1, 1, 5000), 0.1, dtype=dtype)  # a sum in float16 stops growing, one in bfloat16 at once
    mean = ops.avg_voxelize(many, torch.zeros(1, 3, 5000, dtype=torch.int32), 1)
    assert mean.item() == many[0, 0, 0].item()


def test_operators_repeat_bit_for_bit(cloud: Tensor) -> None:
    features = torch.randn(2, 3, 27)
    first, second = on_features(features, cloud), on_features(features, cloud)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_points_give_empty_results() -> None:
    nothing, features = torch.zeros(2, 3, 0), torch.zeros(2, 4, 0)
    assert ops.avg_voxelize(features, nothing.int(), 3).shape == (2, 4, 3, 3, 3)
    assert ops.trilinear_devoxelize(torch.zeros(2, 4, 3, 3, 3), nothing).shape == (2, 4, 0)
    assert ops.furthest_point_sample(nothing, 0).shape == (2, 0)
    assert ops.ball_query(nothing, nothing, 1.0, 4).shape == (2, 0, 4)
    assert ops.gather_points(features, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 4, 0)
    assert ops.group_points(features, torch.zeros(2, 0, 5, dtype=torch.int64)).shape == (2, 4, 0, 5)
    assert ops.three_nn_interpolate(nothing, torch.zeros(2, 3, 3), torch.zeros(2, 4, 3)).shape == (2, 4, 0)
    plan = ops.voxel_plan(nothing, 3)
    grid, leaf = torch.zeros(2, 4, 3, 3, 3, requires_grad=True), features.requires_grad_()
    (plan.devoxelize(grid).sum() + plan.voxelize(leaf).sum()).backward()
    assert leaf.grad is not None and grid.grad is not None and not grid.grad.any()


def test_no_clouds_give_empty_results() -> None:
    points = torch.zeros(0, 3, 5)
    assert ops.voxel_plan(points, 3).devoxelize(torch.zeros(0, 4, 3, 3, 3)).shape == (0, 4, 5)
    assert ops.three_nn_interpolate(points, points, torch.zeros(0, 4, 5)).shape == (0, 4, 5)


def test_forward_mode_keeps_its_derivatives() -> None:
    frames, direction = torch.rand(2, 8, 8, 2, 2)
    _, moved = torch.func.jvp(lambda x: ops.temporal_shift(x, 4), (frames,), (direction,))
    assert torch.equal(moved, ops.temporal_shift(direction, 4))


def test_shapes_come_out_on_the_meta_device(cloud: Tensor) -> None:
    real = on_features(torch.zeros(2, 3, 27), cloud)
    meta = on_features(torch.zeros(2, 3, 27, device="meta"), cloud.to("meta"))
    assert {name: out.shape for name, out in real.items()} == {name: out.shape for name, out in meta.items()}
    assert ops.furthest_point_sample(cloud.to("meta"), 5).shape == (2, 5)
