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
from zoo.errors import InputError


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


def test_an_imagenet_network_is_taken_whole(test_data: Path):
    archive = test_data / "weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_int8_ptq_perchannel.npz"
    model = zoo.create_model("tsm_mobilenetv2", num_classes=0, tf_padding=True)
    assert init_weights(model, str(archive)) == len(model.state_dict())


def test_it_is_said_where_what_an_imagenet_network_learnt_with_is_left_out(test_data, tmp_path, caplog):
    archive = test_data / "weights/mobilenet_v2_imagenet/mobilenet_v2_imagenet_int8_ptq_perchannel.npz"
    config = TrainConfig("tsm_mobilenetv2", small_set("videos", tmp_path).data, init=InitConfig(str(archive)))
    sets = open_sets(config.data, config.model)
    create_network(config, sets, torch.device("cpu"), start=True)
    assert "--model_args.tf_padding true --data.mean" in caplog.text
    caplog.clear()
    halves = replace(config.data, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    create_network(replace(config, model_args={"tf_padding": True}, data=halves), sets, torch.device("cpu"), start=True)
    assert "tf_padding" not in caplog.text


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
