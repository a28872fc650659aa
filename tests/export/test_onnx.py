"""Every family becomes a graph of plain operators that runtimes compute as the model does, for any batch and points."""

import pytest
import torch
from torch import nn

import zoo
from tests.export.trained import make
from zoo.errors import ZooError
from zoo.export import fast_copy, missing
from zoo.export.agreement import check_agreement
from zoo.export.graph import onnx_bytes
from zoo.export.runtimes import find_runtime
from zoo.export.signature import Network, Signature, example_inputs, signature_of

CLIP = {"num_classes": 5, "num_frames": 3}
FAMILIES = {
    "tsm_resnet50": CLIP,
    "tsn_resnet50": CLIP,
    "tsm_resnet50_nl": CLIP,
    "tsm_mobilenetv2": CLIP,
    "tsm_mobilenetv2_online": {"num_classes": 5},
    "tsm_resnet18_online": {"num_classes": 5},
    "pointnet_cls": {"width_multiplier": 0.25},
    "pointnet_part": {"width_multiplier": 0.25},
    "pointnet_sem": {"width_multiplier": 0.25},
    "pvcnn_cls_c0p25": {},
    "pvcnn_part_c0p25": {"width_multiplier": 0.25},
    "pvcnn_sem_c0p125": {},
    "pvcnnpp_sem_c0p5": {"width_multiplier": 0.25},
    "pointnet2_part_ssg": {"width_multiplier": 0.25},
    "pointnet2_part_msg": {"width_multiplier": 0.25},
    "frustum_pointnet": {"width_multiplier": 0.25},
    "frustum_pointnet2": {"width_multiplier": 0.25},
    "frustum_pvcnne": {"width_multiplier": 0.25},
}
QUICK = ("pointnet_cls",)
BATCH, MORE_POINTS = 3, 37


def others(signature, inputs):
    """Random inputs of another batch and another number of points."""
    for shape, example in zip(signature.inputs.values(), inputs, strict=True):
        size = [
            {"B": BATCH, "N": there + MORE_POINTS}.get(wanted, there)
            for wanted, there in zip(shape, example.shape, strict=True)
        ]
        yield torch.rand(size) if example.is_floating_point() else torch.arange(BATCH) % 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param(*each, marks=() if each[0] in QUICK else pytest.mark.slow, id=each[0]) for each in FAMILIES.items()],
)
def test_runtimes_compute_what_the_model_does(name, arguments):
    lacks = [lack for runtime in ("onnxruntime", "openvino") if (lack := missing(runtime))]
    if lacks:
        pytest.skip("; ".join(lacks))
    model, example = make(name, **arguments)
    inputs = example_inputs(model, example)
    fast = fast_copy(model, example)
    network = Network(fast, signature_of(fast, inputs))
    original = Network(model, network.signature)
    for runtime in ("onnxruntime", "openvino"):
        session = find_runtime(runtime).prepare(network, inputs, "fp32", num_threads=1)
        assert session.precision == "fp32"
        for given in (inputs, tuple(others(network.signature, inputs))):
            with torch.no_grad():
                expected = original(*given)
            check_agreement(runtime, network.signature.outputs, session(*given), expected, "fp32")


class Eigen(nn.Module):
    """Computes what ONNX has no operator for."""

    def forward(self, points):
        return torch.linalg.eigvalsh(points @ points.transpose(1, 2))


def test_the_operator_that_stands_in_the_way_is_named():
    if lack := missing("onnxruntime"):
        pytest.skip(lack)
    network = Network(Eigen(), Signature({"points": ("B", 3, "N")}, ("logits",)))
    with pytest.raises(ZooError, match=r"Eigen cannot become ONNX \(.*eigh.*\): use the runtime eager or compile"):
        onnx_bytes(network, [torch.rand(1, 3, 8)])


def test_what_cannot_run_here_is_said():
    if lack := missing("onnxruntime"):
        pytest.skip(lack)
    model, inputs = make("pointnet_cls", width_multiplier=0.25)
    with pytest.raises(ZooError, match="ONNX Runtime does not compute in bfloat16"):
        zoo.optimize(model, inputs, runtime="onnxruntime", precision="bf16")
