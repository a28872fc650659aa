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
        noise: by how much the medians may differ, as a share: half of what the rounds of each lie apart, at least 5 %.
        machine: the ratio of the yardsticks, now to then: how much slower the machine itself is.
    """

    old: Record
    new: Record
    noise: float
    machine: float

    @property
    def ratio(self) -> float:
        """Of the medians, now to then."""
        return self.new.p50_ms / self.old.p50_ms

    @property
    def is_slower(self) -> bool:
        """More than noise and a slower machine explain."""
        return self.ratio > (1 + self.noise) * max(1.0, self.machine)

    @property
    def is_faster(self) -> bool:
        """More than noise and a faster machine explain."""
        return self.ratio < min(1.0, self.machine) / (1 + self.noise)

    def __str__(self) -> str:
        verdict = "SLOWER" if self.is_slower else "faster" if self.is_faster else "as before"
        times = f"{self.old.p50_ms:.4g} -> {self.new.p50_ms:.4g} ms"
        machine = f", the machine itself {self.machine:.3f} times" if abs(self.machine - 1) > TOLERANCE else ""
        return f"{verdict}: {self.new.label}: {times}, {self.ratio:.3f} times as long, noise {self.noise:.1%}{machine}"


def compare(old: Report, new: Report) -> list[Change]:
    """All that is in both reports.

    The noise is at least 5 %, more where the rounds of either run differed more, or others took more of the processors.
    Where the yardstick took longer than then, the machine is slower by as much, and so may the models be; likewise
    where it is faster.

    Raises:
        InputError: the machines differ, or nothing is in both.
    """
    check_same_machine(old, new)
    before = {record.key: record for record in old.records}
    changes = [_change(before[record.key], record) for record in new.records if record.key in before]
    if not changes:
        raise InputError("nothing was measured in both runs: leave out the names to measure again what was then")
    return changes


def check_same_machine(old: Report, new: Report) -> None:
    """Refuse to compare figures of another machine, before anything is measured.

    Raises:
        InputError: the machines differ.
    """
    for what in SAME:
        if old.machine.get(what) != new.machine.get(what):
            raise InputError(
                f"the older figures are of another machine ({what}: {old.machine.get(what, 'none')}, now "
                f"{new.machine.get(what, 'none')}): compare with figures of this one"
            )


def _change(old: Record, new: Record) -> Change:
    machine = new.yardstick_ms / old.yardstick_ms if new.device == "cpu" else 1.0  # it is not measured on a GPU
    noise = sum(max(record.noise / 2, _delay(record.others)) for record in (old, new))
    return Change(old, new, max(TOLERANCE, noise), machine)


def _delay(others: float) -> float:
    """By how much longer a thing takes on processors of which others use a share."""
    return others / max(1 - others, 0.01)
