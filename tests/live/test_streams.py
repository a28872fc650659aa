"""Many cameras, one model: each stream is as if it were alone, and can be put down and taken up again."""

import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.errors import InputError
from zoo.export import missing
from zoo.live.smoothing import PRESETS
from zoo.live.streams import Streams


@pytest.fixture(scope="module")
def model(gesture_model):
    return zoo.create_model(gesture_model, pretrained=True).eval()


def frames(number, cameras=3):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(number, cameras, 3, 64, 64, generator=generator).unbind(0)


def alone(model, pictures):
    streams = Streams(model, rules=PRESETS["steady"])
    return [streams.step({0: picture})[0] for picture in pictures]


def same(first, second):
    assert first.label == second.label and first.score == pytest.approx(second.score, abs=1e-5)


def test_every_camera_is_as_if_it_were_alone_also_where_frames_are_missing(model):
    shots, streams = frames(6), Streams(model, 3, rules=PRESETS["steady"])
    present = [(0, 1, 2), (0, 2), (1,), (0, 1, 2), (), (2, 0)]
    shown = [streams.step({camera: shot[camera] for camera in seen}) for shot, seen in zip(shots, present, strict=True)]
    for camera in range(3):
        expected = alone(model, [shot[camera] for shot, seen in zip(shots, present, strict=True) if camera in seen])
        for decision, wanted in zip([each[camera] for each in shown if camera in each], expected, strict=True):
            same(decision, wanted)


def test_what_was_optimised_follows_streams_as_the_model_does(model):
    fast = Streams(zoo.optimize(model, runtime="eager"), 2)
    own, shots = Streams(model, 2), frames(3, 2)
    for shot in shots:
        for camera, decision in fast.step(dict(enumerate(shot))).items():
            same(decision, own.step({camera: shot[camera]})[camera])
    same(fast.step({1: shots[0][1]})[1], own.step({1: shots[0][1]})[1])


def test_one_stream_begins_afresh_and_the_others_go_on(model):
    streams, shots = Streams(model, 3), frames(4)
    for shot in shots[:3]:
        streams.step(dict(enumerate(shot)))
    streams.reset(1)
    decisions = streams.step(dict(enumerate(shots[3])))
    fresh, whole = Streams(model), Streams(model)
    same(decisions[1], fresh.step({0: shots[3][1]})[0])
    for shot in shots[:3]:
        whole.step({0: shot[2]})
    same(decisions[2], whole.step({0: shots[3][2]})[0])


def test_what_was_saved_goes_on_as_if_nothing_had_happened(model, tmp_path):
    streams, shots = Streams(model, 3, rules=PRESETS["steady"]), frames(5)
    for shot in shots[:3]:
        streams.step(dict(enumerate(shot)))
    streams.save(tmp_path / "state.safetensors")
    again = Streams(model, 3, rules=PRESETS["steady"])
    again.restore(tmp_path / "state.safetensors")
    for shot in shots[3:]:
        assert again.step(dict(enumerate(shot))) == streams.step(dict(enumerate(shot)))


RUNTIMES = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("compile", "aotinductor", "onnxruntime", "openvino")
]


@pytest.mark.parametrize("runtime", ["eager", *RUNTIMES])
def test_a_state_goes_from_one_runtime_to_another_and_back(runtime, model, tmp_path):
    lack = missing(runtime)
    if lack is not None:
        pytest.skip(lack)
    path, rules = tmp_path / "state.safetensors", PRESETS["steady"]
    fast, shots = zoo.optimize(model, runtime=runtime), frames(5)
    whole, first = Streams(model, 3, rules=rules), Streams(fast, 3, rules=rules)
    for number, shot in enumerate(shots):
        expected = whole.step(dict(enumerate(shot)))
        for camera, decision in first.step(dict(enumerate(shot))).items():
            same(decision, expected[camera])
        if number == 1:
            whole.reset(1)
            first.reset(1)
        first.save(path)
        first = Streams(fast if number % 2 else model, 3, rules=rules)
        first.restore(path)


def test_a_state_that_does_not_fit_changes_nothing_and_is_one_sentence(model, tmp_path):
    path = tmp_path / "state.safetensors"
    Streams(model, 2).save(path)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-9])
    cases = [
        (Streams(model, 3), path, "number 2"),
        (Streams(model, 2, 96), path, "image size"),
        (Streams(model, 2, rules=PRESETS["steady"]), path, "rules"),
        (Streams(model, 2), tmp_path / "none.safetensors", "not there"),
        (Streams(model, 2), tmp_path / "other.safetensors", "no state of streams"),
        (Streams(model, 2), tmp_path / "cut.safetensors", "damaged"),
    ]
    for streams, file, match in cases:
        before = [tensor.clone() for tensor in streams._tensors().values()]
        with pytest.raises(InputError, match=match) as caught:
            streams.restore(file)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(old, new) for old, new in zip(before, streams._tensors().values(), strict=True))
    with pytest.raises(InputError, match=r"\.safetensors"):
        streams.save(tmp_path / "state.pt")


def test_strange_streams_and_models_of_clips_are_refused(model):
    with pytest.raises(InputError, match="from 0 to 1"):
        Streams(model, 2).step({2: frames(1)[0][0]})
    with pytest.raises(InputError, match="from 0 to 1"):
        Streams(model, 2).reset(-1)
    with pytest.raises(InputError, match="from 0 to 1"):
        Streams(model, 2).step({"door": frames(1)[0][0]})
    with pytest.raises(InputError, match=r"floating point numbers.* not torch\.uint8"):
        Streams(model, 2).step({0: torch.zeros(3, 64, 64, dtype=torch.uint8)})
    with pytest.raises(InputError, match="one size"):
        Streams(model, 2).step({0: frames(1)[0][0], 1: frames(1)[0][0][:, 1:]})
    with pytest.raises(InputError, match="are tensors"):
        Streams(model).step({0: frames(1)[0][0].numpy()})
    with pytest.raises(InputError, match="at least 1, not 0"):
        Streams(model, 0)
    with pytest.raises(InputError, match="whole clips"):
        Streams(zoo.create_model("tsm_resnet18"))
