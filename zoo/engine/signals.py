"""A run that is asked to end finishes its step and saves."""

from __future__ import annotations

import signal
from typing import Any

GRACE_S = 30  # which torchrun gives too
STOPPING = "stopping after this step, with a checkpoint; the same signal again ends the run at once"


class Stopped(Exception):
    """A signal ended the run after a step; all was saved.

    Attributes:
        signal: which.
    """

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}: --resume auto goes on from there"
        )
        self.signal = number


def outlast_signals(worker: int) -> None:
    """For a process that loads data: Ctrl-C, torchrun and schedulers reach it too, and the step still wants samples.

    After SIGTERM it ends by itself in a while, and at once after another.
    """

    def stay(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.alarm(GRACE_S)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stay)
