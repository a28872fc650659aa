"""Percentiles, the steady state, and noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.bench.statistics import percentile, steady_from, summarize

times = st.lists(st.floats(0.001, 1e4), min_size=1, max_size=200)


@given(times, st.floats(0, 1))
def test_percentiles_are_numpys(values, share):
    assert percentile(values, share) == pytest.approx(np.percentile(values, 100 * share), rel=1e-9)


@pytest.mark.parametrize(
    ("medians", "start"),
    [
        ([10.0] * 8, 0),
        ([90.0, 30.0, 12.0, 10.0, 10.1, 9.9, 10.0, 10.1], 3),  # caches fill
        ([7.0, 7.5, 10.0, 10.0, 10.1, 9.9, 10.0, 10.0], 2),  # a boosted clock ends
        ([10.0, 10.0, 25.0, 10.0, 10.0, 10.0, 10.0, 10.0], 0),  # a disturbance is none
        ([30.0, 27.0, 24.0, 21.0, 18.0, 15.0, 12.0, 10.0], 4),  # it never settles
        ([10.0], 0),
    ],
)
def test_steady_state_is_found_in_the_data(medians, start):
    assert steady_from(medians) == start


@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=40))
def test_any_data_have_a_steady_state(medians):
    assert 0 <= steady_from(medians) <= len(medians) // 2


def test_warm_up_does_not_count():
    latency = summarize([[90.0, 80.0], [30.0], *([[10.0, 10.0, 10.2]] * 10)])
    assert (latency.count, latency.warmup) == (30, 3)
    assert latency.p50_ms == 10.0 and latency.p99_ms < 11
    assert not latency.noisy


def test_rounds_that_differ_are_noisy():
    quiet = summarize([[10.0], [10.1], [9.9], [10.0], [10.1], [9.95]])
    loud = summarize([[10.0], [12.0], [9.5], [14.0], [10.5], [10.2]])
    assert not quiet.noisy and quiet.noise < 0.03
    assert loud.noisy and loud.noise > 0.1


def test_a_machine_that_others_use_is_noisy_however_even_the_rounds_are():
    assert summarize([[10.0]] * 12, others=0.2).noisy and not summarize([[10.0]] * 12, others=0.01).noisy


def test_what_never_settles_is_noisy():
    assert summarize([[30.0], [27.0], [24.0], [21.0], [18.0], [15.0], [12.0], [10.0]]).noisy
