"""``zoo.optimize`` without a runtime takes one that agrees with the model."""

import pytest
import torch
from torch import nn

import zoo
from tests.export.trained import make
from zoo.errors import InputError
from zoo.export.optimize import AUTO, _fastest, network_of, network_trials
from zoo.export.optimized import OptimizedModel


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


def test_the_fastest_is_the_one_that_takes_least():
    model, (points,) = make("pointnet_cls", width_multiplier=0.25)
    network = network_of(model, (points,))
    trial = network_trials(model, network, (points,))[0]

    class Repeated:
        precision = "fp32"

        def __init__(self, count):
            self.count = count

        def __call__(self, *inputs):
            return [network(*inputs) for _ in range(self.count)][-1]

    ready = [
        OptimizedModel(model, Repeated(count), network.signature, f"{count} times", 0.0, points.device)
        for count in (32, 1, 16)
    ]
    with torch.inference_mode():
        assert _fastest(ready, trial).runtime == "1 times"


def test_a_runtime_that_fails_in_its_own_way_is_left_out():
    class Refusing(nn.Module):
        """Cannot be compiled or exported, for a reason that no runtime knows."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, points):
            if torch.compiler.is_compiling():
                raise LookupError("there is no such kernel")
            return self.model(points)

    model, (points,) = make("pointnet_cls", width_multiplier=0.125)
    assert zoo.optimize(Refusing().eval(), points).runtime in ("eager", "compile")


def test_what_optimize_cannot_do_is_told_in_a_sentence():
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.125)
    for options, word in [
        ({"precision": "fp16"}, "there is no precision"),
        ({"calibration": [torch.rand(1, 3, 20)]}, "calibration is for int8"),
        ({"num_threads": 0}, "at least 1"),
        ({"precision": "int8", "calibration": ["clip.mp4"]}, "no tensor"),
    ]:
        with pytest.raises(InputError, match=word):
            zoo.optimize(model, torch.rand(1, 3, 20), "eager", **options)
    with pytest.raises(InputError, match="not finite"):
        zoo.optimize(model, torch.full((1, 3, 20), torch.nan), "eager")
    with pytest.raises(InputError, match=r"points \[B, C, N\], not \[2, 3\]"):
        zoo.optimize(nn.Linear(3, 4).eval(), torch.rand(2, 3), "eager")
    with pytest.raises(InputError, match="tensors, not ndarray"):
        zoo.optimize(model, torch.rand(1, 3, 20).numpy(), "eager")
    online = zoo.create_model("tsm_mobilenetv2_online", num_classes=3)
    with pytest.raises(InputError, match=r"a clip \[B, T, C, H, W\], not \[3, 32, 32\]"):
        zoo.optimize(online, torch.rand(3, 32, 32), "eager")


def test_a_model_keeps_the_modes_of_its_layers():
    model = zoo.create_model("pointnet_cls", num_classes=3, width_multiplier=0.125)
    frozen = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d))
    frozen.eval()
    zoo.optimize(model, torch.rand(1, 3, 20), "eager")
    assert model.training and not frozen.training
