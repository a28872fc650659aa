"""A run that is asked to end finishes its step and saves."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


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


def ignore_interrupts(worker: int) -> None:
    """For a process that loads data: Ctrl-C reaches it too, and the samples of the step are still wanted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT; a second one of a kind is no longer waited for."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # no other may
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
