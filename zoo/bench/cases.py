"""One operator beside its peers: what is called, and a row of figures for each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
