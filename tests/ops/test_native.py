"""The compiled operators against the reference, on random shapes, types and layouts; and what compilers ask of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo import ops
from zoo.ops import reference
from zoo.ops.build import find_library

if ops.backend() != "native":
    pytest.skip("the compiled operators are not built or not wanted", allow_module_level=True)

from zoo.ops import native

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
sizes = st.integers(1, 9)


def strided(x: Tensor, layout: str) -> Tensor:
    """The same values, laid out in another way."""
    if layout == "channels last":
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "strided":
        return torch.stack([x, x], dim=-1)[..., 0]
    return x


layouts = st.sampled_from(["contiguous", "channels last", "strided"])


def close(actual: Tensor, expected: Tensor) -> None:
    tolerance = CLOSE[expected.dtype]
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.integers(1, 20), sizes, sizes, st.sampled_from([2, 3, 8]), st.booleans(), layouts, st.data())
def test_shift(clips, num_frames, channels, height, width, shift_div, online, layout, data) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    x = strided(torch.randn(clips * num_frames, channels, height, width).to(dtype), layout)
    expected = reference.temporal_shift(x, num_frames, shift_div, online)
    assert torch.equal(native.temporal_shift(x, num_frames, shift_div, online), expected)
    here = x.clone()
    assert native.temporal_shift_(here, num_frames, shift_div, online) is here and torch.equal(here, expected)
    past = torch.randn(clips * num_frames, channels // shift_div, height, width).to(dtype)
    for actual, wanted in zip(native.online_shift(x, past), reference.online_shift(x, past), strict=True):
        assert torch.equal(actual, wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), sizes, st.integers(0, 70), st.integers(1, 9), st.booleans(), layouts, st.data())
def test_voxels(batch, channels, num_points, resolution, normalize, layout, data) -> None:
    dtype, wide = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    coords = strided(torch.randn(batch, 3, num_points).to(wide), layout)
    plan, expected_plan = (module.voxel_plan(coords, resolution, normalize) for module in (native, reference))
    for actual, expected in zip(plan, expected_plan, strict=True):
        if actual.dtype == torch.float64:  # in which a root of PyTorch may be off by a rounding
            close(actual, expected)
        else:
            assert torch.equal(actual, expected)
    at, voxels, counts = plan
    features = strided(torch.randn(batch, channels, num_points).to(dtype), layout)
    grid = native.avg_voxelize(features, voxels, counts)
    close(grid, reference.avg_voxelize(features, voxels, counts))
    cube = strided(grid.unflatten(2, (resolution,) * 3), layout)
    close(native.trilinear_devoxelize(cube, at), reference.trilinear_devoxelize(cube, at))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 200), st.integers(0, 90), st.booleans(), layouts, st.data())
def test_points(batch, num_points, num_centers, on_a_lattice, layout, data) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    points = torch.randn(batch, 3, num_points)
    points = strided(((points * 2).round() if on_a_lattice else points).to(dtype), layout)
    chosen = native.furthest_point_sample(points, num_centers)
    assert torch.equal(chosen, reference.furthest_point_sample(points, num_centers))
    centers = native.gather_points(points, chosen)
    assert torch.equal(centers, reference.gather_points(points, chosen.int()))
    arguments = data.draw(st.sampled_from([0.0, 0.5, 1.0, 1e3])), data.draw(st.integers(1, 40))
    neighbors = native.ball_query(centers, points, *arguments)
    assert torch.equal(neighbors, reference.ball_query(centers, points, *arguments))
    if num_centers:
        features = torch.randn(batch, 4, num_centers).to(dtype)
        assert torch.equal(native.group_points(points, neighbors), reference.group_points(points, neighbors))
        actual = native.three_nn_interpolate(points, centers, features)
        close(actual, reference.three_nn_interpolate(points, centers, features))


@pytest.mark.parametrize("num_points", [8191, 8192, 30_000])
def test_sampling_many_points_gives_the_same_as_looking_at_all(num_points: int) -> None:
    torch.manual_seed(num_points)
    points = torch.randn(2, 3, num_points)
    points[1] = (points[1] * 8).round() / 8  # many points as far as others
    assert torch.equal(native.furthest_point_sample(points, 200), reference.furthest_point_sample(points, 200))


def arguments() -> dict[str, tuple]:
    """An example call of every operator, in float64."""
    torch.manual_seed(0)
    points, centers = torch.randn(2, 3, 12, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    at, voxels, counts = native.voxel_plan(points, 4, True)
    features = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)
    few = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    grid = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    frames = torch.randn(6, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    past = torch.randn(6, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    index = torch.randint(12, (2, 7))
    nearest, weights = torch.ops.zoo.three_nn(points, centers)
    return {
        "temporal_shift": (frames, 3, 4, 1, -1),
        "temporal_shift_": (frames.detach().clone(), 3, 4, 1, -1),
        "temporal_shift_out": (frames.detach(), 3, 4, 1, -1, torch.empty(6, 8, 2, 2, dtype=torch.float64)),
        "online_shift": (frames, past),
        "voxel_plan": (points, points.mean(2), 4, True),
        "voxel_index": (at.round().int(), 4),
        "avg_voxelize": (features, voxels, counts),
        "avg_voxelize_out": (features.detach(), voxels, counts, torch.empty(2, 3, 64, dtype=torch.float64)),
        "avg_voxelize_backward": (grid.detach().flatten(2), voxels, counts),
        "trilinear_devoxelize": (grid, at),
        "trilinear_devoxelize_out": (grid.detach(), at, torch.empty(2, 3, 12, dtype=torch.float64)),
        "trilinear_devoxelize_backward": (features.detach(), at, 4),
        "furthest_point_sample": (points, 4),
        "ball_query": (centers, points, 0.8, 4),
        "gather_points": (features, index),
        "gather_points_backward": (torch.randn(2, 3, 7, dtype=torch.float64), index, 12),
        "three_nn": (points, centers),
        "three_interpolate": (few, nearest, weights),
        "three_interpolate_backward": (features.detach(), nearest, weights, 5),
    }


@pytest.mark.parametrize("name", arguments())
def test_what_compilers_are_told_of_an_operator_is_true(name: str) -> None:
    opcheck(getattr(torch.ops.zoo, name).default, arguments()[name])


@pytest.mark.parametrize("name", [n for n, a in arguments().items() if any(getattr(x, "requires_grad", 0) for x in a)])
def test_gradients(name: str) -> None:
    operator = getattr(torch.ops.zoo, name)
    assert torch.autograd.gradcheck(operator, arguments()[name])
    assert torch.autograd.gradgradcheck(operator, arguments()[name])


def test_the_gradient_of_a_shift_in_place() -> None:
    x = torch.randn(4, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ops.temporal_shift_(x * 1, 4, 4), (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_gradients_are_summed_in_float32(dtype: torch.dtype) -> None:
    voxels, counts = native.voxel_index(torch.zeros(1, 3, 4096, dtype=torch.int32), 2)
    features = torch.ones(1, 1, 4096, dtype=dtype, requires_grad=True)
    grid = native.avg_voxelize(features, voxels, counts)
    assert grid[0, 0, 0] == 1
    index = torch.zeros(1, 5000, dtype=torch.int64)  # ones added in half precision would stop at 2048 or at 256
    native.gather_points(features, index).sum().backward()
    assert features.grad is not None and features.grad[0, 0, 0] == torch.tensor(5000.0).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided", "expanded"])
def test_gradients_are_those_of_the_reference(dtype: torch.dtype, layout: str) -> None:
    torch.manual_seed(0)
    points, centers = torch.randn(2, 3, 40), torch.randn(2, 3, 9)
    at, voxels, counts = reference.voxel_plan(points, 4, True)
    index = torch.randint(40, (2, 60))
    calls = {
        (5, 40): lambda ops, x: ops.avg_voxelize(x, voxels, counts),
        (5, 4, 4, 4): lambda ops, x: ops.trilinear_devoxelize(x, at),
        (6, 40): lambda ops, x: ops.gather_points(x, index),
        (5, 9): lambda ops, x: ops.three_nn_interpolate(points, centers, x),
    }
    for shape, call in calls.items():
        grads = []
        for implementation in (native, reference):
            torch.manual_seed(1)
            x = torch.randn(2, *shape).to(dtype).requires_grad_()
            out = call(implementation, strided(x, layout))
            upstream = torch.randn(2, *out.shape[1:]).to(dtype)
            upstream = upstream[:, :, :1].expand_as(out) if layout == "expanded" else strided(upstream, layout)
            grads.append(torch.autograd.grad(out, x, upstream)[0])
        close(*grads)


def test_a_shift_in_place_is_not_hidden_from_autograd() -> None:
    x = torch.rand(4, 8, 2, 2)
    weight = torch.rand(4, 8, 2, 2, requires_grad=True)
    product = (x * weight).sum()  # its gradient needs x as it is now
    ops.temporal_shift_(x, 4)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("size", [(6, 8, 1, 1), (6, 8, 3, 1), (6, 1, 3, 3), (1, 8, 3, 3), (6, 8, 3, 3)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_compilers_know_how_shifted_frames_lie_in_memory(size, memory_format) -> None:
    frames = torch.randn(12, 16, 5, 5).contiguous(memory_format=memory_format)
    num_frames = min(3, size[0])
    for x in (torch.randn(size).contiguous(memory_format=memory_format), frames[: size[0], : size[1]], frames[:1]):
        opcheck(torch.ops.zoo.temporal_shift.default, (x, num_frames if x.shape[0] > 1 else 1, 2, 1, -1))
        past = torch.randn(12, 4, *x.shape[2:])[: x.shape[0], : x.shape[1]]
        opcheck(torch.ops.zoo.online_shift.default, (x, past))


@pytest.mark.slow
def test_a_model_compiles_in_one_piece_and_exports() -> None:
    model = zoo.create_model("pvcnnpp_sem_c0p5", num_classes=3, in_channels=6, width_multiplier=0.125).eval()
    points = torch.rand(1, 6, 1100)
    with torch.no_grad():
        expected = model(points)
        exported = torch.export.export(model, (points,)).module()(points)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(points)
    torch.testing.assert_close(exported, expected)
    torch.testing.assert_close(compiled, expected)


def test_autocast() -> None:
    model = zoo.create_model("pvcnn_sem_c0p125", num_classes=3, in_channels=6)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.rand(2, 6, 64)).float().square().mean()
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    points, results, before = torch.rand(8, 16, 3000), [], torch.get_num_threads()
    coords, centers = points[:, :3], points[:, :3, :700]
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            features = points.clone().requires_grad_()
            plan = ops.voxel_plan(coords, 16)
            near = ops.ball_query(centers, coords, 0.2, 16)
            parts = [
                plan.devoxelize(plan.voxelize(features)),
                ops.three_nn_interpolate(coords, centers, features[:, :, :700]),
                ops.group_points(features, near),
                ops.temporal_shift(features.view(8, 16, 50, 60), 4),
            ]
            torch.stack([part.square().sum() for part in parts]).sum().backward()
            chosen = ops.furthest_point_sample(coords, 20)
            results.append([features.grad, plan.coords, plan.counts, near, chosen, *parts])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(actual, expected) for actual, expected in zip(result, results[0], strict=True))


def test_operations_are_counted() -> None:
    with FlopCounterMode(display=False) as counter:
        ops.trilinear_devoxelize(torch.rand(2, 4, 8, 8, 8), torch.rand(2, 3, 10))
    assert counter.get_total_flops() == 2 * 8 * 2 * 4 * 10
    grid = torch.rand(2, 4, 8, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        ops.trilinear_devoxelize(grid, torch.rand(2, 3, 10)).sum().backward()
    assert counter.get_total_flops() == 2 * (2 * 8 * 2 * 4 * 10)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_coordinates_that_are_no_numbers_are_refused_by_name(value: float) -> None:
    points = torch.rand(1, 3, 20)
    points[0, 1, 7] = value
    good = torch.rand(1, 3, 20)
    for name, call in {
        "voxel_plan": lambda: ops.voxel_plan(points, 4),
        "trilinear_devoxelize": lambda: ops.trilinear_devoxelize(torch.rand(1, 1, 4, 4, 4), points),
        "furthest_point_sample": lambda: ops.furthest_point_sample(points, 2),
        "ball_query": lambda: ops.ball_query(good, points, 0.1, 2),
        "three_nn_interpolate": lambda: ops.three_nn_interpolate(good, points, torch.rand(1, 2, 20)),
    }.items():
        with pytest.raises(RuntimeError, match=f"{name}: coordinate {value}"):
            call()


def test_clouds_without_a_finite_extent_are_refused() -> None:
    huge = torch.full((1, 3, 2048), 2e35)
    huge[..., 1::2] *= 0.99  # finite, but their sum is not
    wide = torch.tensor([[[-1e30, 1e30]] * 3])  # nor is the square of this extent
    for module in (native, reference):
        far = torch.tensor([[[3.4e38, -3.4e38, -3.4e38]] * 3])
        for coords, normalize in ((huge, True), (huge, False), (wide, True), (far, False)):
            with pytest.raises(RuntimeError, match="scale them down"):
                module.voxel_plan(coords, 8, normalize)


def test_plans_made_by_hand_are_checked() -> None:
    features = torch.rand(1, 2, 3)
    counts = torch.ones(1, 8, dtype=torch.int32)
    for voxels, words in {
        torch.tensor([[0, 1, 8]], dtype=torch.int32): "voxel 8 .*out of range",
        torch.tensor([[0, -1, 1]], dtype=torch.int32): "voxel -1 .*out of range",
        torch.tensor([[0, 1, 2]]): "int32",
    }.items():
        plan = ops.VoxelPlan(2, torch.rand(1, 3, 3), voxels, counts)
        with pytest.raises(RuntimeError, match=words):
            plan.voxelize(features)


@pytest.mark.parametrize(
    "call",
    [
        lambda zoo: zoo.voxel_plan(torch.rand(2, 3, 5), torch.rand(1, 3), 4, True),
        lambda zoo: zoo.voxel_plan(torch.rand(2, 3, 5), torch.rand(2, 3), 0, True),
        lambda zoo: zoo.voxel_index(torch.zeros(1, 2, 5, dtype=torch.int32), 4),
        lambda zoo: zoo.furthest_point_sample(torch.rand(1, 3, 0), 2),
        lambda zoo: zoo.furthest_point_sample(torch.rand(1, 3, 4), -1),
        lambda zoo: zoo.ball_query(torch.rand(2, 3, 4), torch.rand(1, 3, 5), 0.1, 2),
        lambda zoo: zoo.three_nn(torch.rand(1, 3, 4), torch.rand(1, 3, 5).double()),
    ],
)
def test_kernels_called_by_themselves_refuse_what_are_no_clouds(call: Callable[..., object]) -> None:
    with pytest.raises(RuntimeError, match=r"clouds must|resolution must|not points enough"):
        call(torch.ops.zoo)


def test_what_is_kept_for_a_result_must_fit_it() -> None:
    x, at = torch.rand(4, 8, 2, 2), torch.rand(1, 3, 5)
    with pytest.raises(RuntimeError, match="out must"):
        torch.ops.zoo.temporal_shift_out(x, 4, 8, 1, -1, torch.empty(2, 8, 2, 2))
    with pytest.raises(RuntimeError, match="out must"):
        torch.ops.zoo.trilinear_devoxelize_out(torch.rand(1, 2, 4, 4, 4), at, torch.empty(1, 2, 4))


def test_a_coordinate_is_judged_as_it_is_computed_with() -> None:
    at = torch.full((1, 3, 1), 3 + 1e-12, dtype=torch.float64)  # in float32, exactly 3
    for module in (native, reference):
        assert module.trilinear_devoxelize(torch.ones(1, 1, 4, 4, 4), at).item() == 1
        with pytest.raises(RuntimeError, match="out of range"):
            module.trilinear_devoxelize(torch.ones(1, 1, 4, 4, 4, dtype=torch.float64), at)


def at_offset(x: Tensor, offset: int) -> Tensor:
    """The same values and strides, in memory that begins ``offset`` elements later."""
    room = torch.empty(x.numel() + offset, dtype=x.dtype)
    return room.as_strided(x.shape, x.stride(), offset).copy_(x)


@pytest.mark.parametrize("size", [(8, 16, 97, 101), (6, 40, 64, 64), (2, 8, 300, 300), (4, 64, 112, 112)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_large_and_unaligned_frames_are_shifted_too(size, memory_format, offset: int) -> None:
    x = at_offset(torch.rand(size).contiguous(memory_format=memory_format), offset)
    for first, second in ((1, -1), (-1, 0)):
        expected = reference.temporal_shift(x, 2, 8, second == 0)
        out = at_offset(torch.empty_like(x), offset)
        torch.ops.zoo.temporal_shift_out(x, 2, 8, first, second, out)
        assert torch.equal(out, expected)
        assert torch.equal(torch.ops.zoo.temporal_shift(x, 2, 8, first, second), expected)
        here = at_offset(x, offset)
        assert torch.equal(native.temporal_shift_(here, 2, 8, second == 0), expected)


@pytest.mark.parametrize("channels", [1, 4, 7, 64, 65, 130])
@pytest.mark.parametrize("resolution", [1, 2, 5])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "every other channel", "expanded"])
def test_any_number_of_channels_is_devoxelized(channels: int, resolution: int, layout: str) -> None:
    torch.manual_seed(0)
    size = (resolution, resolution, resolution)
    grid = torch.rand(2, channels, *size)
    if layout == "every other channel":
        grid = torch.rand(2, 2 * channels, *size)[:, ::2]
    elif layout == "expanded":
        grid = torch.rand(2, 1, *size).expand(2, channels, *size)
    else:
        grid = strided(grid, layout)
    at = torch.rand(2, 3, 33) * (resolution - 1)
    at[:, :, ::2] = at[:, :, ::2].round()  # on planes of the grid
    expected = reference.trilinear_devoxelize(grid, at)
    close(native.trilinear_devoxelize(grid, at), expected)
    out = torch.empty_like(expected)
    torch.ops.zoo.trilinear_devoxelize_out(grid, at, out)
    close(out, expected)


def test_kept_outputs_of_backward_passes_are_the_gradients() -> None:
    torch.manual_seed(0)
    at, voxels, counts = native.voxel_plan(torch.randn(2, 3, 50), 4, True)
    features, grid = torch.empty(2, 6, 50), torch.empty(2, 6, 4, 4, 4)
    of_grid, of_points = torch.randn(2, 6, 64), torch.randn(2, 6, 50)
    torch.ops.zoo.avg_voxelize_backward_out(of_grid, voxels, counts, features)
    assert torch.equal(features, torch.ops.zoo.avg_voxelize_backward(of_grid, voxels, counts))
    torch.ops.zoo.trilinear_devoxelize_backward_out(of_points, at, grid)
    assert torch.equal(grid, torch.ops.zoo.trilinear_devoxelize_backward(of_points, at, 4))
    flat = torch.empty(2, 6, 64)
    torch.ops.zoo.avg_voxelize_out(of_points, voxels, counts, flat)
    assert torch.equal(flat, torch.ops.zoo.avg_voxelize(of_points, voxels, counts))


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_what_has_no_weight_does_not_count_even_if_it_is_infinite(layout: str) -> None:
    grid = torch.zeros(1, 2, 3, 3, 3)
    grid[:, :, 1, 1, 1], grid[:, :, 2] = 5, math.inf
    at = torch.tensor([[[1.0, 2.0], [1.0, 0.0], [1.0, 0.0]]])  # on planes: the neighbours are infinite
    for module in (native, reference):
        leaf = strided(grid, layout).requires_grad_()
        out = module.trilinear_devoxelize(leaf, at)
        assert out.tolist() == [[[5, math.inf]] * 2]
        (gradient,) = torch.autograd.grad(out, leaf, torch.full_like(out, math.inf))
        assert gradient[0, 0, 1, 1, 1] == math.inf and not gradient.isnan().any()


def test_operators_that_are_called_past_the_door_check_what_they_read() -> None:
    zoo_ops, grid, at = torch.ops.zoo, torch.rand(2, 3, 4, 4, 4), torch.rand(2, 3, 5)
    x, index = torch.rand(2, 3, 5), torch.zeros(2, 4, dtype=torch.int64)
    calls = [
        lambda: zoo_ops.trilinear_devoxelize(grid.double(), at),
        lambda: zoo_ops.trilinear_devoxelize(grid, at[:1]),
        lambda: zoo_ops.trilinear_devoxelize(grid[..., :2], at),
        lambda: zoo_ops.trilinear_devoxelize(x, at),
        lambda: zoo_ops.trilinear_devoxelize_backward(x, at[:, :, :3], 4),
        lambda: zoo_ops.trilinear_devoxelize_backward(x, at, 0),
        lambda: zoo_ops.online_shift(torch.rand(2, 8, 3, 3), torch.rand(2, 9, 3, 3)),
        lambda: zoo_ops.temporal_shift(torch.rand(7, 8, 3, 3), 4, 8, 1, -1),
        lambda: zoo_ops.temporal_shift(torch.rand(8, 8, 3, 3), 0, 8, 1, -1),
        lambda: zoo_ops.temporal_shift(torch.rand(8, 8, 3, 3), 4, 0, 1, -1),
        lambda: zoo_ops.gather_points(x, index[:1]),
        lambda: zoo_ops.gather_points_backward(x, index, 9),
        lambda: zoo_ops.three_interpolate(x, index.int()[:, None], torch.rand(2, 1, 4)),
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()


@pytest.mark.parametrize("name", ["_C_cpu", "_C_cuda"])
def test_no_path_of_the_machine_that_built_it_shows(name: str) -> None:
    path = find_library(name)
    if path is None:
        pytest.skip(f"{name} is not built")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a build with sanitisers names its files on purpose")
    content = path.read_bytes()
    for module in (reference, torch):
        assert str(Path(str(module.__file__)).parent).encode() not in content
