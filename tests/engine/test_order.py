"""Which samples a step takes: all processes together take each sample once, wherever a run begins."""

import numpy as np
import pytest
import torch

from zoo.data.shards import SHARDS_TOGETHER
from zoo.engine.order import Prepared, Samples, Schedule, permutation, share_of
from zoo.errors import InputError


def steps(world_size, accumulate=1, first_step=0):
    """The samples of every step, as sets."""
    taken = {}
    for rank in range(world_size):
        schedule = Schedule(26, 8, 2, 0, first_step, rank, world_size, accumulate)
        for part, keys in enumerate(schedule):
            taken.setdefault(first_step + part // accumulate, []).extend(keys)
    return taken


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2)])
def test_however_it_is_shared_a_step_takes_the_same_samples(world_size, accumulate):
    alone = steps(1)
    shared = steps(world_size, accumulate)
    assert len(alone) == 6 and alone.keys() == shared.keys()
    assert all(sorted(alone[step]) == sorted(shared[step]) for step in alone)
    first_epoch = [index for step in range(3) for _, index in alone[step]]
    assert len(set(first_epoch)) == 24
    assert [index for _, index in alone[0]] != [index for _, index in alone[3]]


def test_a_run_that_goes_on_takes_what_was_left():
    whole, rest = steps(1), steps(1, first_step=4)
    assert rest == {step: keys for step, keys in whole.items() if step >= 4}


def test_an_epoch_reads_a_few_shards_at_a_time():
    sizes = (3, 5, 4, 6, 2, 7, 1, 5, 4, 3)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    orders = [permutation(40, sizes, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sorted(order) == list(range(40))
        shards = shard_of[order].tolist()
        group_of = {shard: place // SHARDS_TOGETHER for place, shard in enumerate(dict.fromkeys(shards))}
        groups = [group_of[shard] for shard in shards]
        assert groups == sorted(groups)  # none comes back to a shard that others have followed
        assert np.count_nonzero(np.diff(shards)) > 20  # and within a group they are mixed


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(InputError, match="batch_size 8 cannot be shared by 3"):
        Schedule(26, 8, 1, 0, world_size=3)
    with pytest.raises(InputError, match="fewer than batch_size"):
        Schedule(7, 8, 1, 0)


def test_every_sample_is_measured_once():
    shares = [share_of(10, rank, 4) for rank in range(4)]
    assert sorted(index for share in shares for _, index in share) == list(range(10))


def test_the_randomness_of_a_sample_is_its_own():
    class Noise(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return torch.rand(2), torch.tensor(index)

    samples = Samples(Prepared(Noise(), lambda x: x + torch.rand(2)), seed=3)
    before = torch.get_rng_state()
    (first,), _ = samples[(0, 1)]
    assert torch.equal(samples[(0, 1)][0][0], first) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(samples[(1, 1)][0][0], first) and not torch.equal(samples[(0, 2)][0][0], first)
