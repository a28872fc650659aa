"""One process or many: what each is, and sums over all of them. torchrun starts many; alone, everything is as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from zoo.errors import InputError, ZooError

_REFUSED = "zoo/refused"  # how many processes ended by an error of the zoo, which they tell of themselves


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within it, the processes that torchrun started belong together; nothing happens without it, or where they do."""
    if not _are_many() or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    except ZooError:
        _store().add(_REFUSED, 1)
        raise
    except RuntimeError as error:  # of a collective that others have left
        if _store().add(_REFUSED, 0):
            raise SystemExit(2) from error
        raise
    finally:
        distributed.destroy_process_group()


def is_first_to_say(message: str) -> bool:
    """Whether no other of the processes that torchrun started has asked this of the same ``message``."""
    return not _are_many() or _store().add(f"zoo/said/{message}", 1) == 1


def is_first() -> bool:
    """Whether this is the process that speaks, also before they have joined and after they have left."""
    return os.environ.get("RANK", "0") == "0"


def rank() -> int:
    """Which process this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_device(name: str) -> torch.device:
    """The device ``name`` of this process: "auto" is a GPU of its own where there are any.

    Raises:
        InputError: it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"there is no device {name!r} here: take 'auto', which is a GPU where there is one") from error
    return device


def sum_over_all(values: Tensor) -> Tensor:
    """The sum of ``values`` over all processes, in each of them."""
    if distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def gather(items: list[Any]) -> list[Any]:
    """The ``items`` of all processes, one process after another, in each of them."""
    if not distributed.is_initialized():
        return items
    parts: list[Any] = [None] * world_size()
    distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def _are_many() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _store() -> distributed.Store:
    """What torchrun keeps for its processes: it is there before they have joined and after they have left."""
    store, _, _ = next(distributed.rendezvous("env://"))
    return store


def is_same_for_all(number: int, device: torch.device) -> bool:
    """Whether all processes have the same ``number``."""
    ends = torch.tensor([number, -number], device=device)
    if distributed.is_initialized():
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
    return int(ends.sum()) == 0


def share_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the first, such as its statistics of batch normalisation."""
    if distributed.is_initialized():
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def wait_for_all() -> None:
    """Go on when all have come here."""
    if distributed.is_initialized():
        distributed.barrier()
