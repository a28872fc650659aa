"""Figures over a set: right by hand, the same however the samples are split, with intervals that hold."""

import os

import pytest
import torch
from torch import distributed, multiprocessing

from zoo.engine.protocols.accumulators import ConfusionMatrix, TopKAccuracy
from zoo.engine.protocols.intervals import bootstrap, bootstrap_counts, wilson


def test_top_k_by_hand():
    top = TopKAccuracy((1, 2))
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [1.0, 1.0, 1.0]])
    top.update(scores, torch.tensor([1, 1, 0, 1]))
    # Right at once; second; last; of equal scores class 0 comes first and class 1 second.
    assert top.compute() == {"top_1_accuracy": 1 / 4, "top_2_accuracy": 3 / 4}


def test_confusion_figures_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, -1]))
    assert matrix.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    figures = matrix.compute()
    assert figures["overall_accuracy"] == pytest.approx(3 / 4)
    assert figures["mean_class_accuracy"] == pytest.approx((2 / 3 + 1) / 2)  # class 2 does not occur
    assert figures["mean_iou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        ConfusionMatrix(3).update(torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        ConfusionMatrix(3).update(torch.tensor([-1]), torch.tensor([0]))


def samples():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(101, 7, generator=generator)
    return scores, torch.randint(7, (101,), generator=generator), torch.randint(5, (101,), generator=generator)


@pytest.mark.parametrize("size", [1, 10, 101])
def test_splitting_changes_nothing(size):
    scores, targets, groups = samples()
    whole = TopKAccuracy(), ConfusionMatrix(7)
    parts = TopKAccuracy(), ConfusionMatrix(7)
    whole[0].update(scores, targets, groups)
    whole[1].update(scores.argmax(1), targets, groups)
    for each in zip(scores.split(size), targets.split(size), groups.split(size), strict=True):
        top, confusion = TopKAccuracy(), ConfusionMatrix(7)
        top.update(*each)
        confusion.update(each[0].argmax(1), *each[1:])
        for total, part in zip(parts, (top, confusion), strict=True):
            total.merge(part.state())
    for one, other in zip(whole, parts, strict=True):
        assert one.compute() == other.compute()
        assert one.intervals() == other.intervals()


def test_wilson_by_hand():
    # Brown, Cai & DasGupta (2001): 10 of 10 gives [z^2-shrunk, 1]; n / (n + z^2) is the lower end.
    assert wilson(10, 10) == (pytest.approx(10 / (10 + 1.96**2), abs=1e-4), 1.0)
    assert wilson(0, 10) == (0.0, pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-4))
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    with pytest.raises(ValueError, match="1 or more trials"):
        wilson(0, 0)


def test_samples_alone_get_wilson_and_groups_the_bootstrap():
    scores, targets, groups = samples()
    alone, grouped = TopKAccuracy((1,)), TopKAccuracy((1,))
    alone.update(scores, targets)
    grouped.update(scores, targets, groups)
    hits = round(alone.compute()["top_1_accuracy"] * 101)
    assert alone.intervals()["top_1_accuracy"] == wilson(hits, 101)
    low, high = grouped.intervals()["top_1_accuracy"]
    assert low < hits / 101 < high
    points, independent = ConfusionMatrix(7, independent=False), ConfusionMatrix(7)
    for matrix in (points, independent):
        matrix.update(scores.argmax(1), targets)
    assert not points.intervals()  # one scene says nothing of others
    assert independent.intervals()["overall_accuracy"] == wilson(hits, 101)
    low, high = independent.intervals()["mean_class_accuracy"]
    assert low < independent.compute()["mean_class_accuracy"] < high


def test_the_bootstrap_draws_groups():
    # Two groups, all right and all wrong: drawn twice, the share is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4.
    sums = {"right": torch.tensor([5, 0, 0]), "count": torch.tensor([5, 5, 0])}  # nothing was counted in the third
    intervals = bootstrap(sums, lambda totals: {"share": float(totals["right"] / totals["count"])})
    assert intervals == {"share": (0.0, 1.0)}
    alike = {"right": torch.tensor([3, 3, 3]), "count": torch.tensor([5, 5, 5])}
    assert bootstrap(alike, lambda totals: {"share": float(totals["right"] / totals["count"])})["share"] == (0.6, 0.6)


def test_samples_are_drawn_from_their_counts():
    counts = torch.tensor([[30, 10], [0, 60]])
    drawn = bootstrap_counts(
        counts, lambda table: {"share": float(table[0].sum() / table.sum()), "n": int(table.sum())}
    )
    assert drawn["n"] == (100, 100)
    # As a normal distribution has it: 0.4 and 1.96 times the root of 0.4 * 0.6 / 100.
    assert drawn["share"] == (pytest.approx(0.304, abs=0.02), pytest.approx(0.496, abs=0.02))


def _share_of_rank(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    scores, targets, groups = samples()
    top = TopKAccuracy()
    top.update(scores[rank::2], targets[rank::2], groups[rank::2] if rank else 0)
    top.synchronize()
    torch.save(top.state(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_count_every_sample_once(tmp_path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_share_of_rank, (tmp_path,), nprocs=2)
    scores, targets, groups = samples()
    groups[::2] = 0
    whole = TopKAccuracy()
    whole.update(scores, targets, groups)
    for rank in range(2):
        state = torch.load(tmp_path / f"{rank}.pt")
        assert all(torch.equal(state[name], value) for name, value in whole.state().items())
