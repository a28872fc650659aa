"""The processors that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, or "max", in so many


def allowed_processors() -> list[int]:
    """The numbers of those that the system may let it run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def num_processors() -> int:
    """How many it can keep busy: those that it may run on, or as many as its container is given the time of."""
    allowed = len(allowed_processors())
    try:
        time, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # no container, or none that is limited
        return allowed
    return max(1, min(allowed, math.ceil(time / period)))


def has_feature(name: str) -> bool:
    """Whether they have what PyTorch calls ``name``, such as "avx2"; no where this PyTorch does not know it."""
    return bool(getattr(torch.cpu, f"_is_{name}_supported", lambda: False)())
