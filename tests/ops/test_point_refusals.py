"""Malformed arguments are refused with a text that says what is wrong; nothing is read or written out of range."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zoo import ops

FRAMES = torch.rand(4, 8, 2, 2)
POINTS, FEATURES, INDEX = torch.rand(2, 3, 8), torch.rand(2, 4, 8), torch.zeros(2, 3, 8, dtype=torch.int32)
MANY = torch.empty(1, 3, 2**31, device="meta")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ops.avg_voxelize(FEATURES[0], INDEX, 4), r"avg_voxelize: features .*\[B, C, N\], not \[4, 8\]"),
        (lambda: ops.avg_voxelize(FEATURES, POINTS, 4), "int32 or int64, not torch.float32"),
        (lambda: ops.avg_voxelize(FEATURES, INDEX[:, :2], 4), r"\[B, 3, N\], not \[2, 2, 8\]"),
        (lambda: ops.avg_voxelize(FEATURES[:, :, :5], INDEX, 4), "5 features for 8 coordinates"),
        (lambda: ops.avg_voxelize(FEATURES[:1], INDEX, 4), "one batch size, not features 1, coords 2"),
        (lambda: ops.avg_voxelize(FEATURES, INDEX, 0), "resolution"),
        (lambda: ops.avg_voxelize(FEATURES.to("meta"), INDEX, 4), "one device"),
        (lambda: ops.trilinear_devoxelize(torch.rand(2, 4, 3, 3, 2), POINTS), "cube"),
        (lambda: ops.trilinear_devoxelize(torch.rand(2, 4, 3, 3, 3), INDEX), "float32, .*not torch.int32"),
        (lambda: ops.furthest_point_sample(FEATURES, 2), "furthest_point_sample: points"),
        (lambda: ops.furthest_point_sample(POINTS, -1), "num_samples"),
        (lambda: ops.furthest_point_sample(POINTS, 2.5), "num_samples must be a whole number"),
        (lambda: ops.voxel_plan(POINTS.to(torch.float8_e4m3fn), 4), "not torch.float8_e4m3fn"),
        (lambda: ops.voxel_plan(POINTS, 4.0), "resolution must be a whole number"),
        (lambda: ops.voxel_plan(POINTS, 4).devoxelize(torch.tensor(1.0)), "grid"),
        (lambda: ops.voxel_plan(MANY, 4), r"at most 2\^31 - 1"),
        (lambda: ops.ball_query(MANY[:, :, :4], MANY, 0.1, 2), r"ball_query: points .* at most 2\^31 - 1"),
        (lambda: ops.avg_voxelize(MANY, MANY.int(), 4), r"avg_voxelize: coords .* at most 2\^31 - 1"),
        (lambda: ops.temporal_shift(FRAMES.to(torch.float8_e5m2), 4), "not torch.float8_e5m2"),
        (lambda: ops.temporal_shift(FRAMES, 4, shift_div=2.5), "shift_div must be a whole number"),
        (lambda: ops.temporal_shift_(FRAMES[:1].expand(4, 8, 2, 2), 4), "share memory"),
        (lambda: ops.furthest_point_sample(POINTS[:, :, :0], 1), "at least one"),
        (lambda: ops.ball_query(POINTS, POINTS.double(), 0.1, 2), "one dtype"),
        (lambda: ops.ball_query(POINTS, POINTS, 0.1, 0), "num_neighbors must be .* not 0"),
        (lambda: ops.ball_query(POINTS, POINTS, float("nan"), 1), "radius must be .* not nan"),
        (lambda: ops.ball_query(POINTS, POINTS, None, 1), "radius must be a number .* not None"),
        (lambda: ops.ball_query(POINTS, POINTS[:, :, :0], 0.1, 1), "at least one"),
        (lambda: ops.gather_points(FEATURES, INDEX), "gather_points: indices"),
        (lambda: ops.gather_points(FEATURES, INDEX[:, 0].short()), "int16"),
        (lambda: ops.group_points(FEATURES, INDEX[:, 0]), "group_points: indices"),
        (lambda: ops.three_nn_interpolate(POINTS, POINTS[:, :, :2], FEATURES), "8 features for 2 centers"),
        (lambda: ops.three_nn_interpolate(POINTS, POINTS[:, :, :0], FEATURES[:, :, :0]), "no centers"),
    ],
)
def test_wrong_shapes_and_dtypes_are_a_value_error(call: Callable[[], Tensor], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ops.avg_voxelize(FEATURES, INDEX + 4, 4), r"avg_voxelize: coordinate 4 .*\[0, 3\]"),
        (lambda: ops.avg_voxelize(FEATURES, INDEX - 1, 4), "avg_voxelize: coordinate -1"),
        (lambda: ops.trilinear_devoxelize(torch.rand(2, 4, 3, 3, 3), POINTS + 1.5), "trilinear_devoxelize: coordinate"),
        (lambda: ops.trilinear_devoxelize(torch.rand(2, 4, 3, 3, 3), POINTS * torch.nan), "coordinate nan"),
        (lambda: ops.gather_points(FEATURES, INDEX[:, 0] + 8), r"gather_points.*: index 8 .*\[0, 7\]"),
        (lambda: ops.group_points(FEATURES, INDEX - 2), "group_points: index -2"),
    ],
)
def test_values_out_of_range_are_a_runtime_error(call: Callable[[], Tensor], text: str) -> None:
    with pytest.raises(RuntimeError, match=text):
        call()


def test_fake_tensors_have_no_values_to_look_at() -> None:
    with FakeTensorMode() as mode:
        features, index = mode.from_tensor(FEATURES), mode.from_tensor(INDEX)
        assert ops.avg_voxelize(features, index, 4).shape == (2, 4, 4, 4, 4)


def test_the_environment_chooses_the_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_OPS", "reference")
    assert ops.backend() == "reference"
    monkeypatch.setenv("ZOO_OPS", "cuda")
    with pytest.raises(RuntimeError, match="not 'cuda'"):
        ops.backend()


def ask_without_compiled_operators(tmp_path: Path, code: str, wanted: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` where nothing was built."""
    environment = os.environ | {"ZOO_CACHE": str(tmp_path), "ZOO_OPS": wanted}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_without_compiled_operators_plain_pytorch_serves_after_one_warning(tmp_path: Path) -> None:
    code = "import torch, zoo\nfor _ in range(3): zoo.ops.furthest_point_sample(torch.rand(1, 3, 5), 2)\n"
    code += "print(zoo.ops.backend())"
    done = ask_without_compiled_operators(tmp_path, code, "auto")
    assert done.returncode == 0 and done.stdout == "reference\n"
    assert done.stderr.count("zoo build-ops") == 1
    assert not ask_without_compiled_operators(tmp_path, code, "reference").stderr


