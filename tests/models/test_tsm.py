import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import zoo
from zoo.models.residual_blocks import find_residual_blocks


def create(name, **arguments):
    torch.manual_seed(0)
    return zoo.create_model(name, num_classes=5, **arguments).eval()


def awake(model):
    """timm starts residual branches at zero, where a shift would not show."""
    for parameter in model.parameters():
        if parameter.dim() == 1 and parameter.abs().max() < 1e-3:
            nn.init.ones_(parameter)
    return model


def differ(a, b):
    return (a - b).abs().max() > 1e-3 * a.abs().max()


def clip(frames=4, channels=3, side=32, batch=2):
    return torch.rand(batch, frames, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_clip_length_comes_from_the_input(frames):
    model = create("tsm_resnet18", num_frames=8)
    assert model(clip(frames)).shape == (2, 5)


def test_impossible_clips_are_refused():
    model = create("tsm_resnet18")
    with pytest.raises(ValueError, match=r"\[N, T, 3, H, W\]"):
        model(torch.rand(8, 3, 32, 32))
    with pytest.raises(ValueError, match="no frames"):
        model(torch.rand(1, 0, 3, 32, 32))
    with pytest.raises(ValueError, match=r"\[N, T, 10, H, W\]"):
        create("tsm_resnet18", modality="flow")(clip())


def test_clips_of_a_batch_do_not_mix():
    model, x = create("tsm_resnet18"), clip(batch=3)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_only_a_shift_sees_the_order_of_frames():
    x = clip(6)
    backwards = x.flip(1)
    tsn, tsm = awake(create("tsn_resnet50")), awake(create("tsm_resnet50"))
    torch.testing.assert_close(tsn(x), tsn(backwards), rtol=1e-4, atol=1e-6)
    assert differ(
        tsm.forward_head(tsm.forward_features(x), True), tsm.forward_head(tsm.forward_features(backwards), True)
    )


def test_online_model_never_sees_the_future():
    model, x = create("tsm_mobilenetv2_online"), clip(5)
    changed = x.clone()
    changed[:, 3:] = 0
    frames, other = model.forward_features(x), model.forward_features(changed)
    torch.testing.assert_close(frames[:, :3], other[:, :3], rtol=1e-4, atol=1e-5)
    assert differ(frames[:, 3:], other[:, 3:])


def test_steps_give_what_the_clip_gives():
    model, x = create("tsm_mobilenetv2_online"), clip(5, side=64)
    state, logits = model.initial_state(2, 64), []
    for frame in x.unbind(1):
        step, state = model.step(frame, state)
        logits.append(step)
    torch.testing.assert_close(torch.stack(logits).mean(0), model(x), rtol=1e-4, atol=1e-6)


ONLINE = {
    "tsm_mobilenetv2_online": {},
    "tsm_resnet18_online": {"shift_place": "block"},
    "tsm_resnet50_online": {},
    "tsm_online": {"backbone": "regnetx_002"},
}
FURTHER_BACKBONES = (
    "resnext50_32x4d", "resnetv2_50", "res2net50_26w_4s", "resnest14d", "darknet53", "nfnet_l0", "dla34",
    "hrnet_w18_small", "convnext_atto", "inception_next_atto", "mobilenetv3_small_100", "mobilenetv4_conv_small",
    "efficientnet_b0", "mnasnet_100", "ghostnet_100", "rexnet_100", "resnet101",
)  # fmt: skip


def check_steps_against_the_clip(model):
    """In float64, so that only another function would differ."""
    model, x = awake(model).double(), clip(4, side=64).double()
    state, features = model.initial_state(2, 64), []
    with torch.no_grad():
        for frame in x.unbind(1):
            step, state = model.step(frame, state)
            features.append(step)
        whole = model(x)
        first = model(x[:, :1])
    torch.testing.assert_close(torch.stack(features).mean(0), whole, rtol=1e-9, atol=1e-9)
    assert differ(features[-1], first) and model.shifts


@pytest.mark.parametrize("name", ONLINE)
def test_an_online_model_of_any_backbone_is_its_clip_form(name):
    check_steps_against_the_clip(create(name, **ONLINE[name]))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FURTHER_BACKBONES)
