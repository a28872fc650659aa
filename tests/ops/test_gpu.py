"""The CUDA kernels against the reference: on a GPU, or emulated, see ``test_cuda_emulated``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from zoo import ops
from zoo.ops import reference
from zoo.ops.backends import computed_by

DEVICE = "cpu" if "EMULATED_CUDA_ORDER" in os.environ else "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def _compiled() -> None:
    assert ops.backend(DEVICE) == "native", "build the kernels with `zoo build-ops`"
    torch.manual_seed(0)


def on_both(call: Callable[..., Tensor], *inputs: Tensor) -> None:
    """``call`` gives what the reference gives, and so do the gradients of its floating inputs."""
    results = []
    for device, module in (("cpu", reference), (DEVICE, None)):
        given = [x.detach().to(device).requires_grad_(x.is_floating_point() and x.shape[1] > 3) for x in inputs]
        with computed_by(module) if module else contextlib.nullcontext():
            out = call(*given)
        if out.requires_grad:
            out.backward(torch.linspace(-1, 1, out.numel()).to(out.dtype).view(out.shape).to(device))
        results.append([out.detach().cpu(), *(x.grad.cpu() for x in given if x.grad is not None)])
    for actual, expected in zip(results[1], results[0], strict=True):
        tolerance = CLOSE.get(expected.dtype, 0)
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(16, 16, 8, 8), (16, 24, 7, 5), (8, 5, 1, 3)])
def test_shift(dtype: torch.dtype, layout: torch.memory_format, size: tuple[int, ...]) -> None:
    x = torch.randn(size).to(dtype).contiguous(memory_format=layout)
    on_both(lambda x: ops.temporal_shift(x, 4), x)
    on_both(lambda x: ops.temporal_shift(x, 8, 4, "online"), x)
    on_both(lambda x: ops.temporal_shift_(x * 1, 4), x)
    on_both(lambda x: ops.online_shift(x, torch.ones_like(x[:, :2]))[0], x)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(16, 16, 8, 8), (16, 24, 7, 5), (8, 5, 1, 3)])
@pytest.mark.parametrize("out_channels", [4, 40])
def test_pointwise(dtype: torch.dtype, layout: torch.memory_format, size: tuple[int, ...], out_channels: int) -> None:
    x = torch.randn(size).to(dtype).contiguous(memory_format=layout)
    weight = (torch.randn(out_channels, size[1]) / size[1] ** 0.5).to(dtype)
    bias = torch.randn(out_channels).to(dtype)
    on_both(lambda x, w: ops.shifted_pointwise_conv(x, w, bias.to(x.device), 4), x, weight)
    on_both(lambda x, w: ops.shifted_pointwise_conv(x, w, None, 8, 4, "online"), x, weight)
    on_both(lambda x, w: ops.online_pointwise_conv(x, torch.ones_like(x[:, :2]), w, None, "relu6")[0], x, weight)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("deterministic", [False, True])
def test_voxels(dtype: torch.dtype, deterministic: bool) -> None:
    points, resolution = torch.randn(3, 3, 500), 6
    at = reference.voxel_plan(points, resolution, True)[0]
    torch.use_deterministic_algorithms(deterministic)
    try:
        on_both(lambda f: ops.voxel_plan(points.to(f.device), resolution).voxelize(f), torch.randn(3, 9, 500).to(dtype))
        grid = torch.randn(3, 9, resolution, resolution, resolution).to(dtype)
        on_both(lambda g: ops.trilinear_devoxelize(g, at.to(g.device)), grid)
        on_both(lambda g: plan_on(g, points, resolution), grid.contiguous(memory_format=torch.channels_last_3d))
    finally:
        torch.use_deterministic_algorithms(False)


def plan_on(grid: Tensor, points: Tensor, resolution: int) -> Tensor:
    return ops.voxel_plan(points.to(grid.device), resolution, normalize=False).devoxelize(grid)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("num_points", "num_samples"), [(1, 3), (50, 60), (1500, 200), (3000, 50), (20_000, 30)])
def test_points(dtype: torch.dtype, num_points: int, num_samples: int) -> None:
    points = torch.randn(2, 3, num_points).to(dtype)
    chosen = reference.furthest_point_sample(points, num_samples)
    assert torch.equal(ops.furthest_point_sample(points.to(DEVICE), num_samples).cpu(), chosen)
    centers = reference.gather_points(points, chosen)
    on_both(lambda p, c: ops.ball_query(c, p, 0.7, 16), points, centers)
    features = torch.randn(2, 6, num_samples).to(dtype)
    on_both(lambda p, c, f: ops.three_nn_interpolate(p, c, f), points, centers, features)
    on_both(lambda f, i: ops.gather_points(f, i), torch.randn(2, 6, num_points).to(dtype), chosen)


def test_sums_repeat_bit_for_bit_where_that_is_asked_for() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        points = torch.rand(2, 3, 4000, device=DEVICE)
        plan, runs = ops.voxel_plan(points, 4), []
        for _ in range(5):
            features = torch.linspace(-1, 1, 2 * 8 * 4000, device=DEVICE).view(2, 8, 4000).requires_grad_()
            out = plan.devoxelize(plan.voxelize(features))
            out.square().sum().backward()
            runs.append((out.detach(), features.grad))
        assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(DEVICE == "cpu", reason="graphs are not emulated")
def test_a_graph_captures_the_operators() -> None:
    points, features = torch.rand(1, 3, 2048, device=DEVICE), torch.rand(1, 8, 2048, device=DEVICE)

    def work() -> Tensor:
        plan = ops.voxel_plan(points, 16)
        centers = ops.gather_points(points, ops.furthest_point_sample(points, 64))
        near = ops.ball_query(centers, points, 0.2, 8)
        return plan.devoxelize(plan.voxelize(features)).sum() + ops.group_points(features, near).sum()

    with torch.no_grad():
        work()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = work()
        points.copy_(torch.rand_like(points))
        graph.replay()
        torch.testing.assert_close(captured, work())


def test_values_out_of_range_never_leave_the_arrays() -> None:
    features, index = torch.rand(1, 4, 10, device=DEVICE), torch.tensor([[-5, 99]], device=DEVICE)
    assert torch.equal(ops.gather_points(features, index), features[:, :, [0, 9]])
    coords = torch.tensor([[[-9, 9], [0, 0], [0, 0]]], device=DEVICE)
    assert ops.avg_voxelize(torch.ones(1, 1, 2, device=DEVICE), coords, 4).sum() == 2
    nowhere = torch.full((1, 3, 2), torch.nan, device=DEVICE)
    assert ops.trilinear_devoxelize(torch.ones(1, 1, 4, 4, 4, device=DEVICE), nowhere).tolist() == [[[1.0, 1.0]]]
    ops.voxel_plan(nowhere, 4).voxelize(torch.ones(1, 2, 2, device=DEVICE))
    for points in (nowhere, torch.full_like(nowhere, torch.inf), torch.rand(1, 3, 50, device=DEVICE)):
        sampled = ops.furthest_point_sample(torch.cat([points, nowhere, -nowhere], dim=2), 9)
        assert sampled.min() >= 0 and sampled.max() < points.shape[2] + 4
        for near in (ops.ball_query(nowhere, points, 0.5, 4), ops.ball_query(points, nowhere, 0.5, 4)):
            assert near.min() == near.max() == 0
        ops.three_nn_interpolate(points, nowhere, torch.ones(1, 1, 2, device=DEVICE))
        ops.three_nn_interpolate(nowhere, points, torch.ones(1, 1, points.shape[2], device=DEVICE))
    stray = torch.tensor([[[-7]], [[0]], [[7]]], dtype=torch.int32, device=DEVICE).view(1, 3, 1)
    weights, table = torch.ones(1, 3, 1, device=DEVICE), torch.tensor([[[1.0, 2.0, 4.0]]], device=DEVICE)
    assert torch.ops.zoo.three_interpolate(table, stray, weights).item() == 1 + 1 + 4
    spread = torch.ops.zoo.three_interpolate_backward(torch.ones(1, 1, 1, device=DEVICE), stray, weights, 3)
    assert spread.tolist() == [[[2, 0, 1]]]
    with pytest.raises(RuntimeError, match="no points to choose from"):
        torch.ops.zoo.three_interpolate(table[:, :, :0], stray, weights)
    targets, order = stray.flatten(1), torch.tensor([[9, 1, -9]], device=DEVICE)
    torch.ops.zoo.scatter_sorted(table, targets, order, weights.flatten(1), 3)
    for wrong in ((targets.long(), order), (targets, order[:, :2]), (targets[:, :2], order[:, :2])):
        with pytest.raises(RuntimeError, match="scatter_sorted: "):
            torch.ops.zoo.scatter_sorted(table, *wrong, weights.flatten(1), 3)
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def test_values_out_of_range_are_reported_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DEBUG", "1")
    features, index = torch.rand(1, 4, 10, device=DEVICE), torch.tensor([[-5, 99]], device=DEVICE)
    with pytest.raises(RuntimeError, match=r"gather_points.*index -5 is out of range"):
        ops.gather_points(features, index)
    with pytest.raises(RuntimeError, match=r"voxel_plan.*not finite"):
        ops.voxel_plan(torch.full((1, 3, 2), torch.nan, device=DEVICE), 4)
