"""Blocks of calls and the time of each: one after another or many at once, on a processor or a GPU."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.bench.job import Job
from zoo.bench.machine import busy_seconds
from zoo.bench.timing import Call
from zoo.processors import allowed_processors

QUEUE = 32  # calls that wait on a GPU at once: enough that it never idles, few enough that a block ends in time
GRAPH_WARM_UP = 3  # calls before one is recorded, as torch.cuda.graph asks for


@dataclass(frozen=True)
class Block:
    """Some calls in a row.

    Attributes:
        times: of each, in milliseconds.
        rate: inputs a second.
        others: the share of this process's processors that others used meanwhile; 0 where it is not known.
    """

    times: list[float]
    rate: float
    others: float = 0.0


def model_call(model: Any, inputs: tuple[Tensor, ...], online: bool) -> Call:
    """A function that computes ``model`` on ``inputs``; an online model goes one step on at every call."""
    if not online:
        return lambda: model(*inputs)
    (frame,) = inputs
    state = model.initial_state(frame.shape[0], tuple(frame.shape[2:]))

    def step() -> object:
        nonlocal state
        logits, state = model.step(frame, state)
        return logits

    return step


def graph_call(model: Any, inputs: tuple[Tensor, ...], online: bool) -> Call:
    """The same, recorded as a CUDA graph, whose output and state stay where they lie: every call writes over them."""
    state = model.initial_state(inputs[0].shape[0], tuple(inputs[0].shape[2:])) if online else ()

    def compute() -> object:
        if not state:
            return model(*inputs)
        logits, new = model.step(inputs[0], state)
        for old, value in zip(state, new, strict=True):
            old.copy_(value)
        return logits

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(GRAPH_WARM_UP):
            compute()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = compute()

    def call() -> object:
        graph.replay()
        return out

    return call


class Runner:
    """Makes the calls of a job.

    Args:
        job: how they are made.
        calls: one for every stream.
    """

    def __init__(self, job: Job, calls: Sequence[Call]):
        self.job = job
        self.calls = calls
        self.pool = ThreadPoolExecutor(len(calls), initializer=torch.set_num_threads, initargs=(job.threads,))

    def block(self, seconds: float) -> Block:
        """Call for so long, at least once; the first call of several does not count, as caches are another's."""
        if self.job.device != "cpu":
            measure = _queued_on_gpu if self.job.mode == "saturated" else _one_by_one_on_gpu
        else:
            measure = _one_by_one
        busy, own, started = busy_seconds(), time.process_time(), time.perf_counter()
        streams = list(self.pool.map(lambda call: _inference(measure, call, seconds), self.calls))
        elapsed = time.perf_counter() - started
        own, now_busy = time.process_time() - own, busy_seconds()
        others = 0.0 if busy is None or now_busy is None else max(0.0, now_busy - busy - own)
        times = [ms for stream in streams for ms in (stream[1:] or stream)]
        rate = self.job.batch * sum(map(len, streams)) / elapsed
        return Block(times, rate, others / (elapsed * len(allowed_processors())))


def _inference(measure: Callable[[Call, float], list[float]], call: Call, seconds: float) -> list[float]:
    with torch.inference_mode():
        return measure(call, seconds)


def _one_by_one(call: Call, seconds: float) -> list[float]:
    times: list[float] = []
    now = time.perf_counter()
    deadline = now + seconds
    while now < deadline or not times:
        started = now
        call()
        now = time.perf_counter()
        times.append((now - started) * 1e3)
    return times


def _one_by_one_on_gpu(call: Call, seconds: float) -> list[float]:
    """From the moment that the idle GPU could begin to the end of its work, so with the waiting for launches."""
    times: list[float] = []
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or not times:
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)))
    return times


def _queued_on_gpu(call: Call, seconds: float) -> list[float]:
    """From the end of one call to the end of the next, while more of them wait."""
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or not times:
        ends = [torch.cuda.Event(enable_timing=True) for _ in range(QUEUE + 1)]
        ends[0].record()
        for end in ends[1:]:
            call()
            end.record()
        ends[-1].synchronize()
        times += [float(one.elapsed_time(next_one)) for one, next_one in itertools.pairwise(ends)]
    return times