def test_an_online_model_of_further_backbones_is_its_clip_form(backbone):
    check_steps_against_the_clip(create("tsm_online", backbone=backbone))


def test_blocks_that_see_all_frames_do_not_go_online():
    with pytest.raises(ValueError, match="all frames"):
        create("tsm_resnet50_online", non_local=True)


def test_streams_are_independent_and_reset_one_by_one():
    model, x = create("tsm_mobilenetv2_online"), clip(2, side=64)
    _, state = model.step(x[:, 0], model.initial_state(2, (64, 64)))
    fresh = model.initial_state(1, 64)
    state = tuple(torch.cat([new, old[1:]]) for new, old in zip(fresh, state, strict=True))
    logits, _ = model.step(x[:, 1], state)
    first, _ = model.step(x[:1, 1], fresh)
    torch.testing.assert_close(logits[:1], first, rtol=1e-4, atol=1e-6)


def test_state_follows_dtype_and_wrong_states_are_refused():
    model = create("tsm_mobilenetv2_online").double()
    state = model.initial_state(1, 64)
    assert {tensor.dtype for tensor in state} == {torch.float64}
    frame = clip(1, side=64).double()[:, 0]
    with pytest.raises(ValueError, match="initial_state"):
        model.step(frame, state)
    with pytest.raises(ValueError, match="float64"):
        model.float().step(frame[:1].float(), state)
    with pytest.raises(ValueError, match="initial_state"):
        model.step(frame[:1], state[:2])
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        model.step(clip(1), state)


def test_a_failed_step_leaves_the_model_usable():
    model = create("tsm_mobilenetv2_online")
    wrong = model.initial_state(1, 96)
    with pytest.raises(ValueError, match="initial_state"):
        model.step(clip(1, side=64, batch=1)[:, 0], wrong)
    assert model(clip(2, side=64)).shape == (2, 5)


def test_resnet101_shifts_every_second_block():
    assert create("tsm_resnet101").shifts == [
        *(f"layer1.{i}.conv1" for i in (0, 2)),
        *(f"layer2.{i}.conv1" for i in (0, 2)),
        *(f"layer3.{i}.conv1" for i in range(0, 23, 2)),
        *(f"layer4.{i}.conv1" for i in (0, 2)),
    ]


def test_block_placement_shifts_the_shortcut_too():
    assert create("tsm_resnet18", shift_place="block").shifts[0] == "layer1.0"
    with pytest.raises(ValueError, match="blockres"):
        create("tsm_resnet18", shift_place="everywhere")


def test_block_placement_shifts_every_block_of_a_deep_network():
    assert len(create("tsm_resnet101", shift_place="block").shifts) == 33


@pytest.mark.parametrize("place", ["blockres", "block"])
def test_non_local_blocks_go_with_both_placements(place):
    assert create("tsm_resnet50_nl", shift_place=place)(clip(2)).shape == (2, 5)
    with pytest.raises(ValueError, match="resnet50"):
        create("tsm", backbone="resnet18", non_local=True)


def test_threads_can_share_a_model():
    model = create("tsm_mobilenetv2_online").double()
    streams = [clip(6, side=32, batch=1).double() * scale for scale in (1, 2, 3, 4)]

    def follow(stream):
        state = model.initial_state(1, 32)
        with torch.no_grad():
            for frame in stream.unbind(1):
                logits, state = model.step(frame, state)
        return logits

    expected = [follow(stream) for stream in streams]
    with ThreadPoolExecutor(4) as pool:
        for actual, wanted in zip(pool.map(follow, streams), expected, strict=True):
            torch.testing.assert_close(actual, wanted)


def test_copies_do_not_share_their_context():
    model = create("tsm_resnet18")
    twin = pickle.loads(pickle.dumps(model))
    assert twin.context is not model.context
    torch.testing.assert_close(twin(clip(3)), model(clip(3)))


