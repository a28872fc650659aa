"""Operators beside their peers: what is called, and a row of figures for each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from zoo import ops
from zoo.bench.timing import Call, host_time, interleave, launches, medians, peak_memory


@dataclass
class Case:
    """One operator at one size.

    Attributes:
        operator: its name.
        size: in words.
        calls: ours first, as "call" and, where there is one, "kept"; then the peers.
        moved: the least that has to be read and written, in bytes.
    """

    operator: str
    size: str
    calls: dict[str, Call]
    moved: int = 0


@dataclass
class Bench:
    """Collects the cases for one device and dtype.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of features.
        batch: clouds or clips.
        authors: a module with the authors' own kernels, if there is one.
    """

    device: str
    dtype: torch.dtype
    batch: int
    authors: ModuleType | None = None
    cases: list[Case] = field(default_factory=list)

    @property
    def native(self) -> bool:
        """The compiled operators are in use, and have variants that write into a given output."""
        return ops.backend(self.device) == "native"

    def add(self, operator: str, size: str, moved: int, calls: dict[str, Call]) -> None:
        """Add a case."""
        self.cases.append(Case(operator, size, calls, moved))

    def rand(self, *size: int) -> Tensor:
        """Features."""
        return torch.rand(size, device=self.device).to(self.dtype)


def add_backward(
    bench: Bench,
    operator: str,
    size: str,
    x: Tensor,
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor], Tensor],
    kept: Callable[[Tensor], None] | None = None,
) -> None:
    """The backward pass alone, ours against autograd of plain PyTorch; ``kept`` takes the gradient of the output."""
    leaf = x.detach().clone().requires_grad_()
    out, plain = ours(leaf), theirs(leaf)
    grad = torch.ones_like(out)
    calls: dict[str, Call] = {"call": lambda: torch.autograd.grad(out, leaf, grad, retain_graph=True)}
    if kept is not None and bench.native:
        calls["kept"] = lambda: kept(grad)
    calls["reference"] = lambda: torch.autograd.grad(plain, leaf, grad, retain_graph=True)
    bench.add(f"{operator}, backward", size, (x.numel() + grad.numel()) * x.element_size(), calls)


def rows_of(case: Case, runs: int, device: str, bandwidth: float) -> list[dict[str, Any]]:
    """One row for each thing that was timed; the kernel into a kept output stands in the row of our call."""
    times = medians(interleave(case.calls, runs, device))
    kept = times.pop("kept", None)
    rows = []
    for name, ms in times.items():
        is_ours = name == "call"
        share = case.moved / ((kept or ms) / 1e3) / bandwidth if is_ours and case.moved else None
        row = {
            "operator": case.operator,
            "size": case.size,
            "name": {"call": "zoo", "unplanned": "zoo, unplanned"}.get(name, name),
            "ms": f"{ms:.4g}",
            "ratio": f"{ms / times['call']:.3g}",
            "kept ms": f"{kept:.4g}" if is_ours and kept else "",
            "ratio to kept": f"{ms / kept:.3g}" if kept else "",
            "bandwidth": "" if share is None else f"{share:.0%}",
        }
        if device == "cuda":
            call = case.calls[name]
            row |= {
                "host ms": f"{host_time(call):.4g}",
                "launches": f"{launches(call)}",
                "MB": f"{peak_memory(call):.3g}",
            }
        rows.append(row)
    return rows
