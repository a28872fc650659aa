"""What a run starts from, and how far each of its layers then moves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import zoo
from tests.engine.small_sets import small_set
from zoo.engine.config import InitConfig, OptimConfig, TrainConfig
from zoo.engine.data import open_sets
from zoo.engine.init import init_weights
from zoo.engine.networks import create_network
from zoo.engine.optim import create_optimizer, freeze
from zoo.errors import CheckpointError, InputError


def changed(before, model):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(before[name], tensor)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A TSN of five classes, every tensor of which is unlike that of a new model."""
    state = zoo.create_model("tsn_mobilenetv2", num_classes=5).state_dict()
    save_file({name: tensor + 1 for name, tensor in state.items()}, tmp_path / "five.safetensors")
    return tmp_path / "five.safetensors"


def test_a_backbone_is_taken_with_its_normalisations_or_without(checkpoint):
    model = zoo.create_model("tsm_mobilenetv2", num_classes=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    init_weights(model, str(checkpoint), batch_norms=False)
    convolutions = {name for name in before if name.startswith("backbone.") and before[name].dim() == 4}
    assert changed(before, model) == convolutions
    assert init_weights(model, str(checkpoint)) == len(before) - 2
    assert changed(before, model) == {name for name in before if name.startswith("backbone.")}


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    with pytest.raises(CheckpointError, match="no tensor has the name and shape of one here"):
        init_weights(zoo.create_model("pointnet_cls", num_classes=2), str(checkpoint))
    with pytest.raises(CheckpointError, match="of another backbone"):
        init_weights(zoo.create_model("tsm_resnet18", num_classes=2), str(checkpoint))


def test_an_imagenet_network_is_taken_whole(test_data: Path):
    archive = test_data / "weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_int8_ptq_perchannel.npz"
    model = zoo.create_model("tsm_mobilenetv2", num_classes=0, tf_padding=True)
    assert init_weights(model, str(archive)) == len(model.state_dict())


def test_an_imagenet_network_is_refused_without_what_it_learnt_with(test_data, tmp_path):
    archive = test_data / "weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_int8_ptq_perchannel.npz"
    config = TrainConfig("tsm_mobilenetv2", small_set("videos", tmp_path).data, init=InitConfig(str(archive)))
    sets = open_sets(config.data, config.model)

    def create(**other):
        return create_network(replace(config, **other), sets, torch.device("cpu"), start=True)

    padded = {"model_args": {"tf_padding": True}}
    ranges = {"data": replace(config.data, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))}
    frozen = {"optim": replace(config.optim, batch_norm="frozen")}
    for lacking in ({}, padded, padded | frozen, padded | ranges, ranges | frozen):
        with pytest.raises(InputError, match=r"add --model_args.tf_padding true --data.mean .*batch_norm frozen"):
            create(**lacking)
    create(**padded, **ranges, **frozen)
    create(**padded, **frozen, data=replace(config.data, frame_differences=True))  # which have its range
    create(init=replace(config.init, batch_norms=False))


@pytest.mark.parametrize("name", ["tsm_mobilenetv2", "tsm_resnet18"])
def test_layer_decay_slows_the_first_layers_down(name):
    model = zoo.create_model(name, num_classes=2)
    freeze(model, [model.first_conv])
    optimizer = create_optimizer([model], OptimConfig(layer_decay=0.5, weight_decay=0.1), batch_size=8)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    scales = [scale[id(parameter)] for parameter in model.parameters() if parameter.requires_grad]
    assert scales == sorted(scales) and scales[-1] == 1.0 and scales[0] < 0.01
    assert id(model.get_submodule(model.first_conv).weight) not in scale
    decays = {p.dim() > 1: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {True: 0.1, False: 0.0}


def test_layer_decay_of_a_point_model_is_refused():
    with pytest.raises(InputError, match=r"optim\.layer_decay is for video models"):
        create_optimizer([zoo.create_model("pointnet_cls", num_classes=2)], OptimConfig(layer_decay=0.5), batch_size=8)
