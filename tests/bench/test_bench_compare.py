"""What got slower beyond the noise is named; what the machine or noise explains is not."""

import pytest

from tests.bench.bench_records import record, report
from zoo.bench.compare import compare
from zoo.errors import InputError


def only(old, new):
    (change,) = compare(report(old), report(new))
    return change


def test_slower_beyond_noise_is_said():
    change = only(record(), record(p50_ms=12.0))
    assert change.is_slower and not change.is_faster
    assert str(change).startswith("SLOWER: pvcnn_sem_c0p25, eager") and "10 -> 12 ms" in str(change)


def test_slower_than_rounds_lie_apart_is_said():
    assert only(record(noise=0.1), record(p50_ms=13.0, noise=0.2, noisy=True)).is_slower


@pytest.mark.parametrize(
    "now",
    [
        {"p50_ms": 10.4},
        {"p50_ms": 12.0, "noise": 0.4, "noisy": True},
        {"p50_ms": 45.0, "others": 0.8, "noisy": True},  # a fifth of the processors was left
        {"p50_ms": 15.0, "yardstick_ms": 1.5},  # the machine itself is slower
    ],
)
def test_noise_is_not_slower(now):
    assert not only(record(), record(**now)).is_slower


def test_faster_is_said_unless_the_machine_is():
    assert only(record(), record(p50_ms=8.0)).is_faster
    change = only(record(), record(p50_ms=8.0, yardstick_ms=0.75))
    assert not change.is_faster and not change.is_slower and "the machine itself 0.750 times" in str(change)


def test_only_the_same_thing_is_compared():
    changes = compare(report(record(), record(batch=8)), report(record(batch=8), record(runtime="x", requested="x")))
    assert [change.new.batch for change in changes] == [8]


def test_figures_of_another_machine_are_refused():
    with pytest.raises(InputError, match="another machine"):
        compare(report(record(), processor="Slow CPU"), report(record()))


def test_nothing_in_common_is_refused():
    with pytest.raises(InputError, match="nothing was measured in both"):
        compare(report(record()), report(record(batch=8)))
