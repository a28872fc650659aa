"""The voxel branch without the empty voxels gives what the dense convolutions give, wherever the points lie."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from zoo import ops
from zoo.ops import reference, sparse_reference

MODULES: list[ModuleType] = [sparse_reference]
if ops.backend() == "native":
    from zoo.ops import sparse_native

    MODULES.append(sparse_native)

native_only = pytest.mark.skipif(len(MODULES) < 2, reason="the compiled operators are not built or not wanted")
modules = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split("_")[-1])


class Branch:
    """Random weights, as the sparse operator takes them and for dense convolutions."""

    def __init__(self, channels: int, middle: int, last: int, resolution: int, dtype: torch.dtype = torch.float32):
        sizes = [(middle, channels, 3, 3, 3), (middle,), (last, middle, 3, 3, 3), (last,)]
        self.tensors = [torch.randn(size).mul(max(1, math.prod(size[1:])) ** -0.5).to(dtype) for size in sizes]
        self.sparse = ops.voxel_branch(*self.tensors, resolution, (0.1, 0.2))

    def dense(self, features: Tensor, plan: ops.VoxelPlan) -> tuple[Tensor, Tensor]:
        """Values at the points and the mean over the grid."""
        weight1, bias1, weight2, bias2 = (tensor.to(features.dtype) for tensor in self.tensors)
        grid = F.leaky_relu(F.conv3d(plan.voxelize(features), weight1, bias1, padding=1), 0.1)
        grid = F.leaky_relu(F.conv3d(grid, weight2, bias2, padding=1), 0.2)
        return plan.devoxelize(grid), grid.double().mean(dim=(2, 3, 4))


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert actual.shape == expected.shape
    largest = expected.abs().amax().item() if expected.numel() else 0
    torch.testing.assert_close(actual.double(), expected.double(), rtol=0, atol=tolerance * (largest or 1))


def cloud(kind: str, batch: int, num_points: int) -> Tensor:
    """Points of several kinds; those in corners touch all borders of the grid."""
    points = torch.rand(batch, 3, num_points) * 2 - 1
    if kind == "corners":
        points = points.sign()
    elif kind == "lattice":
        points = (points * 4).round() / 4
    elif kind == "one voxel":
        points = points * 1e-4
    elif kind == "surface":
        points = F.normalize(points, dim=1)
    return points


@modules
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_outputs_are_those_of_dense_convolutions(module: ModuleType, data: st.DataObject) -> None:
    draw = data.draw
    channels, middle, last = (draw(st.sampled_from([1, 2, 3, 6, 16, 17, 33, 64, 100])) for _ in range(3))
    resolution, batch = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    num_points = draw(st.sampled_from([1, 2, 7, 60, 700]))
    kind = draw(st.sampled_from(["corners", "lattice", "one voxel", "surface", "everywhere"]))
    torch.manual_seed(draw(st.integers(0, 99)))
    plan = ops.voxel_plan(cloud(kind, batch, num_points), resolution, normalize=draw(st.booleans()))
    branch, features = Branch(channels, middle, last, resolution), torch.randn(batch, channels, num_points)
    with_mean = draw(st.booleans())
    points, mean = module.sparse_voxel_branch(features, plan.coords, plan.voxels, branch.sparse, with_mean)
    expected_points, expected_mean = branch.dense(features, plan)
    close(points, expected_points)
    close(mean, expected_mean if with_mean else torch.empty(batch, 0))


@modules
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_share_of_the_voxels_may_be_occupied(module: ModuleType, data: st.DataObject) -> None:
    resolution = data.draw(st.integers(1, 12))
    count = data.draw(st.one_of(st.integers(1, resolution**3), st.just(resolution**3)))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    voxels = torch.randperm(resolution**3)[:count]
    at = torch.stack([voxels // resolution**2, voxels // resolution % resolution, voxels % resolution]).unsqueeze(0)
    inside = data.draw(st.sampled_from([0.0, 0.4]))  # how far points lie from the middle of their voxels
    coords = (at + inside * (2 * torch.rand(at.shape) - 1)).clamp(0, resolution - 1)
    plan = ops.VoxelPlan(resolution, coords, *reference.voxel_index(at.int(), resolution))
    branch, features = Branch(4, 20, 18, resolution), torch.randn(1, 4, count)
    points, mean = module.sparse_voxel_branch(features, plan.coords, plan.voxels, branch.sparse, True)
    expected_points, expected_mean = branch.dense(features, plan)
    close(points, expected_points)
    close(mean, expected_mean)


@modules
@pytest.mark.parametrize("resolution", [1, 2, 3, 4, 33, 65])
def test_voxels_all_over_the_grid_may_be_occupied(module: ModuleType, resolution: int) -> None:
    axis = torch.linspace(0, resolution - 1, min(resolution, 6)).round()
    at = torch.cartesian_prod(axis, axis, axis).T.unsqueeze(0)
    plan = ops.VoxelPlan(resolution, at, *reference.voxel_index(at.int(), resolution))
    branch, features = Branch(3, 4, 5, resolution), torch.randn(1, 3, at.shape[2])
    points, mean = module.sparse_voxel_branch(features, plan.coords, plan.voxels, branch.sparse, True)
    expected_points, expected_mean = branch.dense(features, plan)
    close(points, expected_points)
    close(mean, expected_mean)


@modules
def test_no_points_and_no_clouds(module: ModuleType) -> None:
    branch = Branch(2, 3, 4, 5)
    somewhere = ops.VoxelPlan(5, torch.zeros(2, 3, 1), *reference.voxel_index(torch.zeros(2, 3, 1).int(), 5))
    _, empty = branch.dense(torch.zeros(2, 2, 1), somewhere)
    for batch, num_points in ((2, 0), (0, 3), (0, 0)):
        at, voxels = torch.empty(batch, 3, num_points), torch.empty(batch, num_points, dtype=torch.int32)
        features = torch.empty(batch, 2, num_points)
        points, mean = module.sparse_voxel_branch(features, at, voxels, branch.sparse, True)
        assert points.shape == (batch, 4, num_points)
        close(mean, empty[:batch])


@modules
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types(module: ModuleType, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tolerance = {torch.float64: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    plan = ops.voxel_plan(cloud("surface", 2, 300), 8)
    branch, features = Branch(5, 40, 24, 8, dtype), torch.randn(2, 5, 300).to(dtype)
    points, mean = module.sparse_voxel_branch(features, plan.coords, plan.voxels, branch.sparse, True)
    assert points.dtype == dtype and mean.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected_points, expected_mean = branch.dense(features.double(), plan)
    close(points, expected_points, tolerance)
    close(mean, expected_mean, tolerance)


@modules
@pytest.mark.parametrize("with_mean", [False, True])
def test_work_counts_the_neighbours_there_are(module: ModuleType, with_mean: bool) -> None:
    one = torch.full((1, 3, 1), 4.0), torch.tensor([[(4 * 9 + 4) * 9 + 4]], dtype=torch.int32)
    # One voxel reaches 27, each of which reaches 27; the points read but the one.
    assert module.sparse_work(*one, 9, with_mean).tolist() == [27, 27 * 27 if with_mean else 27]
    corner = torch.zeros(1, 3, 1), torch.zeros(1, 1, dtype=torch.int32)
    # Along each axis two voxels see the one in the corner; of the three around those two, they see 2, 2 and 1.
    assert module.sparse_work(*corner, 9, with_mean).tolist() == [2**3, 5**3 if with_mean else 2**3]


def test_misuse_says_what_to_do() -> None:
    plan, branch = ops.voxel_plan(torch.randn(2, 3, 9), 4), Branch(2, 3, 4, 4).sparse
    features = torch.randn(2, 2, 9)
    for wrong, words in [
        ((torch.randn(2, 3, 9), plan, branch), r"\[B, 2, N\]"),
        ((torch.randn(2, 2, 8), plan, branch), "8 features for 9 points"),
        ((torch.randn(1, 2, 9), plan, branch), "one batch size"),
        ((features.double(), plan, branch), "weights like the features"),
        ((features.long(), plan, branch), "float32"),
        ((features, ops.voxel_plan(torch.randn(2, 3, 9), 5), branch), "a plan of 5"),
        ((features, None, branch), "what voxel_plan makes, not NoneType"),
        ((features, plan, plan), "what voxel_branch makes, not VoxelPlan"),
    ]:
        with pytest.raises(ValueError, match=words):
            ops.sparse_voxel_branch(*wrong)
    with pytest.raises(ValueError, match="sparse_work: plan must be what voxel_plan makes"):
        ops.sparse_work(None)  # type: ignore[arg-type]
    weights = torch.randn(3, 2, 3, 3, 3), torch.randn(3), torch.randn(4, 3, 3, 3, 3), torch.randn(4)
    for slopes in (0.1, (0.1,), (0.1, 0.1, 0.1), ("a", "b"), (0.1, float("nan"))):
        with pytest.raises(ValueError, match="slopes must be two numbers"):
            ops.voxel_branch(*weights, 4, slopes)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="for inference"):
        ops.sparse_voxel_branch(features.requires_grad_(), plan, branch)
    with pytest.raises(ValueError, match="must be"):
        ops.voxel_branch(torch.randn(3, 2, 3, 3, 3), torch.randn(3), torch.randn(4, 2, 3, 3, 3), torch.randn(4), 4)
    with pytest.raises(ValueError, match="bias2 must be float32"):
        ops.voxel_branch(torch.randn(3, 2, 3, 3, 3), torch.randn(3), torch.randn(4, 3, 3, 3, 3), torch.ones(4).int(), 4)
    with pytest.raises(ValueError, match="one dtype"):
        ops.voxel_branch(
            torch.randn(3, 2, 3, 3, 3), torch.randn(3), torch.randn(4, 3, 3, 3, 3), torch.ones(4).half(), 4
        )
    with pytest.raises(ValueError, match="weight1 must be a tensor, not NoneType"):
        ops.voxel_branch(None, torch.randn(3), torch.randn(4, 3, 3, 3, 3), torch.ones(4), 4)  # type: ignore[arg-type]


@modules
def test_plans_that_hold_nonsense_are_refused(module: ModuleType) -> None:
    branch, features = Branch(2, 3, 4, 4).sparse, torch.randn(1, 2, 1)
    at, voxel = torch.zeros(1, 3, 1), torch.zeros(1, 1, dtype=torch.int32)
    for coords, voxels, value in ((at, voxel + 64, "64"), (at, voxel - 1, "-1"), (at + 3.5, voxel, "3.5")):
        with pytest.raises(RuntimeError, match=f"sparse_voxel_branch.*{value} is out of range"):
            module.sparse_voxel_branch(features, coords, voxels, branch, False)
    with pytest.raises(RuntimeError, match="nan"):
        module.sparse_voxel_branch(features, at * torch.nan, voxel, branch, False)


def arguments(dtype: torch.dtype) -> tuple:
    plan, branch = ops.voxel_plan(cloud("surface", 2, 40), 5), Branch(3, 4, 20, 5, dtype).sparse
    weights = (branch.packed[0], branch.bias, branch.packed[1], branch.empty)
    return torch.randn(2, 3, 40).to(dtype), plan.coords, plan.voxels, 5, *weights, 0.1, 0.2


@native_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_mean", [False, True])
def test_what_compilers_are_told_of_the_operators_is_true(dtype: torch.dtype, with_mean: bool) -> None:
    given = arguments(dtype)
    opcheck(torch.ops.zoo.sparse_voxel_branch.default, (*given, with_mean))
    opcheck(torch.ops.zoo.sparse_work.default, (*given[1:4], with_mean))


@native_only
def test_operations_are_counted() -> None:
    given = arguments(torch.float32)
    with FlopCounterMode(display=False) as counter:
        torch.ops.zoo.sparse_voxel_branch(*given, False)
    assert 0 < counter.get_total_flops() <= 2 * 27 * 2 * 5**3 * (3 * 4 + 4 * 32)


@native_only
def test_the_kernel_refuses_what_does_not_fit() -> None:
    features, coords, voxels, resolution, weight1, bias, weight2, empty, *rest = arguments(torch.float32)
    for wrong in [
        (features.double(), coords, voxels, resolution, weight1, bias, weight2, empty),
        (features[:, :2], coords, voxels, resolution, weight1, bias, weight2, empty),
        (features[:, :, :7], coords, voxels, resolution, weight1, bias, weight2, empty),
        (features, coords[:, :2], voxels, resolution, weight1, bias, weight2, empty),
        (features, coords, voxels.long(), resolution, weight1, bias, weight2, empty),
        (features, coords, voxels, resolution, weight1[1:], bias, weight2, empty),
        (features, coords, voxels, resolution, weight1, bias[1:], weight2, empty),
        (features, coords, voxels, resolution, weight1, bias, weight2, empty[1:]),
        (features, coords, voxels, 0, weight1, bias, weight2, empty),
        (features.bfloat16(), coords, voxels, resolution, weight1, bias, weight2, empty),
    ]:
        with pytest.raises(RuntimeError, match="sparse_voxel_branch"):
            torch.ops.zoo.sparse_voxel_branch(*wrong, *rest, True)


@native_only
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    plan, branch = ops.voxel_plan(cloud("surface", 2, 2000), 16), Branch(9, 40, 70, 16)
    features, results, before = torch.randn(2, 9, 2000), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(ops.sparse_voxel_branch(features, plan, branch.sparse, with_mean=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


@native_only
def test_any_layout_of_the_features() -> None:
    plan, branch = ops.voxel_plan(cloud("everywhere", 2, 50), 4), Branch(5, 6, 7, 4)
    features = torch.randn(2, 5, 50)
    expected, _ = ops.sparse_voxel_branch(features, plan, branch.sparse)
    for layout in (features.transpose(1, 2).contiguous().transpose(1, 2), torch.stack([features, features], 3)[..., 0]):
        assert torch.equal(ops.sparse_voxel_branch(layout, plan, branch.sparse)[0], expected)
