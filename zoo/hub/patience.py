"""Asking the Hub with a patience of our own, since another source may have the file.

By itself ``huggingface_hub`` tries again for 23 seconds and minutes where nobody answers, and waits as long as a server
wishes, be it a day.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from zoo.data import transfer

_Result = TypeVar("_Result")


def patiently(action: Callable[[], _Result]) -> _Result:
    """What ``action`` gives; it is called again a few times where the Hub is busy, and does not wish a long pause.

    Raises:
        HfHubHTTPError: as ``action``, the last time.
    """
    from huggingface_hub.errors import HfHubHTTPError

    attempt = 0
    while True:
        attempt += 1
        try:
            with _without_waiting():
                return action()
        except HfHubHTTPError as error:
            wished = wished_pause(error.response.headers)
            pause = transfer.PAUSE_S * attempt if wished is None else wished
            is_busy = error.response.status_code in transfer.FOR_NOW
            if not is_busy or attempt == transfer.ATTEMPTS or pause > transfer.LONGEST_PAUSE_S:
                raise
        time.sleep(pause)


def wished_pause(headers: Mapping[str, str]) -> float | None:
    """How many seconds the Hub wants one to wait, by its own header or the common one; None where it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limits = parse_ratelimit_headers(headers)
    return limits.reset_in_seconds if limits and not limits.remaining else transfer.wished_pause(headers)


@contextmanager
def _without_waiting() -> Iterator[None]:
    """A block in which the client's requests of this thread fail where the Hub is busy, instead of waiting."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    owner = threading.get_ident()

    def fail(response: Any) -> None:
        if response.status_code in transfer.FOR_NOW and threading.get_ident() == owner:
            response.read()
            hf_raise_for_status(response)

    hooks = get_session().event_hooks["response"]
    hooks.append(fail)
    try:
        yield
    finally:
        hooks.remove(fail)
