"""One process or many: what each is, and sums over all of them. torchrun starts many; alone, everything is as it is."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.constants import default_pg_timeout

from zoo.errors import InputError, ZooError


class ProcessLostError(ZooError):
    """Another of the processes that work together is not there, or no longer."""


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Within it, the processes that torchrun started belong together; nothing happens without it, or where they do.

    Raises:
        ProcessLostError: another process ended, and none said why.
    """
    if not _are_many() or distributed.is_initialized():
        yield
        return
    refused = "refused"  # how many processes ended by an error, of which the first tells
    try:
        store = _meet()
        refused = f"{refused}/{store.port}"
        backend = "nccl" if device.type == "cuda" else "gloo"
        own, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(backend, store=store, rank=own, world_size=count)
        yield
    except ZooError:
        _count(refused)
        raise
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        if _count(refused) > 1:
            raise SystemExit(2) from error
        reason = str(error).splitlines()[0].split(". ")[0].rpartition("] ")[2]  # without the place in gloo's code
        raise ProcessLostError(
            f"another process has ended or cannot be reached ({reason}): see what became of it and start all of them "
            "again, a run of training with --resume auto"
        ) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def is_first_to_say(message: str) -> bool:
    """Whether no other of the processes that torchrun started has asked this of the same ``message``."""
    return not _are_many() or _count(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/said/{message}") == 1


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
        torch.zeros(1, device=device).cpu()  # "meta" holds no numbers
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


@functools.cache
def _store() -> distributed.Store:
    """What torchrun keeps for its processes: it is there before they have joined and after they have left."""
    store, _, _ = next(distributed.rendezvous("env://"))
    return distributed.PrefixStore("zoo", store)


def _count(what: str) -> int:
    """How many processes have counted ``what``, this one included; 1 where what torchrun keeps is lost too."""
    try:
        return _store().add(what, 1)
    except distributed.DistError:
        return 1


def _meet() -> distributed.TCPStore:
    """A store of these processes alone, which the first of them holds.

    In torchrun's they would look for the dead forerunners of processes that were started anew, and nothing tells them
    apart: torchrun counts how often it started them, but of several machines each counts only what went wrong on it.
    The stores of the forerunners died with them, though.
    """
    host, port = os.environ["MASTER_ADDR"], "port"
    if is_first():
        store = distributed.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=default_pg_timeout)
        _store().set(port, str(store.port))
        return store
    last = time.monotonic() + default_pg_timeout.total_seconds()
    while True:
        address = host, int(_store().get(port))
        try:
            socket.create_connection(address).close()
            return distributed.TCPStore(*address, is_master=False, timeout=default_pg_timeout)
        except OSError as error:  # of a forerunner
            if time.monotonic() > last:
                raise ProcessLostError(
                    f"the first process does not answer at {host} ({error}): see what it said"
                ) from error
            time.sleep(0.1)


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
