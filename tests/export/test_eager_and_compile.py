"""What ``zoo.optimize`` gives is called like the model and computes the same, in PyTorch itself."""

import copy

import pytest
import torch
from torch import nn

import zoo
from tests.export.trained import make
from zoo.errors import InputError, ZooError
from zoo.export import fast_copy
from zoo.export.agreement import DisagreementError, check_agreement
from zoo.export.eager import NORMS

MODELS = {
    "tsm_resnet18": {"num_classes": 5, "num_frames": 4},
    "tsm_resnet50_nl": {"num_classes": 5, "num_frames": 4},
    "tsm_mobilenetv2_online": {"num_classes": 5},
    "pvcnn_part_c0p25": {},
    "pvcnn_sem_c0p125": {},
    "pvcnn_cls_c0p25": {},
    "pointnet2_part_ssg": {"width_multiplier": 0.5},
    "frustum_pvcnne": {"width_multiplier": 0.5},
}


def outputs_of(model, inputs):
    torch.manual_seed(0)  # frustum networks draw points
    with torch.no_grad():
        out = model(*inputs)
    return out if isinstance(out, dict) else {"logits": out}


@pytest.mark.parametrize(("name", "arguments"), MODELS.items())
def test_the_eager_model_has_no_batch_norm_and_gives_the_same(name, arguments):
    model, inputs = make(name, **arguments)
    before = copy.deepcopy(model.state_dict())
    fast = zoo.optimize(model, inputs, runtime="eager")
    assert not any(isinstance(module, NORMS) for module in fast_copy(model, inputs).modules())
    for key, output in outputs_of(fast, inputs).items():
        torch.testing.assert_close(output, outputs_of(model, inputs)[key], rtol=1e-3, atol=1e-4)
    assert (fast.runtime, fast.precision) == ("eager", "fp32")
    assert fast.prepare_seconds > 0
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("runtime", ["eager", pytest.param("compile", marks=pytest.mark.slow)])
def test_an_online_model_follows_streams(runtime):
    model, (clip,) = make("tsm_mobilenetv2_online", num_classes=5)
    clips = torch.cat([clip, clip.flip(1)])
    fast = zoo.optimize(model, clips, runtime=runtime)
    state, fast_state = model.initial_state(2, 64), fast.initial_state(2, 64)
    with torch.no_grad():
        for frame in clips.unbind(1):
            logits, state = model.step(frame, state)
            fast_logits, fast_state = fast.step(frame, fast_state)
            torch.testing.assert_close(fast_logits, logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(fast(clips), model(clips), rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="takes a clip"):
        fast(clips.numpy())


def test_bfloat16_is_close_and_comes_back_as_float32():
    model, inputs = make("tsm_resnet18", num_classes=5, num_frames=4)
    fast = zoo.optimize(model, inputs, runtime="eager", precision="bf16")
    logits = fast(*inputs)
    assert fast.precision == "bf16" and logits.dtype == torch.float32
    assert not torch.equal(logits, model(*inputs))
    torch.testing.assert_close(logits, model(*inputs), rtol=0.1, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm_resnet18", "pvcnn_part_c0p25", "frustum_pvcnne"])
def test_compiled_models_give_the_same(name):
    model, inputs = make(name, **MODELS[name])
    fast = zoo.optimize(model, inputs, runtime="compile")
    assert fast.runtime == "compile"
    for key, output in outputs_of(fast, inputs).items():
        torch.testing.assert_close(output, outputs_of(model, inputs)[key], rtol=1e-3, atol=1e-4)


def test_a_norm_that_sees_more_than_one_layer_stays():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.first(x.flatten(0, 1))
            return (self.norm(y) + self.norm(self.last(self.second(y)))).mean((2, 3))

    model = Shared().eval()
    clip = torch.randn(2, 3, 3, 8, 8)
    fast = fast_copy(model, clip)
    assert isinstance(fast.norm, nn.BatchNorm2d) and isinstance(fast.last, nn.Identity)
    torch.testing.assert_close(fast(clip), model(clip))


def test_mistakes_are_told_in_a_sentence():
    model, inputs = make("pvcnn_cls_c0p25", num_classes=4)
    with pytest.raises(ZooError, match="no runtime 'tensorflow': the runtimes are eager, compile"):
        zoo.optimize(model, inputs, runtime="tensorflow")
    with pytest.raises(ZooError, match="no precision 'fp8'"):
        zoo.optimize(model, inputs, runtime="eager", precision="fp8")
    with pytest.raises(InputError, match="pass an example"):
        zoo.optimize(nn.Linear(3, 3), runtime="eager")
    fast = zoo.optimize(model, inputs, runtime="eager")
    with pytest.raises(InputError, match=r"points must have the shape \[B, 3, N\], not \[1, 4, 9\]"):
        fast(torch.zeros(1, 4, 9))
    with pytest.raises(InputError, match="points must be a tensor, not list"):
        fast([[0.0]])
    with pytest.raises(InputError, match="has no state"):
        fast.initial_state()


def test_what_disagrees_is_refused():
    expected = torch.linspace(-1, 1, 5000)
    check_agreement("it", ["logits"], [expected + 1e-4], [expected], "fp32")
    check_agreement("it", ["logits"], [torch.cat([expected[:-2], torch.zeros(2)])], [expected], "fp32")
    for wrong in (expected + 0.01, expected * torch.nan):
        with pytest.raises(DisagreementError, match="it disagrees with the model: logits is off by"):
            check_agreement("it", ["logits"], [wrong], [expected], "fp32")
    with pytest.raises(DisagreementError, match="of the shape"):
        check_agreement("it", ["logits"], [expected[:-1]], [expected], "fp32")
