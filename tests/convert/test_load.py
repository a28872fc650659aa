"""A checkpoint goes into its own network only, and says what it did."""

import pytest
import torch
from torch import nn

from zoo.convert import Checkpoint, infer_arguments, load_checkpoint
from zoo.errors import CheckpointError


class Network(nn.Module):
    first_conv = "conv"
    classifier_name = "head"

    def __init__(self, channels: int = 3, classes: int = 5, wrapped: bool = False):
        super().__init__()
        conv = nn.Conv2d(channels, 4, 3)
        self.conv = nn.ModuleDict({"net": conv}) if wrapped else conv
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)


def checkpoint(network: nn.Module, **changes) -> Checkpoint:
    state = {name: torch.full_like(tensor, 3) for name, tensor in network.state_dict().items()} | changes
    return Checkpoint("some.pth", "tsm", {name: tensor for name, tensor in state.items() if tensor is not None})


def test_every_tensor_arrives():
    model = Network()
    report = load_checkpoint(model, checkpoint(Network()))
    assert str(report) == "9 of 9 tensors matched (authors' TSM layout)"
    assert all((tensor == 3).all() for tensor in model.state_dict().values())


def test_counters_may_be_missing_but_not_statistics():
    model = Network()
    state = checkpoint(Network()).state_dict
    del state["norm.num_batches_tracked"]
    assert str(load_checkpoint(model, Checkpoint("a", "pvcnn", state))).startswith("8 of 8")
    del state["norm.running_var"]
    with pytest.raises(CheckpointError, match=r"1 missing: norm\.running_var;"):
        load_checkpoint(model, Checkpoint("a", "pvcnn", state))


def test_other_network_is_refused_and_the_model_left_alone():
    model = Network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = checkpoint(Network(channels=10)).state_dict
    state["extra.weight"] = torch.ones(1)
    del state["norm.bias"]
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(model, Checkpoint("some.pth", "mmaction2", state))
    message = str(error.value)
    assert "'some.pth' (mmaction2's TSM layout) is of another network: 7 of its 9 tensors match" in message
    assert "1 missing: norm.bias" in message and "1 unexpected: extra.weight" in message
    assert "conv.weight [4, 10, 3, 3] instead of [4, 3, 3, 3]" in message and "\n" not in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_long_lists_stop_at_ten():
    extra = {f"extra{i}.weight": torch.ones(1) for i in range(30)}
    with pytest.raises(CheckpointError, match=r"30 unexpected: (extra\d\.weight, ){10}\.\.\.;"):
        load_checkpoint(Network(), checkpoint(Network(), **extra))


def test_new_classifier_keeps_its_own_values():
    model = Network(classes=2)
    with pytest.raises(CheckpointError, match="2 misshapen"):
        load_checkpoint(model, checkpoint(Network(classes=5)))
    own = model.head.weight.detach().clone()
    report = load_checkpoint(model, checkpoint(Network(classes=5)), reset_head=True)
    assert torch.equal(model.head.weight, own) and (model.conv.weight == 3).all()
    assert report.skipped == ("head.weight", "head.bias") and (report.matched, report.total) == (7, 9)
    assert str(report) == "7 of 9 tensors matched (authors' TSM layout); the classifier is new"
    with pytest.raises(CheckpointError, match="1 missing"):
        load_checkpoint(model, checkpoint(Network(), **{"norm.bias": None}), reset_head=True)


def test_half_precision_file_fits_a_single_precision_model():
    model = Network()
    load_checkpoint(model, checkpoint(Network().half()))
    assert model.conv.weight.dtype == torch.float32 and (model.conv.weight == 3).all()


@pytest.mark.parametrize("wrapped", [False, True])
def test_arguments_are_read_from_the_shapes(wrapped):
    with torch.device("meta"):
        model = Network()
    assert infer_arguments(model, checkpoint(Network(10, 27, wrapped))) == {"num_classes": 27, "in_channels": 10}
    model.in_channels = 1  # two more channels reach the first convolution
    assert infer_arguments(model, checkpoint(Network(10, 27, wrapped))) == {"num_classes": 27, "in_channels": 8}
    assert infer_arguments(model, Checkpoint("a", "zoo", {"other.weight": torch.ones(1)})) == {}


@pytest.mark.parametrize(("direction", "other"), [("online", "bidirectional"), ("bidirectional", "online")])
def test_weights_of_the_other_direction_are_refused(direction, other):
    model = Network()
    model.direction = direction
    state = checkpoint(Network()).state_dict
    with pytest.raises(CheckpointError, match=f"with {other} shifts, which look.*: name a model that has {other}"):
        load_checkpoint(model, Checkpoint("a", "zoo", state, other))
    for known in (direction, None):
        load_checkpoint(model, Checkpoint("a", "zoo", state, known))
    model.shifts = []  # a TSN does not care
    load_checkpoint(model, Checkpoint("a", "zoo", state, other))
