"""Fetching shards before they are read."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from zoo.data.shards.find import SHARDS_TOGETHER, Shard
from zoo.errors import InputError


class FetchAhead:
    """Fetches remote shards into their cache while others are read, one at a time, in a thread of its own.

    Args:
        shard_of: from the number of a sample to its shard; None for a file.
    """

    def __init__(self, shard_of: Callable[[int], Shard | None]):
        self.shard_of = shard_of
        self._asked: deque[str] = deque(maxlen=2 * SHARDS_TOGETHER)  # for as many the cache has room
        self._queue: SimpleQueue[Shard | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, index: int) -> None:
        """Have the shard of the sample ``index`` fetched, which will be read soon; this returns at once."""
        shard = self.shard_of(index)
        if shard is None or shard.cache is None or shard.location in self._asked:
            return
        self._asked.append(shard.location)
        self._queue.put(shard)
        if self._thread is None:  # of a daemon: what is half fetched at the end is continued by the next run
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Fetch what was asked for, and no more."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while shard := self._queue.get():
            with contextlib.suppress(InputError):  # who reads the shard will meet it too, and tell
                shard.open().close()
