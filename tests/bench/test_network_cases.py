"""Whole networks are timed with the operators in use, and with plain PyTorch ones."""

from __future__ import annotations

from typing import Any

import pytest

from zoo.bench.network_cases import NETWORKS, network_cases
from zoo.ops import reference


def test_a_network_runs_with_plain_operators_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "pvcnn_part_c0p25", (1, 6, 64))
    (case,) = network_cases("pvcnn_part_c0p25", "cpu")
    assert list(case.calls) == ["call", "reference"] and case.size == "1 x 6 x 64"
    plain, calls = reference.voxel_plan, []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(reference, "voxel_plan", counted)
    case.calls["reference"]()
    assert len(calls) == 2  # grids of two sizes
    case.calls["call"]()


def test_networks_for_frames_are_timed_in_both_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tsm_mobilenetv2", (1, 2, 3, 32, 32))
    cases = network_cases("tsm_mobilenetv2", "cpu")
    assert [case.size for case in cases] == ["1 x 2 x 3 x 32 x 32", "1 x 2 x 3 x 32 x 32, channels-last"]
    for case in cases:
        case.calls["call"](), case.calls["reference"]()