@pytest.mark.slow
def test_the_whole_model_is_one_graph():
    model, x = create("tsm_mobilenetv2_online"), clip(3)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
    step = torch.compile(model.step, backend="eager", fullgraph=True)
    state = model.initial_state(2, 32)
    torch.testing.assert_close(step(x[:, 0], state)[0], model.step(x[:, 0], state)[0])


def test_flow_begins_with_the_mean_of_the_rgb_weights():
    weight = create("tsm_resnet18", modality="flow").backbone.conv1.weight
    assert weight.shape[1] == 10
    torch.testing.assert_close(weight, weight[:, :1].expand_as(weight))


def test_a_new_non_local_block_is_the_identity():
    plain, non_local = create("tsm_resnet50"), create("tsm_resnet50_nl")
    shared = {
        name.replace(".block.", "."): value for name, value in non_local.state_dict().items() if ".nl." not in name
    }
    plain.load_state_dict(shared)
    torch.testing.assert_close(non_local(clip()), plain(clip()), rtol=1e-4, atol=1e-5)


def test_features_and_classifier_as_in_timm():
    model, x = create("tsm_mobilenetv2"), clip()
    features = model.forward_features(x)
    assert features.shape == (2, 4, 1280, 1, 1) and model.num_features == 1280
    assert model.forward_head(features, pre_logits=True).shape == (2, 1280)
    torch.testing.assert_close(model.forward_head(features), model(x))
    model.reset_classifier(7)
    assert model(x).shape == (2, 7) and model.num_classes == 7
    model.reset_classifier(0)
    assert model(x).shape == (2, 1280)


@pytest.mark.parametrize("backbone", ["convnext_atto", "regnetx_002", "efficientnet_b0", "mobilenetv3_small_100"])
def test_any_timm_cnn_with_residual_blocks(backbone, caplog):
    model = create("tsm", backbone=backbone)
    assert model.shifts
    assert model.shifts[0] in caplog.text
    x = clip(3, side=64)
    awake(model)
    assert differ(model.forward_features(x), model.forward_features(x.flip(1)).flip(1))


@pytest.mark.parametrize("backbone", ["vgg11", "vit_tiny_patch16_224"])
def test_unsuitable_backbones_name_suitable_ones(backbone):
    with pytest.raises(ValueError, match=r"resnet.*convnext"):
        create("tsm", backbone=backbone)


def test_residual_blocks_without_a_shortcut_are_left_out():
    names = [block.name for block in find_residual_blocks(create("tsn_mobilenetv2").backbone)]
    assert len(names) == 10 and "blocks.1.0" not in names


def test_padding_as_tensorflow_does_lies_right_and_below():
    model, frames = create("tsn_mobilenetv2", tf_padding=True), torch.rand(2, 3, 32, 32)
    padded = nn.functional.pad(frames, (0, 1, 0, 1))
    expected = nn.functional.conv2d(padded, model.backbone.conv_stem.weight, stride=2)
    torch.testing.assert_close(model.backbone.conv_stem(frames), expected)
    assert model.state_dict().keys() == create("tsn_mobilenetv2").state_dict().keys()
    with pytest.raises(ValueError, match="tf_padding is for MobileNets"):
        create("tsm_resnet18", tf_padding=True)


def test_unknown_arguments_are_type_errors():
    with pytest.raises(TypeError, match="shift_diw"):
        create("tsm_resnet18", shift_diw=4)


def test_a_stream_can_be_followed_under_autocast() -> None:
    model = zoo.create_model("tsm_mobilenetv2_online", num_classes=5).eval()
    state = model.initial_state(1, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            logits, state = model.step(torch.rand(1, 3, 64, 64), state)
    assert logits.isfinite().all() and all(tensor.dtype == torch.float32 for tensor in state)


def test_a_state_is_of_the_size_that_the_preprocessing_gives():
    model = zoo.create_model("tsm_mobilenetv2_online.fingertip", pretrained=True).eval()
    side = model.spec.input.crop_size
    logits, _ = model.step(torch.zeros(1, 3, side, side), model.initial_state())
    assert side != 224 and logits.shape == (1, 4)
