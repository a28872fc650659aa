"""From the logits of step after step to decisions: running means, hysteresis, and a class for "no gesture"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.errors import InputError

OUTSIDE = -1  # the index of "nothing" where the model has no such class


@dataclass(frozen=True)
class Rules:
    """How decisions follow from logits. The default decides every step by itself.

    Attributes:
        window: the logits are averaged over so many steps, the last ones.
        enter: the probability that a class needs to be decided for.
        leave: the probability under which a decision falls; from there to ``enter`` it stands (hysteresis).
        dwell: for so many steps a decision stands at least.
        nothing: the name of the class that means that nothing happens. The model has it, or it comes beside its
            classes, for when none of them is likely enough.
        like_nothing: further classes that mean the same.
        ignored: classes that are never decided for: what was decided before stands.
        every: the model sees one frame of so many.

    Raises:
        InputError: a number is out of its range.
    """

    window: int = 1
    enter: float = 0.0
    leave: float = 0.0
    dwell: int = 1
    nothing: str = "No gesture"
    like_nothing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    every: int = 1

    def __post_init__(self) -> None:
        for name in ("window", "dwell", "every"):
            steps = getattr(self, name)
            if not isinstance(steps, int) or steps < 1:
                raise InputError(f"{name} is a number of steps: give a whole one of at least 1, not {steps}")
        if not 0 <= self.leave <= self.enter <= 1:
            raise InputError(
                f"a decision is taken from a probability of enter={self.enter:g} and falls under leave={self.leave:g}: "
                "give 0 <= leave <= enter <= 1"
            )

    def fit(self, class_names: Sequence[str]) -> bool:
        """Whether the model has all the classes that are named here."""
        return set(self.like_nothing + self.ignored) <= set(class_names)


PRESETS = {
    "plain": Rules(),
    "steady": Rules(window=8, enter=0.5, leave=0.3, dwell=4),
    # mit-han-lab/temporal-shift-module, online_demo/main.py: every second frame; the sum of the last 12 logits; five
    # classes that its authors found to come up unasked; one "nothing" for two; and two steps for every decision.
    "demo": Rules(
        window=12,
        dwell=2,
        nothing="No gesture",
        like_nothing=("Doing other things",),
        ignored=(
            "Pulling Hand In",
            "Rolling Hand Backward",
            "Rolling Hand Forward",
            "Turning Hand Clockwise",
            "Turning Hand Counterclockwise",
        ),
        every=2,
    ),
}


def preset_for(class_names: Sequence[str]) -> Rules:
    """The authors' rules for the classes of their demo, "steady" for others."""
    return PRESETS["demo" if PRESETS["demo"].fit(class_names) else "steady"]


@dataclass(frozen=True)
class Decision:
    """What a stream shows.

    Attributes:
        label: the name of the class.
        index: of the class, -1 for "nothing" where the model has no such class.
        score: its probability, from the averaged logits; of a "nothing" that is no class, what the likeliest lacks.
    """

    label: str
    index: int
    score: float


class Smoother:
    """Decisions for several streams, each with its own past.

    Args:
        class_names: in the order of the logits.
        rules: how decisions follow from logits.
        num_streams: how many.

    Raises:
        InputError: the rules name a class that the model does not have.
    """

    def __init__(self, class_names: Sequence[str], rules: Rules = PRESETS["plain"], num_streams: int = 1) -> None:
        self.class_names, self.rules = tuple(class_names), rules
        if not rules.fit(class_names):
            strange = sorted(set(rules.like_nothing + rules.ignored) - set(class_names))
            raise InputError(
                f"the rules name classes that the model does not have ({', '.join(strange)}): choose other rules"
            )
        self._nothing = self.class_names.index(rules.nothing) if rules.nothing in self.class_names else OUTSIDE
        self._like_nothing = {self.class_names.index(name) for name in rules.like_nothing}
        self._ignored = {self.class_names.index(name) for name in rules.ignored}
        self.history = torch.zeros(num_streams, rules.window, len(self.class_names))
        self.steps = torch.zeros(num_streams, dtype=torch.int64)
        self.decided = torch.full((num_streams,), self._nothing)
        self.standing = torch.full((num_streams,), rules.dwell)  # steps

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered, to be saved and written over; the first axis counts streams."""
        return {"history": self.history, "steps": self.steps, "decided": self.decided, "standing": self.standing}

    def reset(self, stream: int) -> None:
        """Forget what was on ``stream``."""
        self.history[stream] = 0
        self.steps[stream] = 0
        self.decided[stream] = self._nothing
        self.standing[stream] = self.rules.dwell

    def update(self, logits: Tensor, streams: Sequence[int] | None = None) -> list[Decision]:
        """Decide after one more step.

        Args:
            logits: of the streams, [B, num_classes].
            streams: which they are, B numbers; by default all in their order.
        """
        numbers = range(len(self.steps)) if streams is None else streams
        return [self._decide(stream, row) for stream, row in zip(numbers, logits.float().cpu(), strict=True)]

    def _decide(self, stream: int, logits: Tensor) -> Decision:
        rules = self.rules
        self.history[stream, int(self.steps[stream]) % rules.window] = logits
        self.steps[stream] += 1
        seen = min(int(self.steps[stream]), rules.window)
        scores = self.history[stream, :seen].mean(0).softmax(0).tolist()
        before = after = int(self.decided[stream])
        candidate = max(range(len(scores)), key=scores.__getitem__)
        likelihood = scores[candidate]
        if candidate in self._ignored:
            candidate = before
        elif candidate in self._like_nothing:
            candidate = self._nothing
        if self.standing[stream] >= rules.dwell:
            if candidate != before and likelihood >= rules.enter:
                after = candidate
            elif before != self._nothing and scores[before] < rules.leave:
                after = self._nothing
        self.standing[stream] = 1 if after != before else self.standing[stream] + 1
        self.decided[stream] = after
        if after == OUTSIDE:
            return Decision(rules.nothing, OUTSIDE, 1 - max(scores))
        alike = self._like_nothing if after == self._nothing else ()
        return Decision(self.class_names[after], after, scores[after] + sum(scores[index] for index in alike))
