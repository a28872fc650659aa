"""Whole networks are timed with the operators in use, and with plain PyTorch ones."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.bench.network_cases import NETWORKS, network_case
from zoo.ops import reference


def test_a_network_runs_with_plain_operators_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "pvcnn_part_c0p25", (1, 6, 64))
    case = network_case("pvcnn_part_c0p25", "cpu")
    assert list(case.calls) == ["call", "reference"] and case.size == "1 x 6 x 64"
    plain, calls = reference.voxel_plan, []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(reference, "voxel_plan", counted)
    case.calls["reference"]()
    assert len(calls) == 2  # grids of two sizes
    case.calls["call"]()
