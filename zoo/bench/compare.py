"""What got slower since an older run, beyond the noise of both."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.bench.record import Record, Report
from zoo.bench.statistics import TOLERANCE
from zoo.errors import InputError

SAME = ("GPU", "processor", "cores")  # of the machine: figures of another are not compared


@dataclass(frozen=True)
class Change:
    """One thing that was measured twice.

    Attributes:
        old: then.
        new: now.
        ratio: of the medians, now to then, after what the machine itself became slower.
        allowed: the ratio up to which noise explains it.
    """

    old: Record
    new: Record
    ratio: float
    allowed: float

    @property
    def is_slower(self) -> bool:
        """Beyond the noise."""
        return self.ratio > self.allowed

    @property
    def is_faster(self) -> bool:
        """Beyond the noise."""
        return self.ratio < 1 / self.allowed

    def __str__(self) -> str:
        verdict = "SLOWER" if self.is_slower else "faster" if self.is_faster else "as before"
        times = f"{self.old.p50_ms:.4g} -> {self.new.p50_ms:.4g} ms"
        return f"{verdict}: {self.new.label}: {times}, {self.ratio:.3f} times as long, noise {self.allowed - 1:.1%}"


def compare(old: Report, new: Report) -> list[Change]:
    """All that is in both reports.

    The noise is at least 5 %, more where the rounds of either run differed more. Where the yardstick took longer than
    then, the machine is slower by as much, and so may the models be.

    Raises:
        InputError: the machines differ, or nothing is in both.
    """
    for what in SAME:
        if old.machine.get(what) != new.machine.get(what):
            raise InputError(
                f"the older figures are of another machine ({what}: {old.machine.get(what, 'none')}, now "
                f"{new.machine.get(what, 'none')}): compare with figures of this one"
            )
    before = {record.key: record for record in old.records}
    changes = [_change(before[record.key], record) for record in new.records if record.key in before]
    if not changes:
        raise InputError("nothing was measured in both runs: leave out the names to measure again what was then")
    return changes


def _change(old: Record, new: Record) -> Change:
    machine = max(1.0, new.yardstick_ms / old.yardstick_ms) if new.device == "cpu" else 1.0
    noise = max(TOLERANCE, old.noise + new.noise)
    return Change(old, new, new.p50_ms / old.p50_ms / machine, 1 + noise)
