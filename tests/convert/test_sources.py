"""Real files in every known layout arrive under the names that our models have."""

import itertools
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.parity import fixtures
from zoo.convert import read_checkpoint
from zoo.convert.mobilenet import STAGES
from zoo.errors import CheckpointError
from zoo.models import pvcnn, pvcnnpp, tsm


def shapes(tensors) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def on_meta(build, **arguments) -> nn.Module:
    with torch.device("meta"):
        return build(**arguments)


def numbered(names_and_shapes) -> dict[str, torch.Tensor]:
    """Tensors of these shapes, filled with their place in the list."""
    return {name: torch.full(shape, i % 1000) for i, (name, shape) in enumerate(names_and_shapes.items())}


def rename(names_and_shapes, *rules) -> dict[str, list[int]]:
    renamed = {}
    for name, shape in names_and_shapes.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = shape
    return renamed


def tiny(names_and_shapes) -> dict[str, list[int]]:
    """The names with shapes that take no time to write; those of non-local blocks are kept."""
    return {name: shape if "non_local" in name else [1] for name, shape in names_and_shapes.items()}


def write(folder, fixture):
    """The file that the fixture describes, and its tensors, which are numbered."""
    state, layout = numbered(fixture["state_dict"]), fixture["checkpoint"]
    path = folder / "file.pth.tar"
    if layout.get("format") == "safetensors":
        save_file(state, path)
    else:
        torch.save({layout["state_dict"]: state, "epoch": 7} if layout["state_dict"] else state, path)
    return path, state


def read(tmp_path, names_and_shapes, under="state_dict", **beside):
    state = numbered(names_and_shapes)
    torch.save({under: state, **beside} if under else state, tmp_path / "file.pth")
    return read_checkpoint(tmp_path / "file.pth")


@pytest.mark.parametrize(
    ("name", "build", "source"),
    [
        ("tsm_mobilenetv2_8f_kinetics400", tsm.tsm_mobilenetv2, "tsm"),
        ("tsm_resnet50_8f_kinetics400", tsm.tsm_resnet50, "tsm"),
        ("tsm_mobilenetv2_online_jester", lambda: tsm.tsm_mobilenetv2_online(num_classes=27), "tsm_online"),
        ("layouts/mmaction2_tsm_resnet50_8f_kinetics400", tsm.tsm_resnet50, "mmaction2"),
        ("s3dis_pvcnn_c1", pvcnn.pvcnn_sem_c1, "pvcnn"),
        ("s3dis_pvcnn2_c0p5", pvcnnpp.pvcnnpp_sem_c0p5, "pvcnn"),
        ("shapenet_pvcnn_c0p25", pvcnn.pvcnn_part_c0p25, "pvcnn"),
        ("layouts/torch_pointcloud_pvcnn_c0p25_s3dis", pvcnn.pvcnn_sem_c0p25, "torch_pointcloud"),
    ],
)
def test_fixture_has_the_names_and_shapes_of_the_model(tmp_path, name, build, source):
    path, given = write(tmp_path, fixtures.load(name))
    checkpoint = read_checkpoint(path)
    assert checkpoint.source == source and checkpoint.path == str(path)
    assert shapes(checkpoint.state_dict) == shapes(on_meta(build).state_dict())
    assert len(given) == len(checkpoint.state_dict)
    if source == "torch_pointcloud":
        return  # safetensors come sorted
    for ours, theirs in zip(checkpoint.state_dict.values(), given.values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["tsm_mobilenetv2_8f_kinetics400", "tsm_mobilenetv2_online_jester"])
def test_mobilenet_layers_keep_the_order_in_which_they_run(tmp_path, name):
    """Many of its layers have one shape, so that only the order tells them apart."""
    checkpoint = read_checkpoint(write(tmp_path, fixtures.load(name))[0])
    assert list(checkpoint.state_dict) == list(on_meta(tsm.tsm_mobilenetv2).state_dict())


