"""``zoo.optimize`` without a runtime takes one that agrees with the model."""

import pytest
import torch
from torch import nn

import zoo
from tests.export.trained import make
from zoo.export.optimize import AUTO


class Forgetful(nn.Module):
    """Gives something else in a graph than in PyTorch."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, points):
        return self.model(points) + torch.compiler.is_exporting()


@pytest.mark.slow
def test_the_runtime_that_is_chosen_agrees():
    model, (points,) = make("pointnet_cls", width_multiplier=0.25)
    fast = zoo.optimize(model, points)
    assert fast.runtime in AUTO
    torch.testing.assert_close(fast(points), model(points), rtol=1e-3, atol=1e-4)
    forgetful = zoo.optimize(Forgetful(model).eval(), points)
    assert forgetful.runtime in ("eager", "compile")
    torch.testing.assert_close(forgetful(points), model(points), rtol=1e-3, atol=1e-4)
