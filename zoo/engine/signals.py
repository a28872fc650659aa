"""A run that is asked to end finishes its step and saves."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

GRACE_S = 30  # which torchrun gives too
STOPPING = b"\nstopping after this step, with a checkpoint; the same signal again ends the run at once\n"


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


@contextlib.contextmanager
def collect_signals(speaks: bool = False) -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT; a second one of a kind is no longer waited for.

    Args:
        speaks: whether the first is answered on standard error.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        is_first = not received
        received.append(number)
        signal.signal(number, before[number])
        if speaks and is_first:
            with contextlib.suppress(OSError):  # Ctrl-C ends what reads standard error through a pipe, too
                os.write(2, STOPPING)  # a stream may be in the middle of a line of its own

    if threading.current_thread() is threading.main_thread():  # no other may
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