@pytest.mark.parametrize("layer", ["fc", "classifier"])
def test_authors_head_without_dropout(tmp_path, layer):
    names = {"module.base_model.conv1.weight": [64, 3, 7, 7], f"module.base_model.{layer}.weight": [5, 512]}
    checkpoint = read(tmp_path, names | {f"module.base_model.{layer}.bias": [5]})
    assert list(checkpoint.state_dict) == ["backbone.conv1.weight", "head.weight", "head.bias"]


def test_authors_other_networks(tmp_path):
    names = tiny(fixtures.load("tsm_resnet50_8f_kinetics400")["state_dict"])
    flow = names | {"module.base_model.conv1.weight": [64, 10, 7, 7]}
    assert read(tmp_path, flow).state_dict["backbone.conv1.weight"].shape == (64, 10, 7, 7)
    block = rename(names, (r"conv1\.net", "conv1"), (r"(layer\d\.\d)\.", r"\1.net."))
    model = on_meta(tsm.tsm_resnet50, shift_place="block")
    assert list(read(tmp_path, block).state_dict) == list(model.state_dict())
    still = rename(names, (r"conv1\.net", "conv1"))
    assert list(read(tmp_path, still).state_dict) == list(on_meta(tsm.tsn_resnet50).state_dict())


def mmaction2_mobilenet() -> dict[str, list[int]]:
    """mmaction2's MobileNetV2 as its code names it, in running order; the shapes play no part."""
    layers = ["conv1"]
    for stage, repeats in enumerate(STAGES):
        for index in range(repeats):
            shift = ".net" if index else ""
            count = 3 if stage else 2
            layers += [f"layer{stage + 1}.{index}.conv.{i}{'' if i else shift}" for i in range(count)]
    parameters = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {}
    for layer in [*layers, "conv2"]:
        names[f"backbone.{layer}.conv.weight"] = [1]
        names |= {f"backbone.{layer}.bn.{parameter}": [1] for parameter in parameters}
    return names | {"cls_head.fc_cls.weight": [1], "cls_head.fc_cls.bias": [1]}


def test_mmaction2_mobilenet(tmp_path):
    names = {"data_preprocessor.mean": [3], "data_preprocessor.std": [3]} | mmaction2_mobilenet()
    checkpoint = read(tmp_path, names)
    assert (checkpoint.source, checkpoint.shift) == ("mmaction2", "bidirectional")
    assert list(checkpoint.state_dict) == list(on_meta(tsm.tsm_mobilenetv2).state_dict())
    assert [int(tensor) for tensor in checkpoint.state_dict.values()] == list(range(2, len(names)))


