"""Ctrl-C and what schedulers send, for a command that has something to finish first."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

AT_ONCE_S = 1.0  # timeout(1) and some schedulers send a signal twice, to a process and to its group


@contextlib.contextmanager
def collect_signals(answer: str = "") -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT. One that comes again, but not at once, does what it did before.

    Args:
        answer: what the first is answered with on standard error.
    """
    received: list[int] = []
    since: dict[int, float] = {}
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        if number in since:
            if time.monotonic() - since[number] > AT_ONCE_S:
                signal.signal(number, before[number])
                signal.raise_signal(number)
            return
        since[number] = time.monotonic()
        received.append(number)
        if answer and len(received) == 1:
            with contextlib.suppress(OSError):  # Ctrl-C ends what reads standard error through a pipe, too
                os.write(2, f"\n{answer}\n".encode())  # a stream may be in the middle of a line of its own

    if threading.current_thread() is threading.main_thread():  # no other may
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
