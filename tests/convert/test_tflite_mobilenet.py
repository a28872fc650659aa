from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zoo.convert.mobilenet import conv_norms
from zoo.convert.tflite_mobilenet import read_quantized_mobilenet
from zoo.errors import CheckpointError, InputError

ARCHIVE = "mobilenet_v2_imagenet_int8_ptq_perchannel.npz"


@pytest.fixture
def folder(test_data: Path) -> Path:
    return test_data / "weights" / "mobilenet_v2_imagenet"


@pytest.fixture(scope="module")
def backbone() -> torch.nn.Module:
    timm = pytest.importorskip("timm")
    return timm.create_model("mobilenetv2_100", num_classes=0).eval().requires_grad_(False)


def load(backbone: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    backbone.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in state.items()}, strict=True)


def test_layers_are_those_of_timm_in_the_order_in_which_they_run(backbone):
    ran, hooks = [], []
    for name, module in backbone.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d):
            hooks.append(module.register_forward_hook(lambda *_, name=name: ran.append(name)))
    backbone(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert ran == [name for layer in conv_norms() for name in (layer.conv, layer.norm)]


@pytest.mark.parametrize(("picture", "label"), [("owl", "great grey owl"), ("parrot", "macaw"), ("hot_dog", "hotdog")])
def test_real_pictures_are_recognised(folder, backbone, picture, label):
    Image = pytest.importorskip("PIL.Image")
    load(backbone, read_quantized_mobilenet(folder / ARCHIVE))
    with np.load(folder / ARCHIVE) as arrays:
        quantised, scale, bias = (
            torch.from_numpy(arrays[f"52.{name}"]).float() for name in ("weight_q", "scale", "bias")
        )
    with Image.open(folder / f"{picture}.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((224, 224)), np.float32)
    features = backbone(torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None])
    best = F.linear(features, quantised[:, :, 0, 0] * scale[:, None], bias)[0].topk(5).indices.tolist()
    labels = (folder / "imagenet_labels.txt").read_text().splitlines()
    assert any(label in labels[index] for index in best), [labels[index] for index in best]


def test_normalisation_only_adds_the_folded_bias(tmp_path, backbone):
    rng = np.random.default_rng(0)
    arrays = {}
    for index, layer in enumerate(conv_norms()):
        shape = tuple(backbone.get_submodule(layer.conv).weight.shape)
        arrays[f"{index:02d}.weight_q"] = rng.integers(-128, 128, shape, np.int8)
        arrays[f"{index:02d}.scale"] = rng.random(shape[0], np.float32)
        arrays[f"{index:02d}.zero_point"] = rng.integers(-128, 128, shape[0]).astype(np.int32)
        arrays[f"{index:02d}.bias"] = rng.standard_normal(shape[0]).astype(np.float32)
    np.savez(tmp_path / "some.npz", **arrays)
    load(backbone, read_quantized_mobilenet(tmp_path / "some.npz"))
    norm, x = backbone.bn1, torch.randn(1, 32, 4, 4)
    added = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps) - x
    torch.testing.assert_close(added, torch.from_numpy(arrays["00.bias"])[:, None, None].expand_as(x))
    filters = backbone.get_submodule("blocks.0.0.conv_dw").weight[5]
    expected = (arrays["01.weight_q"][5].astype(int) - arrays["01.zero_point"][5]) * float(arrays["01.scale"][5])
    torch.testing.assert_close(filters, torch.from_numpy(expected).float())


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_quantized_mobilenet(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(tmp_path / "objects.npz", **{"00.weight_q": np.array([object()], dtype=object)})
    for name in ("text.npz", "other.npz", "objects.npz"):
        with pytest.raises(CheckpointError, match=name):
            read_quantized_mobilenet(tmp_path / name)
