"""Whether autocast decides what is computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def is_autocast(x: Tensor) -> bool:
    """Autocast is on where ``x`` lies; it knows nothing of the meta device."""
    return not x.is_meta and torch.is_autocast_enabled(x.device.type)
