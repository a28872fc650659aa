"""Files in the authors' layouts, loaded through ``checkpoint=``, give the authors' outputs."""

import pytest
import torch

import zoo
from tests.parity import fixtures
from zoo.export.eager import fast_copy
from zoo.layers.shifted_conv import ShiftedPointwiseConv

POINT_MODELS = {
    "shapenet_pvcnn_c0p25": "pvcnn_part_c0p25",
    "shapenet_pointnet": "pointnet_part",
    "shapenet_pointnet2msg": "pointnet2_part_msg",
    "s3dis_pvcnn_c1": "pvcnn_sem_c1",
    "s3dis_pvcnn2_c0p5": "pvcnnpp_sem_c0p5",
}


@pytest.mark.parametrize("name", ["tsm_resnet50_8f_kinetics400", "tsm_mobilenetv2_8f_kinetics400"])
def test_clip_models(name, tmp_path):
    fixture = fixtures.load(name)
    path = fixtures.write_checkpoint(fixture, tmp_path)
    model = zoo.create_model(name.split("_8f")[0], checkpoint=path, num_classes=400, num_frames=8).eval()
    with torch.inference_mode():
        fixtures.assert_agrees(model(fixtures.make_input(fixture)), fixture["logits"])


def test_online_model_steps(tmp_path):
    fixture = fixtures.load("tsm_mobilenetv2_online_jester")
    path = fixtures.write_checkpoint(fixture, tmp_path)
    model = zoo.create_model("tsm_mobilenetv2_online", checkpoint=path).eval()
    clip = fixtures.make_input(fixture)
    state = model.initial_state(1, clip.shape[-1])
    logits = []
    with torch.inference_mode():
        for frame in clip.unbind(1):
            step, state = model.step(frame, state)
            logits.append(step[0])
        fixtures.assert_agrees(torch.stack(logits), fixture["logits"])
        torch.testing.assert_close(model(clip)[0], torch.stack(logits).mean(0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tsm_resnet50_8f_kinetics400", "tsm_mobilenetv2_8f_kinetics400"])
def test_clip_models_whose_shifts_move_nothing(name, tmp_path):
    fixture = fixtures.load(name)
    path = fixtures.write_checkpoint(fixture, tmp_path)
    model = zoo.create_model(name.split("_8f")[0], checkpoint=path, num_classes=400, num_frames=8).eval()
    clip = fixtures.make_input(fixture)
    fast = fast_copy(model, clip)
    assert any(isinstance(module, ShiftedPointwiseConv) for module in fast.modules())
    with torch.inference_mode():
        fixtures.assert_agrees(fast(clip), fixture["logits"])


@pytest.mark.parametrize("name", POINT_MODELS)
def test_point_models(name, tmp_path):
    fixture = fixtures.load(name)
    path = fixtures.write_checkpoint(fixture, tmp_path)
    model = zoo.create_model(POINT_MODELS[name], checkpoint=path).eval()
    shape_ids = fixture["input"].get("shape_ids")
    ids = () if shape_ids is None else (torch.tensor(shape_ids),)
    with torch.inference_mode():
        logits = model(fixtures.make_input(fixture), *ids)
    fixtures.assert_agrees(logits[:, :, :: fixture["point_stride"]], fixture["outputs"]["logits"])


def test_frustum_model(tmp_path):
    fixture = fixtures.load("kitti_frustum_pvcnne")
    path = fixtures.write_checkpoint(fixture, tmp_path)
    model = zoo.create_model("frustum_pvcnne", checkpoint=path).eval()
    with torch.inference_mode():
        outputs = model(fixtures.make_input(fixture), torch.tensor(fixture["input"]["class_ids"]))
    assert set(outputs) >= set(fixture["outputs"])
    for key, expected in fixture["outputs"].items():
        actual = outputs[key][:, :, :: fixture["point_stride"]] if key == "mask_logits" else outputs[key]
        fixtures.assert_agrees(actual, expected)
