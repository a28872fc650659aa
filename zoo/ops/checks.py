"""Checks of operator arguments: shapes and dtypes are a ``ValueError``, values out of range a ``RuntimeError``."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

FLOAT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_INDEX_TYPES = (torch.int32, torch.int64)
_WHOLE = (int, torch.SymInt, Integral)  # as a union it would be made anew in every call


def check_float(operator: str, name: str, x: Tensor, shape: str) -> None:
    """``x`` has a type that sums can be made of, and the dimensions that ``shape`` lists; a letter is any size."""
    _check_shape(operator, name, x, shape)
    if x.dtype not in FLOAT_TYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOAT_TYPES)
        raise ValueError(f"{operator}: {name} must be {known}, not {x.dtype}: convert it with .float()")


def check_index(operator: str, name: str, x: Tensor, shape: str) -> None:
    """``x`` is int32 or int64 and has the dimensions that ``shape`` lists."""
    _check_shape(operator, name, x, shape)
    if x.dtype not in _INDEX_TYPES:
        raise ValueError(f"{operator}: {name} must be int32 or int64, not {x.dtype}: convert it with .long()")


def check_together(operator: str, **tensors: Tensor) -> None:
    """All tensors have one batch size and lie on one device."""
    batch, *others = (x.shape[0] for x in tensors.values())
    if any(size != batch for size in others):  # a set would not take the sizes that a compiler traces
        sizes = ", ".join(f"{name} {x.shape[0]}" for name, x in tensors.items())
        raise ValueError(f"{operator}: all arguments must have one batch size, not {sizes}")
    check_devices(operator, **tensors)


def check_devices(operator: str, **tensors: Tensor) -> None:
    """All tensors lie on one device."""
    if len({x.device for x in tensors.values()}) > 1:
        devices = ", ".join(f"{name} on {x.device}" for name, x in tensors.items())
        raise ValueError(f"{operator}: all arguments must be on one device, not {devices}")


def check_count(operator: str, name: str, x: Tensor) -> None:
    """The points along the last dimension of ``x`` can be numbered in 32 bits."""
    if x.shape[-1] >= 2**31:
        raise ValueError(f"{operator}: {name} holds {x.shape[-1]} points, and at most 2^31 - 1 are supported")


def check_whole(operator: str, name: str, value: int, least: int) -> None:
    """``value`` is a whole number and not less than ``least``; one that a compiler traces is a whole number too."""
    if not isinstance(value, _WHOLE) or isinstance(value, bool) or value < least:
        raise ValueError(f"{operator}: {name} must be a whole number of at least {least}, not {value!r}")


def check_dtypes(operator: str, **tensors: Tensor) -> None:
    """All tensors have one dtype."""
    if len({x.dtype for x in tensors.values()}) > 1:
        dtypes = ", ".join(f"{name} {x.dtype}" for name, x in tensors.items())
        raise ValueError(f"{operator}: these must have one dtype: {dtypes}")


def check_range(operator: str, name: str, x: Tensor, highest: int) -> None:
    """Every value of ``x`` lies in [0, highest]."""
    value = value_outside(x, highest)
    if value is not None:
        raise RuntimeError(f"{operator}: {name} {value} is out of range: it must be in [0, {highest}]")


def check_resolution(operator: str, resolution: int) -> None:
    """A grid of ``resolution`` voxels along one side can be numbered in 32 bits."""
    check_whole(operator, "resolution", resolution, 1)
    if not 1 <= resolution <= 1290:
        raise ValueError(f"{operator}: resolution must be in [1, 1290], not {resolution}")


def check_finite(operator: str, *coords: Tensor) -> None:
    """No value of ``coords`` is infinite or not a number."""
    for x in coords:
        if _has_values(x) and not x.isfinite().all():
            value = x[~x.isfinite()][0].item()
            raise RuntimeError(f"{operator}: coordinate {value} is not finite: remove such points")


def check_extent(operator: str, x: Tensor) -> None:
    """``x``, which was computed from finite coordinates, is finite."""
    if _has_values(x) and not x.isfinite().all():
        raise RuntimeError(f"{operator}: the coordinates are too large to have a mean and an extent: scale them down")


def value_outside(x: Tensor, highest: int) -> float | None:
    """A value of ``x`` that is not in [0, highest]; none where a tensor has no values, as on the meta device."""
    if not _has_values(x):
        return None
    low, high = (value.item() for value in x.aminmax())
    if not low >= 0:
        return low
    return None if high <= highest else high


def _has_values(x: Tensor) -> bool:
    return not (x.numel() == 0 or x.is_meta or isinstance(x, FakeTensor) or torch.compiler.is_compiling())


def _check_shape(operator: str, name: str, x: Tensor, shape: str) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{operator}: {name} must be a tensor, not {type(x).__name__}")
    sizes = shape.strip("[]").split(", ")
    if x.dim() != len(sizes) or any(s.isdigit() and int(s) != n for s, n in zip(sizes, x.shape, strict=True)):
        raise ValueError(f"{operator}: {name} must have the shape {shape}, not {list(x.shape)}")
