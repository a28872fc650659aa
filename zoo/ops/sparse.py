"""The voxel branch of a point-voxel convolution where there is something to compute, checked at the door.

For inference only: no gradient goes through. Training, and crowded grids, take the dense convolutions.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from zoo.ops import reference, sparse_reference
from zoo.ops.backends import implementation
from zoo.ops.branch import VoxelBranch
from zoo.ops.checks import check_float, check_together
from zoo.ops.plan import VoxelPlan


def sparse_voxel_branch(
    features: Tensor, plan: VoxelPlan, branch: VoxelBranch, with_mean: bool = False
) -> tuple[Tensor, Tensor]:
    """Voxelise, convolve twice and devoxelise (Point-Voxel CNN, section 3.2), without looking at empty voxels.

    The result is that of the dense convolutions: where no point is near, they give the empty response of ``branch``.

    Args:
        features: [B, C, N], of the branch's dtype.
        plan: where the points lie, in a grid of the branch's resolution.
        branch: both convolutions.
        with_mean: give the mean over the whole grid too, which squeeze-and-excitation needs.

    Returns:
        the values at the points, [B, C2, N], and the mean over the grid, [B, C2] in float32 or wider; [B, 0] where it
        is not wanted.

    Raises:
        ValueError: wrong shapes or dtypes, or the three do not fit together.
        RuntimeError: a gradient is wanted, or the plan holds a voxel or coordinate out of range.
    """
    name = "sparse_voxel_branch"
    _check_plan(name, plan)
    if not isinstance(branch, VoxelBranch):
        raise ValueError(f"{name}: branch must be what voxel_branch makes, not {type(branch).__name__}")
    check_float(name, "features", features, f"[B, {branch.channels[0]}, N]")
    check_together(name, features=features, coords=plan.coords, voxels=plan.voxels)
    if features.shape[2] != plan.voxels.shape[1]:
        raise ValueError(f"{name}: {features.shape[2]} features for {plan.voxels.shape[1]} points: give one for each")
    if plan.resolution != branch.resolution:
        raise ValueError(f"{name}: a branch for {branch.resolution} voxels a side, and a plan of {plan.resolution}")
    if features.dtype != branch.dtype or features.device != branch.bias.device:
        raise ValueError(
            f"{name}: features {features.dtype} on {features.device} for weights {branch.dtype} on "
            f"{branch.bias.device}: make the branch from weights like the features"
        )
    if torch.is_grad_enabled() and features.requires_grad:
        raise RuntimeError(f"{name}: is for inference: take the dense convolutions where gradients are wanted")
    out: tuple[Tensor, Tensor] = _module(features.device).sparse_voxel_branch(
        features, plan.coords, plan.voxels, branch, with_mean
    )
    return out


def sparse_work(plan: VoxelPlan, with_mean: bool = False) -> tuple[int, int]:
    """What :func:`sparse_voxel_branch` would compute: rows times places of the kernel, for both convolutions.

    A dense convolution computes 27 for every voxel, border or not. One unit is C * C' multiplications.

    Args:
        plan: where the points of all clouds lie.
        with_mean: as there.

    Raises:
        ValueError: the plan is none.
    """
    _check_plan("sparse_work", plan)
    module = _module(plan.voxels.device)
    first, second = module.sparse_work(plan.coords, plan.voxels, plan.resolution, with_mean).tolist()
    return first, second


def _check_plan(name: str, plan: VoxelPlan) -> None:
    if not isinstance(plan, VoxelPlan):
        raise ValueError(f"{name}: plan must be what voxel_plan makes, not {type(plan).__name__}")


def _module(device: torch.device) -> ModuleType:
    """The module that computes on ``device``; there are kernels for CPUs."""
    if implementation(device) is reference or device.type == "cuda":
        return sparse_reference
    from zoo.ops import sparse_native

    return sparse_native
