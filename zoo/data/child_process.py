"""Reading samples in a child process that can be ended: a decoder that hangs or crashes takes nothing with it."""

from __future__ import annotations

import os
import signal
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.errors import InputError

_GRACE_S = 10  # after which a child ends itself, where the parent is gone and cannot end it


class _Array(NamedTuple):
    """A tensor on its way: as an array it is copied, where a tensor would be shared and could not outlive its child."""

    values: np.ndarray


class ChildProcess:
    """Reads samples of a data set in a child process, each within a time limit; POSIX only.

    The child is forked (workers of a data loader may have no children of multiprocessing's, and a fresh interpreter
    takes seconds to import torch) at the first sample, and again after one was ended. It draws from torch's generator
    as it stands here and hands its state back: the samples are those that reading here would give.

    Args:
        dataset: a map-style data set.
        timeout_s: seconds for a sample.
    """

    def __init__(self, dataset: Dataset[Any], timeout_s: float) -> None:
        self.dataset, self.timeout_s = dataset, timeout_s
        self._connection: Connection | None = None
        self._owner = 0

    def __call__(self, index: int) -> Any:
        """The sample ``index``.

        Raises:
            InputError: the sample took too long or the child died; and whatever the data set raises.
        """
        connection = self._connection
        if connection is None or self._owner != os.getpid():  # a forked worker has a child of its own
            connection = self._start()
        try:
            connection.send((index, torch.get_rng_state().numpy()))
            if not connection.poll(self.timeout_s):
                raise InputError(f"reading took longer than {self.timeout_s:g} s and was ended; repair the file")
            result, state = connection.recv()
        except (EOFError, ConnectionError) as error:
            self.close()
            raise InputError("the process of the decoder died; repair the file or take it away") from error
        except BaseException:
            self.close()  # interrupted: the answer to come would be taken for the next one's
            raise
        torch.set_rng_state(torch.from_numpy(state))
        if isinstance(result, Exception):
            raise result
        return _with_tensors(result)

    def close(self) -> None:
        """End the child; the next sample starts another."""
        if self._connection is not None and self._owner == os.getpid():
            self._end()
        self._connection = None

    def _start(self) -> Connection:
        here, there = Pipe()
        child = os.fork()
        if child == 0:
            here.close()
            _serve(self.dataset, self.timeout_s, there)
        there.close()
        self._connection, self._owner = here, os.getpid()
        self._end = weakref.finalize(self, _end, child, here, os.getpid())
        return here

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "timeout_s": self.timeout_s, "_connection": None, "_owner": 0}


def _serve(dataset: Dataset[Any], timeout_s: float, connection: Connection) -> None:
    """Answer the parent until it is gone or needs no more; never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # for the parent, which may want to finish its step
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        torch.set_num_threads(1)  # the threads of the parent's pool do not live here
        while True:
            index, state = connection.recv()
            torch.set_rng_state(torch.from_numpy(state))
            signal.setitimer(signal.ITIMER_REAL, timeout_s + _GRACE_S)
            try:
                result = _with_arrays(dataset[index])
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send((result, torch.get_rng_state().numpy()))
    except (EOFError, ConnectionError):
        pass
    finally:
        os._exit(0)


def _end(child: int, connection: Connection, owner: int) -> None:
    """End and bury the child; in a process forked from its owner there is nothing to do."""
    if owner == os.getpid():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    connection.close()


def _with_arrays(value: Any) -> Any:
    """A sample as it is sent: its tensors as arrays."""
    if isinstance(value, Tensor):
        return _Array(value.numpy())
    return _within(value, _with_arrays)


def _with_tensors(value: Any) -> Any:
    """The reverse of ``_with_arrays``."""
    if isinstance(value, _Array):
        return torch.from_numpy(value.values)
    return _within(value, _with_tensors)


def _within(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with ``change`` applied to what it contains."""
    if type(value) in (list, tuple):
        return type(value)(map(change, value))
    return {key: change(item) for key, item in value.items()} if type(value) is dict else value
