"""Calls are made and timed: streams one step at a time, many at once, and errors as a sentence."""

import os
import re
import subprocess
import sys
import threading

import pytest
import torch

import zoo
from zoo.bench.calls import GRAPH_WARM_UP, Runner, graph_call, model_call
from zoo.bench.job import Job, make_inputs
from zoo.bench.worker import explain
from zoo.errors import InputError


def test_an_online_model_goes_one_step_on_at_every_call():
    model = zoo.create_model("tsm_mobilenetv2_online", num_classes=4).eval()
    (frame,) = make_inputs([(1, 3, 64, 64)])
    call = model_call(model, (frame,), online=True)
    state = model.initial_state(1, 64)
    with torch.inference_mode():
        for _ in range(3):
            logits, state = model.step(frame, state)
            assert torch.equal(call(), logits)


def test_a_block_takes_its_time_and_drops_the_first_call():
    called = []
    runner = Runner(Job("x", batch=4), [lambda: called.append(threading.get_ident())])
    block = runner.block(0.05)
    assert len(block.times) == len(called) - 1 and len(block.times) > 5
    assert 4 * len(called) / 0.05 >= block.rate > 0


def test_others_on_the_processors_are_noticed():
    burn = "import time\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(os.cpu_count())]
    try:
        block = Runner(Job("x"), [lambda: None]).block(0.5)
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert block.others > 0.2


def test_a_slow_call_is_made_once():
    block = Runner(Job("x"), [lambda: None]).block(0.0)
    assert len(block.times) == 1


def test_saturated_streams_run_at_once():
    both = threading.Barrier(2, timeout=10)  # neither call ends before the other began
    block = Runner(Job("x", mode="saturated"), [both.wait, both.wait]).block(0.0)
    assert len(block.times) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory at batch 64; try a smaller"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory at batch 64"),
        (MemoryError(), "out of memory at batch 64"),
        (InputError("the model takes clips"), "the model takes clips"),
        (RuntimeError("no kernel\nfor this"), r"eager does not take this model \(RuntimeError: no kernel for this\)"),
    ],
)
def test_errors_are_a_sentence(error, words):
    assert re.match(words, explain(Job("x", "eager", batch=64), error))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["pvcnn_sem_c0p25", "tsm_mobilenetv2_online"])
def test_a_cuda_graph_computes_the_same(name):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    model = zoo.create_model(name).eval().cuda()
    online = name.endswith("online")
    inputs = make_inputs([(1, 3, 64, 64)] if online else [(1, 9, 1024)], "cuda")
    with torch.inference_mode():
        call, plain = graph_call(model, inputs, online), model_call(model, inputs, online)
        for _ in range(GRAPH_WARM_UP):
            plain()  # a stream is as far then as the one of the graph
        for _ in range(3):
            torch.testing.assert_close(call(), plain(), rtol=1e-3, atol=1e-4)
        single = Runner(Job(name, device="cuda", cuda_graph=True), [call]).block(0.1)
        queued = Runner(Job(name, device="cuda", mode="saturated"), [call]).block(0.1)
    assert single.times and queued.times and queued.rate > 0
