"""Loading from the cache costs little more than reading the file and building the network without values."""

import gc
import statistics
import time

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo import hub as zoo_hub
from zoo.hub.cache import Entry
from zoo.registry import find_builder, find_weights

NAME = "tsm_resnet50.k400_8f"
SMALL = ("pvcnn_sem_c1.s3dis_area5", "pvcnn_sem_c0p125.s3dis_area5", "pointnet_part.shapenet", "frustum_pvcnne.kitti")
ROUNDS = 15


def seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A function that puts the weights of a name into the cache and gives their path; their values do not matter."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))

    def enter(name):
        spec, entry = find_weights(name), Entry(name)
        entry.folder.mkdir(parents=True)
        path = entry.folder / "model.safetensors"
        model = zoo.create_model(spec.architecture, num_classes=spec.num_classes, **spec.model_args)
        zoo_hub.write_weights(path, model.state_dict())
        entry.enter(path, "a test", "a test", "0" * 64, False)
        return path

    return enter


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAME, *SMALL])
def test_loading_from_the_cache_is_little_more_than_reading_and_building(cache, name):
    spec, path = find_weights(name), cache(name)

    def least():
        load_file(path)
        with torch.device("meta"):
            find_builder(spec.architecture)(num_classes=spec.num_classes, **spec.model_args)

    def ours():
        zoo.create_model(name, pretrained=True)

    least()
    ours()
    gc.collect()
    gc.disable()  # as timeit does: how long a collection takes is a matter of the tests before
    try:
        pairs = [(seconds(least), seconds(ours)) for _ in range(ROUNDS)]
    finally:
        gc.enable()
    assert statistics.median(ours / least for least, ours in pairs) <= 1.2


def test_what_is_mapped_from_the_file_computes_the_same_bits(cache):
    cache(NAME)
    mapped = zoo.create_model(NAME, pretrained=True).eval()
    copied = zoo.create_model("tsm_resnet50").eval()
    copied.load_state_dict(mapped.state_dict())
    clip = torch.rand(1, 2, 3, 64, 64)
    assert torch.equal(mapped(clip), copied(clip))
