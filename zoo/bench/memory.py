"""Memory that this process holds, as the system counts it."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def peak_mb() -> float:
    """The most that was held since the start or :func:`reset_peak`, in megabytes."""
    held = _status("VmHWM")
    if held is not None:
        return held
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def reset_peak() -> None:
    """Let the peak begin anew; where a system cannot, the peak is that of the whole life of the process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def give_back() -> None:
    """Let the system have memory that was freed and is kept for later; where that cannot be asked for, it stays."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # other C libraries than GNU's; other systems
        return


def most_above(call: Callable[[], object]) -> float:
    """Megabytes that are held at the most while ``call`` runs, above what was held before it and not free."""
    give_back()
    reset_peak()
    before = _status("VmRSS") or peak_mb()
    call()
    return peak_mb() - before


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """What ``function`` gives in a process of its own, where no memory was used before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def available_mb() -> float | None:
    """Megabytes that programs can still take without others being moved out; None where it is not told."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def _status(key: str) -> float | None:
    return _kilobytes(Path("/proc/self/status"), key)


def _kilobytes(path: Path, key: str) -> float | None:
    """A line of a file of the system, in megabytes."""
    try:
        return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(key)) / 1e3
    except (OSError, StopIteration):
        return None
