"""Which samples each step takes, and the randomness of each: functions of the seed and of the step alone.

Nothing of it has to be kept to go on with a run: not the state of a generator, not the place in a list.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.shards import SHARDS_TOGETHER
from zoo.errors import InputError

Key = tuple[int, int]
"""Epoch and index of a sample."""


def seed_of(*numbers: int) -> int:
    """A seed that is different for different ``numbers``, such as (seed, epoch, index)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def permutation(num_samples: int, shard_sizes: Sequence[int], generator: np.random.Generator) -> list[int]:
    """A random order of samples; those of a few shards are mixed with one another alone, so that each is read once.

    Args:
        num_samples: how many.
        shard_sizes: samples of each shard, one shard after another; none mixes all samples.
        generator: the randomness.
    """
    if not shard_sizes:
        return generator.permutation(num_samples).tolist()
    shards = np.split(np.arange(num_samples), np.cumsum(shard_sizes)[:-1])
    order = generator.permutation(len(shards)).tolist()
    groups = [order[begin : begin + SHARDS_TOGETHER] for begin in range(0, len(order), SHARDS_TOGETHER)]
    mixed = [generator.permutation(np.concatenate([shards[shard] for shard in group])) for group in groups]
    return np.concatenate(mixed).tolist()


class Schedule:
    """The samples of every step of a run, as a sampler of batches: a list of keys for every pass through the network.

    An epoch is ``num_samples // batch_size`` steps over a new permutation; the samples that are left over belong to
    no step of it. Every process takes its share of each step, in ``accumulate`` parts.

    Args:
        num_samples: in the data set.
        batch_size: samples a step, over all processes and parts.
        epochs: how many.
        seed: of the permutations.
        first_step: of the whole run, counted from 0; the steps before it were done already.
        rank: this process.
        world_size: all processes.
        accumulate: parts of a step.
        shard_sizes: of the data set, see `permutation`.
        soon: is told the indices of samples well before their keys come: as many before as a group of shards has.

    Raises:
        InputError: there are fewer samples than a step takes, or they cannot be shared out evenly.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        epochs: int,
        seed: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        shard_sizes: Sequence[int] = (),
        soon: Callable[[int], None] | None = None,
    ):
        if batch_size % (world_size * accumulate):
            raise InputError(
                f"batch_size {batch_size} cannot be shared by {world_size} processes in {accumulate} parts each: "
                "make it a multiple of their product"
            )
        if num_samples < batch_size:
            raise InputError(
                f"there are {num_samples} samples to learn from, fewer than batch_size {batch_size}: lower it"
            )
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.shard_sizes = shard_sizes
        self.soon = soon if len(shard_sizes) > SHARDS_TOGETHER else None  # else all are read from the beginning
        self._order = functools.lru_cache(3)(self._new_order)  # of this epoch, and of where it looks ahead to
        self.steps_per_epoch = num_samples // batch_size
        self.num_steps = epochs * self.steps_per_epoch
        self.first_step, self.rank, self.world_size, self.accumulate = first_step, rank, world_size, accumulate

    def __len__(self) -> int:
        """Passes through the network of this process from the first step on."""
        return (self.num_steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        """The keys of each pass."""
        share = self.batch_size // self.world_size
        part = share // self.accumulate
        for step in range(self.first_step, self.num_steps):
            first = step * self.batch_size + self.rank * share
            for begin in range(first, first + share, part):
                if self.soon:
                    ahead = SHARDS_TOGETHER * self.num_samples // len(self.shard_sizes)
                    for _, index in self._keys(begin + ahead, part):
                        self.soon(index)
                yield list(self._keys(begin, part))

    def _keys(self, begin: int, count: int) -> Iterator[Key]:
        """Those from the place ``begin`` on, counted over all epochs; fewer at the end of the run."""
        per_epoch = self.steps_per_epoch * self.batch_size
        for place in range(begin, min(begin + count, self.num_steps * self.batch_size)):
            epoch, place_of_epoch = divmod(place, per_epoch)
            yield epoch, self._order(epoch)[place_of_epoch]

    def _new_order(self, epoch: int) -> list[int]:
        generator = np.random.default_rng(seed_of(self.seed, epoch))
        return permutation(self.num_samples, self.shard_sizes, generator)


class Prepared(Dataset[Any]):
    """A data set with the model's preprocessing.

    Args:
        dataset: gives (input, target), or ((input, extra ...), target).
        transform: the model's preprocessing, of the input.
    """

    def __init__(self, dataset: Any, transform: Callable[[Tensor], Tensor]):
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """The inputs of the model, and the target."""
        inputs, target = self.dataset[index]
        first, *extra = inputs if isinstance(inputs, tuple) else (inputs,)
        return (self.transform(first), *extra), target


class Samples(Dataset[Any]):
    """A data set each of whose samples has randomness of its own.

    Args:
        dataset: its randomness is torch's own generator.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int):
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Any:
        """The sample for (epoch, index)."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed_of(self.seed, *key))
            return self.dataset[key[1]]


def share_of(num_samples: int, rank: int, world_size: int) -> list[Key]:
    """The samples that one of many processes measures on: each of all samples is in one share."""
    return [(0, index) for index in range(rank, num_samples, world_size)]
