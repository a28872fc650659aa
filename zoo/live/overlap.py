"""One stage of a pipeline in a thread of its own, so that it works on the next item while this one goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Overlap(Generic[Item]):
    """Iterates over ``items``, which are made in a thread, some of them ahead.

    What goes wrong in the thread is raised here, after the items before it. ``close`` lets the thread end at its next
    item.

    Args:
        items: what to iterate over, such as a generator.
        ahead: how many items may wait.
        drop: throw the oldest of those away instead of holding up ``items``, for what cannot be held up.

    Attributes:
        dropped: how many were thrown away.
    """

    def __init__(self, items: Iterable[Item], ahead: int = 1, drop: bool = False) -> None:
        self.dropped = 0
        self._items, self._ahead, self._drop = items, ahead, drop
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._has_ended = self._is_closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)  # a camera may never answer
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        try:
            while True:
                try:
                    yield self.next()
                except StopIteration:
                    return
        finally:
            self.close()

    def next(self, timeout: float | None = None) -> Item:
        """The next item.

        Raises:
            StopIteration: there are no more, or it was closed.
            TimeoutError: there is none after ``timeout`` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended or self._is_closed, timeout)
            if self._waiting:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            if not self._has_ended and not self._is_closed:
                raise TimeoutError
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration

    def close(self) -> None:
        """Take no more items; the thread ends as soon as it has made the one that it is at."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over(item):
                    break
        except BaseException as error:  # whatever it is, the one who iterates has to know
            self._error = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _hand_over(self, item: Item) -> bool:
        """Put an item where it waits; False where nobody wants it any more."""
        with self._changed:
            if not self._drop:
                self._changed.wait_for(lambda: len(self._waiting) < self._ahead or self._is_closed)
            elif len(self._waiting) == self._ahead:
                self._waiting.popleft()
                self.dropped += 1
            if self._is_closed:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
            return True