def mmaction2_non_local() -> dict[str, list[int]]:
    """mmaction2's TSM-ResNet50 with non-local blocks, as its code and mmcv's name it."""
    names = fixtures.load("layouts/mmaction2_tsm_resnet50_8f_kinetics400")["state_dict"]
    for block, channels in {"2.0": 512, "2.2": 512, "3.0": 1024, "3.2": 1024, "3.4": 1024}.items():
        names = rename(names, (rf"layer{re.escape(block)}\.", f"layer{block}.block."))
        prefix = f"backbone.layer{block}.non_local_block"
        for layer in ("g.0", "theta", "phi.0"):
            names[f"{prefix}.{layer}.conv.weight"] = [channels // 2, channels, 1, 1, 1]
            names[f"{prefix}.{layer}.conv.bias"] = [channels // 2]
        names[f"{prefix}.conv_out.conv.weight"] = [channels, channels // 2, 1, 1, 1]
        for parameter in ("weight", "bias", "running_mean", "running_var"):
            names[f"{prefix}.conv_out.bn.{parameter}"] = [channels]
        names[f"{prefix}.conv_out.bn.num_batches_tracked"] = []
    return tiny(names)


NON_LOCAL = "non_local_cfg=dict(\n mode='embedded_gaussian', norm_cfg=dict(type='BN3d'), use_scale=False)"


def test_mmaction2_non_local_blocks(tmp_path):
    checkpoint = read(tmp_path, mmaction2_non_local(), meta={"cfg": NON_LOCAL})
    expected = shapes(on_meta(tsm.tsm_resnet50_nl).state_dict())
    assert set(checkpoint.state_dict) == set(expected)
    for name, tensor in checkpoint.state_dict.items():
        assert ".nl." not in name or list(tensor.shape) == expected[name]
    assert not checkpoint.state_dict["backbone.layer2.0.nl.W.0.bias"].any()


def test_mmaction2_other_attention_is_refused(tmp_path):
    text = "model = dict(backbone=dict(\n non_local_cfg=dict(\n  mode='dot_product',\n  norm_cfg=dict(type='BN3d'))))"
    with pytest.raises(CheckpointError, match="'dot_product', which no model here computes"):
        read(tmp_path, mmaction2_non_local(), meta={"cfg": text})
    text = "non_local_cfg=dict(\n norm_cfg=dict(requires_grad=True, type='BN3d'),\n mode='dot_product')"
    with pytest.raises(CheckpointError, match="dot_product"):
        read(tmp_path, mmaction2_non_local(), meta={"cfg": text})


@pytest.mark.parametrize(
    "text",
    [
        NON_LOCAL.replace("False", "True"),
        NON_LOCAL.replace(", use_scale=False", ""),
        "backbone=dict(non_local=((0, 0, 0), (1, 0, 1, 0)))",
    ],
)
def test_mmaction2_scaled_attention_is_refused(tmp_path, text):
    with pytest.raises(CheckpointError, match="take one with use_scale=False"):
        read(tmp_path, mmaction2_non_local(), meta={"cfg": text})


def test_mmaction2_files_without_a_configuration_are_taken(tmp_path):
    assert read(tmp_path, mmaction2_non_local(), meta={"mmaction_version": "1.0.0"}).source == "mmaction2"


def torch_pointcloud_pvcnnpp() -> dict[str, list[int]]:
    """torch-pointcloud's ``pvcnn2-c0p5`` as its code names it."""
    names: dict[str, list[int]] = {}

    def norm(name: str, channels: int) -> None:
        names.update({f"{name}.{p}": [channels] for p in ("weight", "bias", "running_mean", "running_var")})
        names[f"{name}.num_batches_tracked"] = []

    def mlp(name: str, channels: list[int], bias: bool, plain_last: bool = False) -> None:
        for i, (before, after) in enumerate(itertools.pairwise(channels)):
            names[f"{name}.lins.{i}.weight"] = [after, before]
            if bias:
                names[f"{name}.lins.{i}.bias"] = [after]
            if not plain_last or i < len(channels) - 2:
                norm(f"{name}.norms.{i}.module", after)

    def point_voxel(name: str, before: int, after: int) -> None:
        for i, channels in enumerate((before, after)):
            names[f"{name}.voxel_layers.{i}.conv.weight"] = [after, channels, 3, 3, 3]
            names[f"{name}.voxel_layers.{i}.conv.bias"] = [after]
            norm(f"{name}.voxel_layers.{i}.norm", after)
        names[f"{name}.voxel_layers.2.squeeze.weight"] = [after // 8, after]
        names[f"{name}.voxel_layers.2.excitation.weight"] = [after, after // 8]
        mlp(f"{name}.mlp", [before, after], bias=True)

    abstractions = [[16, 32], [32, 64], [64, 128], [128, 128, 256]]
    channels = [9, 16, 32, 64, 128, 256]
    for block, depth in enumerate((2, 3, 3, 0, 0)):
        if block:
            sizes = [channels[block] + 3, *abstractions[block - 1]]
            mlp(f"encoder.blocks.{block}.sa_module.convs.0.local_nn", sizes, bias=False)
        for layer in range(depth):
            before = channels[0] if block == layer == 0 else channels[block + 1]
            point_voxel(f"encoder.blocks.{block}.layers.{layer}", before, channels[block + 1])
    propagations = [[384, 128, 128], [192, 128, 128], [160, 128, 64], [70, 64, 64, 32]]
    for block, (sizes, depth) in enumerate(zip(propagations, (1, 1, 2, 1), strict=True)):
        mlp(f"decoder.blocks.{block}.fp_module.mlp", sizes, bias=False)
        for layer in range(depth):
            point_voxel(f"decoder.blocks.{block}.layers.{layer}", sizes[-1], sizes[-1])
    mlp("head", [32, 64, 13], bias=True, plain_last=True)
    return names


def test_torch_pointcloud_pvcnnpp(tmp_path):
    save_file(numbered(torch_pointcloud_pvcnnpp()), tmp_path / "model.safetensors")
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.source == "torch_pointcloud"
    assert shapes(checkpoint.state_dict) == shapes(on_meta(pvcnnpp.pvcnnpp_sem_c0p5).state_dict())


def test_torch_pointcloud_layers_find_their_places(tmp_path):
    fixture = fixtures.load("layouts/torch_pointcloud_pvcnn_c0p25_s3dis")
    path, state = write(tmp_path, fixture)
    converted = read_checkpoint(path).state_dict
    for theirs, ours in {
        "blocks.0.layers.0.voxel_layers.0.conv.weight": "point_features.0.voxel_layers.0.weight",
        "blocks.1.layers.0.voxel_layers.1.norm.bias": "point_features.1.voxel_layers.4.bias",
        "blocks.1.layers.1.mlp.lins.0.weight": "point_features.2.point_features.layers.0.weight",
        "blocks.2.layers.0.mlp.norms.0.module.running_var": "point_features.3.point_features.layers.1.running_var",
        "blocks.3.layers.0.lins.0.weight": "point_features.4.layers.0.weight",
        "global_mlp.lins.1.weight": "cloud_features.1.0.weight",
        "global_mlp.norms.0.module.weight": "cloud_features.0.1.weight",
        "head.lins.0.weight": "classifier.0.layers.0.weight",
        "head.norms.1.module.running_mean": "classifier.2.layers.1.running_mean",
        "head.lins.2.weight": "classifier.4.weight",
    }.items():
        assert torch.equal(converted[ours].flatten(), state[theirs].flatten()), ours


@pytest.mark.parametrize("name", ["backbone.conv1.weight", "point_features.0.layers.0.weight"])
def test_our_own_files_pass_through(tmp_path, name):
    save_file({name: torch.ones(2, 3), "head.bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    checkpoint = read_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.source == "zoo" and set(checkpoint.state_dict) == {name, "head.bias"}


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        ("tsm_mobilenetv2_8f_kinetics400", "bidirectional"),
        ("tsm_mobilenetv2_online_jester", "online"),
        ("shapenet_pvcnn_c0p25", None),
    ],
)
def test_the_direction_of_the_shift_survives_conversion(tmp_path, name, shift):
    checkpoint = read_checkpoint(write(tmp_path, fixtures.load(name))[0])
    assert checkpoint.shift == shift
    save_file(checkpoint.state_dict, tmp_path / "ours.safetensors", metadata=checkpoint.metadata())
    ours = read_checkpoint(tmp_path / "ours.safetensors")
    assert (ours.source, ours.shift, ours.metadata()) == ("zoo", shift, checkpoint.metadata())


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"zoo.shift": "sideways"}])
def test_a_file_that_does_not_tell_has_no_direction(tmp_path, metadata):
    save_file({"backbone.conv1.weight": torch.ones(2)}, tmp_path / "model.safetensors", metadata=metadata)
    assert read_checkpoint(tmp_path / "model.safetensors").shift is None


def test_unknown_layout_lists_what_is_known(tmp_path):
    with pytest.raises(CheckpointError, match=r"called encoder\.weight, encoder\.bias, \.\.\.; known are: ") as error:
        read(tmp_path, {"encoder.weight": [2], "encoder.bias": [2]})
    for part in ("authors' TSM", "online", "mmaction2", "torch-pointcloud", "PVCNN", "our own"):
        assert part in str(error.value)
