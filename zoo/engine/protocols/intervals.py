"""How sure a measured figure is: intervals that hold the true one with 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Z_95 = 1.959963984540054  # standard deviations of a normal distribution, two-sided
Interval = tuple[float, float]


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a proportion of independent trials (Wilson 1927; Brown, Cai & DasGupta 2001).

    Unlike the normal approximation it stays within [0, 1] and is right for few trials and for shares near 0 and 1.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"a proportion is of 1 or more trials, not of {successes} successes in {trials}")
    share = successes / trials
    center = (share + Z_95**2 / (2 * trials)) / (1 + Z_95**2 / trials)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + (Z_95 / (2 * trials)) ** 2) / (1 + Z_95**2 / trials)
    # At the ends the terms cancel but for rounding.
    return (0.0 if successes == 0 else center - half, 1.0 if successes == trials else center + half)


def bootstrap(
    sums: Mapping[str, Tensor],
    figures: Callable[[dict[str, Tensor]], dict[str, float]],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals from groups drawn anew with replacement (Efron 1979).

    Samples of one recording, scene or site resemble each other, so it is these groups that are drawn.

    Args:
        sums: tensors [G, ...] of what was counted in each group; groups in which nothing was are left out.
        figures: from the sums over groups, without the first dimension, to figures by name.
        resamples: how many times G groups are drawn.
        seed: of the drawing.

    Returns:
        For each figure the 2.5 % and 97.5 % quantiles; nothing where there are fewer than two groups.
    """
    counted = torch.stack([value.reshape(len(value), -1).ne(0).any(1) for value in sums.values()]).any(0)
    num_groups = int(counted.sum())
    if num_groups < 2:
        return {}
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(num_groups, (resamples, num_groups), generator=generator)
    times = torch.zeros(resamples, num_groups, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    totals = {name: torch.tensordot(times, value[counted].double(), dims=1) for name, value in sums.items()}
    return _percentiles([figures({name: value[index] for name, value in totals.items()}) for index in range(resamples)])


def bootstrap_counts(
    counts: Tensor, figures: Callable[[Tensor], dict[str, float]], resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals from independent samples drawn anew, of which only a table of counts is known.

    Args:
        counts: int64 [...], such as a confusion matrix; each of its samples is as likely to be drawn as any other.
        figures: from such a table to figures by name.
        resamples: how many times as many samples are drawn.
        seed: of the drawing.

    Returns:
        For each figure the 2.5 % and 97.5 % quantiles; nothing where there are fewer than two samples.
    """
    total = int(counts.sum())
    if total < 2:
        return {}
    generator = torch.Generator().manual_seed(seed)
    filled = counts.flatten().nonzero().squeeze(1)
    shares = counts.flatten()[filled].double() / total
    drawn_figures = []
    for _ in range(resamples):
        drawn = filled[shares.multinomial(total, replacement=True, generator=generator)]
        drawn_figures.append(figures(drawn.bincount(minlength=counts.numel()).reshape(counts.shape)))
    return _percentiles(drawn_figures)


def _percentiles(drawn: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """The middle 95 % of every figure over all drawings."""
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
    intervals = {}
    for name in drawn[0]:
        low, high = torch.tensor([each[name] for each in drawn], dtype=torch.float64).nanquantile(quantiles).tolist()
        intervals[name] = (low, high)
    return intervals
