"""One process or many: what each is, and sums over all of them. torchrun starts many; alone, everything is as it is."""

from __future__ import annotations

import os

import torch
from torch import Tensor, distributed, nn

from zoo.errors import InputError


def start(device: torch.device) -> None:
    """Join the processes that torchrun started; nothing happens without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


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
