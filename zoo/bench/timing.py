"""Timing things against each other in one run: in turn, many times, so that what disturbs one disturbs all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from zoo.bench.machine import busy_seconds

Call = Callable[[], object]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}  # the latter of all threads
WARM_UP = 3
QUIET = 0.1  # processors that others may have while something is timed
LAUNCHES = 20  # calls between two events on a GPU
WAIT_CYCLES = 10_000_000  # of the GPU's clock, about 6 ms: longer than the host takes for that many calls


def interleave(
    calls: Mapping[str, Call], runs: int, device: str = "cpu", clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Run all ``calls`` one after another, ``runs`` times over.

    Args:
        calls: by name.
        runs: times that each is run, after three that do not count.
        device: "cpu", or "cuda": then the time is the device's own, taken by events around 20 calls.
        clock: in seconds; ``time.process_time`` leaves out what other processes take.

    Returns:
        Milliseconds of each run, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(WARM_UP + runs):
        for name, call in calls.items():
            elapsed = _time_on_gpu(call) if device == "cuda" else _time_on_cpu(call, clock)
            if run >= WARM_UP:
                times[name].append(elapsed)
    return times


def interleave_quietly(
    calls: Mapping[str, Call], runs: int, seconds: float, warm_up: int = WARM_UP
) -> tuple[dict[str, list[float]], float | None]:
    """The same on a machine that is shared: of all rounds those count during which other programs computed the least.

    Args:
        calls: by name.
        runs: rounds that count.
        seconds: for which to go on, at the most, until as many rounds were quiet; there are ``runs`` in any case.
        warm_up: rounds before, that do not count.

    Returns:
        Milliseconds of each run, by name, and how many processors others had meanwhile; None where it is not told.
    """
    rounds: list[tuple[float, dict[str, float]]] = []
    started = time.perf_counter()
    while len(rounds) < warm_up + runs or (
        time.perf_counter() - started < seconds and sum(others < QUIET for others, _ in rounds[warm_up:]) < runs
    ):
        began, busy, own = time.perf_counter(), busy_seconds(), time.process_time()
        times = {name: _time_on_cpu(call) for name, call in calls.items()}
        passed, after = time.perf_counter() - began, busy_seconds()
        others = 0.0 if busy is None or after is None else after - busy - (time.process_time() - own)
        rounds.append((max(0.0, others) / passed, times))
    counted = sorted(rounds[warm_up:], key=lambda each: each[0])[:runs]
    mean = None if busy is None else statistics.fmean(others for others, _ in counted)
    return {name: [times[name] for _, times in counted] for name in calls}, mean


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a copy of a large array reads and writes."""
    x = torch.rand(1 << 25, device=device)
    out = torch.empty_like(x)
    times = medians(interleave({"copy": lambda: out.copy_(x)}, 10, device))
    return 2 * x.numel() * x.element_size() / (times["copy"] / 1e3)


def host_time(call: Call, runs: int = 20) -> float:
    """Milliseconds until ``call`` returns, while the GPU still works: the median."""
    times = []
    for _ in range(runs):
        torch.cuda.synchronize()
        times.append(_time_on_cpu(call))
    torch.cuda.synchronize()
    return statistics.median(times)


def launches(call: Call) -> int:
    """How many kernels, copies and fills ``call`` starts on the GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type is torch.autograd.DeviceType.CUDA for event in profile.events() or [])


def peak_memory(call: Call) -> float:
    """Megabytes that are allocated on the GPU at most during ``call``, above what was before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def _time_on_cpu(call: Call, clock: Clock = time.perf_counter) -> float:
    started = clock()
    call()
    return (clock() - started) * 1e3


def _time_on_gpu(call: Call) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(WAIT_CYCLES)  # so that the kernels are queued when the first begins
    start.record()
    for _ in range(LAUNCHES):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / LAUNCHES
