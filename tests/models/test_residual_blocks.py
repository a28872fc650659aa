"""Shifts find their places in timm's families of convolutional networks."""

import pytest
import timm
import torch
from torch import nn

from zoo.models.residual_blocks import find_residual_blocks
from zoo.models.tsm import TSM

FAMILIES = {
    "test_resnet": "conv1",
    "seresnext26d_32x4d": "conv1",
    "resnetv2_18d": "conv1",
    "res2net50_48w_2s": "conv1",
    "resnest14d": "conv1",
    "skresnet18": "conv1",
    "regnetx_002": "conv1",
    "test_byobnet": "conv1_kxk",
    "gernet_s": "conv1_kxk",
    "darknet17": "conv1",
    "cs3darknet_s": "conv1",
    "test_nfnet": "conv1",
    "dla46_c": "conv1",
    "tf_efficientnetv2_b0": "conv_exp",
    "mobilenetv3_small_050": "conv_pw",
    "mobilenetv4_conv_small_035": "pw_exp",
    "ghostnetv2_100": "ghost1",
    "rexnetr_100": "conv_exp",
    "test_convnext": "conv_dw",
    "edgenext_xx_small": "conv_dw",
    "hrnet_w18_small": "conv1",
    "inception_next_atto": "token_mixer",
}


@pytest.mark.parametrize(("backbone", "first_conv"), FAMILIES.items())
def test_a_shifted_backbone_sees_the_order_of_frames(backbone, first_conv):
    torch.manual_seed(0)
    model = TSM(backbone, num_classes=0).eval()
    for name, parameter in model.named_parameters():
        if parameter.abs().max() < 1e-3 and not name.endswith("bias"):
            nn.init.ones_(parameter)  # timm starts some residual branches at nothing, where a shift would not show
    assert model.shifts
    assert model.shifts[0].endswith(f".{first_conv}")
    clip = torch.rand(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, backwards = model.forward_features(clip), model.forward_features(clip.flip(1)).flip(1)
    assert (features - backwards).abs().max() > 1e-2 * features.abs().max()


def find(backbone):
    with torch.device("meta"):
        return find_residual_blocks(timm.create_model(backbone, num_classes=0))


def test_resnet_blocks_with_a_downsample_count():
    assert [(block.first_conv, block.index, block.stage_length) for block in find("resnet18")] == [
        (f"layer{stage}.{index}.conv1", index, 2) for stage in (1, 2, 3, 4) for index in (0, 1)
    ]


def test_mobilenetv2_has_ten_blocks_and_those_without_a_skip_only_count():
    stages = {1: 2, 2: 3, 3: 4, 4: 3, 5: 3}
    assert [(block.first_conv, block.index, block.stage_length) for block in find("mobilenetv2_100")] == [
        (f"blocks.{stage}.{index}.conv_pw", index, length)
        for stage, length in stages.items()
        for index in range(1, length)
    ]


@pytest.mark.parametrize("backbone", ["vgg11", "inception_v3", "repvgg_a0", "vit_tiny_patch16_224"])
def test_others_are_not_known_here(backbone):
    with pytest.raises(ValueError, match=r"not known here.*suitable backbones are resnet\*.*convnext\*"):
        find(backbone)


def test_sums_that_are_no_shortcut_are_no_residual_blocks():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.positions = nn.Parameter(torch.zeros(1, 3, 224, 224))

        def forward(self, x):
            return self.conv(x) + self.positions

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.one(x) + self.other(x) + x

    for block in (Positions(), Branches()):
        with pytest.raises(ValueError, match="not known here"):
            find_residual_blocks(nn.Sequential(block))


def test_a_network_of_ones_own():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.a, self.b = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return x + self.b(self.a(self.norm(x)))

    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(Block(), Block()))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert [block.first_conv for block in find_residual_blocks(network)] == ["1.0.a", "1.1.a"]
    assert network.training and all(torch.equal(before[name], value) for name, value in network.state_dict().items())
