"""What the figures of sparse voxels rest on: clouds on surfaces, memory as the system counts it, and pictures."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch

from zoo.bench import clouds
from zoo.bench.memory import apart, most_above
from zoo.bench.sparse_plots import PANELS, write_sparse_plot
from zoo.bench.timing import interleave_quietly

MEGABYTES = 64
PNG = b"\x89PNG"


def take_memory() -> float:
    return most_above(lambda: torch.ones(MEGABYTES * 1_000_000 // 4).sum())


@pytest.mark.parametrize("make", [clouds.chair, clouds.room, clouds.sphere, clouds.everywhere])
def test_clouds_can_be_made_again(make) -> None:
    cloud = make(500)
    assert cloud.shape == (1, 3, 500) and torch.equal(cloud, make(500)) and not torch.equal(cloud, make(500, seed=1))


def test_points_of_a_box_lie_on_its_faces() -> None:
    cloud = clouds.on_boxes([((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))], 1000, seed=0)[0]
    size = torch.tensor([[1.0], [2.0], [3.0]])
    assert ((cloud >= 0) & (cloud <= size)).all()
    on_face = (cloud == 0) | (cloud == size)
    assert on_face.any(dim=0).all()
    assert on_face.sum(dim=1).tolist() == pytest.approx([6 / 11 * 1000, 3 / 11 * 1000, 2 / 11 * 1000], rel=0.2)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system cannot forget a peak")
def test_memory_of_a_call_is_what_it_held_at_the_most() -> None:
    for _ in range(2):  # what the first time freed is not there for the second
        assert take_memory() == pytest.approx(MEGABYTES, abs=16)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library keeps what was freed, if it wants to")
def test_many_small_pieces_that_were_freed_count_again() -> None:
    def take_pieces() -> float:
        return most_above(lambda: [torch.ones(10_000) for _ in range(1600)])

    assert [take_pieces(), take_pieces()] == pytest.approx([MEGABYTES] * 2, abs=16)


@pytest.mark.slow
def test_memory_is_counted_in_a_process_of_its_own() -> None:
    assert apart(take_memory) == pytest.approx(MEGABYTES, abs=16)


def test_rounds_before_the_others_do_not_count() -> None:
    seen: list[int] = []
    times, _ = interleave_quietly({"call": lambda: seen.append(0)}, runs=2, seconds=0.0, warm_up=1)
    assert len(seen) == 3 and len(times["call"]) == 2


@pytest.mark.parametrize("part", list(PANELS))
def test_a_picture_has_every_panel(part: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        {"what": "branch", "way": way, "cpu": "2.5", "R": side, "MB": "0", "occupied %": str(side / 10)}
        for way in ("sparse", "dense")
        for side in (16, 32)
    ]
    write_sparse_plot(rows, PANELS[part], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(PNG)
