"""Votes on points: every point is asked, the most confident answer counts."""

import numpy as np
import pytest
import torch

from zoo.engine.protocols.votes import PointVotes, vote_indices


@pytest.mark.parametrize(("num_points", "votes"), [(10, 1), (3, 1), (2500, 4)])
def test_every_point_gets_its_votes(num_points, votes):
    passes = vote_indices(num_points, 8, votes, np.random.default_rng(0))
    assert passes.shape == (votes * -(-num_points // 8), 8)
    counts = np.bincount(passes.ravel(), minlength=num_points)
    assert counts.min() >= votes and counts.max() - counts.min() <= 1


def test_the_most_confident_vote_wins_over_several_blocks():
    votes = PointVotes(3, range(2))
    votes.add(torch.tensor([0, 1, 1]), torch.tensor([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8]]))
    votes.add(torch.tensor([0, 1]), torch.tensor([[0.7, 0.3], [0.05, 0.95]]))
    assert votes.labels().tolist() == [0, 1, -1]  # of the last point nothing was said
    votes.add(torch.tensor([1, 2]), torch.tensor([[0.95, 0.05], [0.5, 0.5]]))
    assert votes.labels().tolist() == [0, 1, 0]  # as confident as before does not count


def test_the_mean_of_the_votes():
    votes = PointVotes(2, range(2), "mean")
    votes.add(torch.tensor([0, 0, 0]), torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]))
    assert votes.labels().tolist() == [0, -1]
    confident = PointVotes(2, range(2))
    with pytest.raises(ValueError, match="'confident' or 'mean'"):
        PointVotes(2, range(2), "median")
    assert confident.labels().tolist() == [-1, -1]


@pytest.mark.parametrize("merge", ["confident", "mean"])
def test_only_the_parts_of_the_category_can_win(merge):
    votes = PointVotes(1, range(2, 4), merge)
    votes.add(torch.tensor([0]), torch.tensor([[0.8, 0.05, 0.05, 0.1]]))
    assert votes.labels().tolist() == [3]


def test_agrees_with_a_loop():
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(20, (200,), generator=generator)
    probabilities = (torch.rand(200, 5, generator=generator) * 8).round() / 8  # with ties
    votes = PointVotes(20, range(5))
    for part in torch.arange(200).split(64):
        votes.add(indices[part], probabilities[part])
    best, labels = [0.0] * 20, [-1] * 20
    for index, row in zip(indices.tolist(), probabilities, strict=True):
        if row.max() > best[index]:
            best[index], labels[index] = float(row.max()), int(row.argmax())
    assert votes.labels().tolist() == labels
