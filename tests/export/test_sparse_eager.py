"""Optimised for PyTorch itself, a point-voxel network skips empty voxels; other runtimes get plain convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo.export import fast_copy
from zoo.layers.sparse_pvconv import SparsePVConv


def sparse_layers(model: nn.Module) -> list[SparsePVConv]:
    return [module for module in model.modules() if isinstance(module, SparsePVConv)]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1)])
def test_the_eager_runtime_skips_empty_voxels(precision: str, tolerance: float) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("pvcnn_part_c0p25", num_classes=5).eval()
    inputs = torch.rand(2, 6, 300) * 2 - 1, torch.tensor([0, 3])
    optimized = zoo.optimize(model, inputs, runtime="eager", precision=precision)
    layers = sparse_layers(optimized.session.network)
    assert len(layers) == 3 and not sparse_layers(model) and not sparse_layers(fast_copy(model, inputs))
    # A grid of 32 voxels a side with 300 points in it is nearly empty; units for matrices make it cheap in bf16.
    if precision == "fp32":
        assert layers[0].choice.sparse == (zoo.ops.backend() == "native")
    with torch.inference_mode():
        expected = model(*inputs)
    torch.testing.assert_close(optimized(*inputs), expected, rtol=0, atol=tolerance * expected.abs().max().item())
