"""One label for every point of a cloud from passes that each see some of the points, some points several times.

PVCNN's authors test ShapeNet Part and S3DIS like this: the points of a shape, or of each block of a room, are repeated,
shuffled and cut into passes of equal size; of all that is said of a point, in any block, the most confident counts.
For S3DIS the authors give every block as many passes as one of 8192 points needs; we give a small block no more than it
needs itself.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Merge = Literal["confident", "mean"]


def vote_indices(num_points: int, points_per_pass: int, num_votes: int, generator: np.random.Generator) -> np.ndarray:
    """Which points go through the network together.

    Args:
        num_points: N, in the cloud or block.
        points_per_pass: P, that the network sees at once.
        num_votes: how often every point is seen, at least.
        generator: of the order.

    Returns:
        int64 [num_votes * ceil(N / P), P]; each point is there ``num_votes`` times at least.

    Raises:
        ValueError: a number is below one.
    """
    if min(num_points, points_per_pass, num_votes) < 1:
        raise ValueError(f"{num_points} points, {points_per_pass} a pass, {num_votes} votes: all must be 1 or more")
    passes = num_votes * math.ceil(num_points / points_per_pass)
    indices = np.resize(np.arange(num_points), passes * points_per_pass)  # repeats them in turn
    generator.shuffle(indices)
    return indices.reshape(passes, points_per_pass)


class PointVotes:
    """Collects what is said of the points of one cloud.

    Args:
        num_points: N.
        classes: those that the points can have: all of the model's, or the parts of one category.
        merge: "confident" keeps the class with the highest probability in any pass, the first on a tie, as PVCNN's
            authors do; "mean" averages the probabilities of all passes.
    """

    def __init__(self, num_points: int, classes: range, merge: Merge = "confident"):
        if merge not in ("confident", "mean"):
            raise ValueError(f"merge is 'confident' or 'mean', not {merge!r}")
        self.classes, self.merge = classes, merge
        self._best = torch.zeros(num_points)
        self._labels = torch.full((num_points,), -1)
        self._sums = torch.zeros(num_points if merge == "mean" else 0, len(classes), dtype=torch.float64)

    def add(self, indices: Tensor, probabilities: Tensor) -> None:
        """Add passes.

        Args:
            indices: int64 [P], which points.
            probabilities: float [P, K] of all the model's classes, of which those that cannot be are left out.
        """
        allowed = probabilities[:, self.classes.start : self.classes.stop].cpu()
        indices = indices.cpu()
        if self.merge == "mean":
            self._sums.index_add_(0, indices, allowed.double())
            self._labels[indices] = 0
            return
        confidences, winners = allowed.float().max(1)
        order = confidences.argsort(descending=True, stable=True)
        points, first = np.unique(indices[order].numpy(), return_index=True)
        chosen, places = order[torch.from_numpy(first)], torch.from_numpy(points)
        better = confidences[chosen] > self._best[places]
        places, chosen = places[better], chosen[better]
        self._best[places] = confidences[chosen]
        self._labels[places] = winners[chosen] + self.classes.start

    def labels(self) -> Tensor:
        """The class of every point, int64 [N]; -1 for points of which nothing was said."""
        if self.merge == "mean":
            return torch.where(self._labels < 0, -1, self._sums.argmax(1) + self.classes.start)
        return self._labels.clone()
