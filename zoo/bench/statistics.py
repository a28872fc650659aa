"""Figures of many runs: percentiles, where the steady state begins, and how far the median can be trusted."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.05  # two runs of one benchmark agree to this, or say that the machine was too noisy


@dataclass(frozen=True)
class Latency:
    """How long the runs in the steady state took, in milliseconds.

    Attributes:
        count: of the runs.
        warmup: runs before them, which do not count.
        mean_ms: of all.
        p50_ms: the median.
        p90_ms: nine of ten are faster.
        p95_ms: 95 of a hundred are.
        p99_ms: 99 of a hundred are.
        spread_ms: between the quartiles.
        noise: between the first and the last tenth of the medians of rounds, as a share of the median.
        others: the share of this process's processors that others used meanwhile.
        noisy: the noise or the share of others is above 5 %: another run may give another median.
    """

    count: int
    warmup: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    spread_ms: float
    noise: float
    others: float
    noisy: bool


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of ``values`` do not exceed, interpolated linearly between neighbours."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def steady_from(medians: Sequence[float]) -> int:
    """The round with which the steady state begins: the first within 5 % of what the second half of them shows.

    Whatever goes on before, slower (caches, compilation) or faster (a boosted clock), is the start. At the latest it is
    the second half.
    """
    half = len(medians) // 2
    later = statistics.median(medians[half:])
    near = (index for index, value in enumerate(medians[:half]) if abs(value - later) <= TOLERANCE * later)
    return next(near, half)


def noise_of(medians: Sequence[float]) -> float:
    """How far the medians of rounds lie apart, the outer tenths left out, as a share of their median."""
    return (percentile(medians, 0.9) - percentile(medians, 0.1)) / statistics.median(medians)


def summarize(rounds: Sequence[Sequence[float]], others: float = 0.0) -> Latency:
    """The figures of rounds of runs, each in milliseconds; every round has at least one.

    Args:
        rounds: at least one.
        others: the share of this process's processors that others used meanwhile.
    """
    medians = [statistics.median(times) for times in rounds]
    start = steady_from(medians)
    times = [time for steady in rounds[start:] for time in steady]
    noise = noise_of(medians[start:])
    return Latency(
        count=len(times),
        warmup=sum(map(len, rounds[:start])),
        mean_ms=statistics.fmean(times),
        p50_ms=percentile(times, 0.5),
        p90_ms=percentile(times, 0.9),
        p95_ms=percentile(times, 0.95),
        p99_ms=percentile(times, 0.99),
        spread_ms=percentile(times, 0.75) - percentile(times, 0.25),
        noise=noise,
        others=others,
        noisy=max(noise, others) > TOLERANCE,
    )
