"""The largest of many: over the neighbours of a point, or the points of a cloud."""

from __future__ import annotations

import torch
from torch import Tensor


def max_over(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """The largest values of ``x`` along ``dim``.

    A gradient goes to one of equal values, as in the authors' pooling, not to all. Without gradients nobody asks
    where the values were, which PyTorch takes several times as long to find.
    """
    if torch.is_grad_enabled():
        return x.max(dim, keepdim).values
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return x.amax(dim, keepdim)
    if x.dim() == 4 and x.stride(1) == 1 and not x.is_contiguous():
        # PyTorch is twenty times as fast where the dimensions come in the order in which they lie in memory.
        largest = x.movedim(1, 3).amax((0, 3, 1, 2)[dim], keepdim=True).movedim(3, 1)
        return largest if keepdim else largest.squeeze(dim)
    if x.dtype in (torch.float16, torch.bfloat16):  # there it is slower than in 32 bits
        return x.float().amax(dim, keepdim).to(x.dtype)
    return x.amax(dim, keepdim)
