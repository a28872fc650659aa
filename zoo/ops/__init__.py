"""The operators of the zoo; wrong shapes and dtypes are a ``ValueError`` that says what to pass."""

from zoo.ops.backends import backend
from zoo.ops.branch import VoxelBranch, voxel_branch
from zoo.ops.mobilenet import (
    ConvWeights,
    InvertedResidual,
    Mobilenet,
    MobilenetRanges,
    mobilenet_features,
    online_mobilenet_features,
    prepare_mobilenet,
)
from zoo.ops.plan import VoxelPlan, voxel_plan
from zoo.ops.points import (
    avg_voxelize,
    ball_query,
    furthest_point_sample,
    gather_points,
    group_points,
    three_nn_interpolate,
    trilinear_devoxelize,
)
from zoo.ops.pointwise import online_pointwise_conv, shifted_pointwise_conv
from zoo.ops.shift import online_shift, temporal_shift, temporal_shift_
from zoo.ops.sparse import sparse_voxel_branch, sparse_work

__all__ = [
    "ConvWeights",
    "InvertedResidual",
    "Mobilenet",
    "MobilenetRanges",
    "VoxelBranch",
    "VoxelPlan",
    "avg_voxelize",
    "backend",
    "ball_query",
    "furthest_point_sample",
    "gather_points",
    "group_points",
    "mobilenet_features",
    "online_mobilenet_features",
    "online_pointwise_conv",
    "online_shift",
    "prepare_mobilenet",
    "shifted_pointwise_conv",
    "sparse_voxel_branch",
    "sparse_work",
    "temporal_shift",
    "temporal_shift_",
    "three_nn_interpolate",
    "trilinear_devoxelize",
    "voxel_branch",
    "voxel_plan",
]
