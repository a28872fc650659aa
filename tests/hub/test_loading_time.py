"""Loading from the cache costs little more than reading the file and building the network without values."""

import time

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo import hub as zoo_hub
from zoo.hub.cache import Entry
from zoo.registry import find_weights

NAME = "tsm_resnet50.k400_8f"
ROUNDS = 8


def seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The path of the weights of `NAME` in the cache; their values do not matter."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    entry = Entry(NAME)
    entry.folder.mkdir(parents=True)
    path = entry.folder / "model.safetensors"
    zoo_hub.write_weights(path, zoo.create_model("tsm_resnet50").state_dict())
    entry.enter(path, "a test", "a test", "0" * 64, False)
    return path


@pytest.mark.slow
def test_loading_from_the_cache_is_little_more_than_reading_and_building(cached):
    spec = find_weights(NAME)

    def least():
        load_file(cached)
        zoo_hub.sketch(spec.architecture, num_classes=spec.num_classes)

    def ours():
        zoo.create_model(NAME, pretrained=True)

    ours()
    pairs = [(seconds(least), seconds(ours)) for _ in range(ROUNDS)]
    assert min(time for _, time in pairs) <= 1.2 * min(time for time, _ in pairs)


def test_what_is_mapped_from_the_file_computes_the_same_bits(cached):
    mapped = zoo.create_model(NAME, pretrained=True).eval()
    copied = zoo.create_model("tsm_resnet50").eval()
    copied.load_state_dict(mapped.state_dict())
    clip = torch.rand(1, 2, 3, 64, 64)
    assert torch.equal(mapped(clip), copied(clip))