def test_compiled_operators_that_are_wanted_but_not_built_are_an_error(tmp_path: Path) -> None:
    code = "import torch, zoo; zoo.ops.furthest_point_sample(torch.rand(1, 3, 5), 2)"
    done = ask_without_compiled_operators(tmp_path, code, "native")
    assert done.returncode == 1 and "not built: run `zoo build-ops`" in done.stderr


def test_what_is_no_tensor_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="furthest_point_sample: points must be a tensor, not list"):
        ops.furthest_point_sample([[0.0, 1.0]], 1)  # type: ignore[arg-type]


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert torch.equal(ops.temporal_shift(FRAMES, np.int64(4)), ops.temporal_shift(FRAMES, 4))
    points = torch.rand(1, 3, 9)
    assert torch.equal(ops.furthest_point_sample(points, np.int32(5)), ops.furthest_point_sample(points, 5))
    with pytest.raises(ValueError, match="a whole number of at least 1"):
        ops.temporal_shift(FRAMES, np.True_)


def test_a_parameter_is_not_overwritten_by_a_shift_in_place() -> None:
    frames = FRAMES.clone().requires_grad_()
    with pytest.raises(ValueError, match="a leaf that wants a gradient cannot be overwritten: use temporal_shift"):
        ops.temporal_shift_(frames, 4)
    assert torch.equal(frames, FRAMES)
