"""Decisions from logits: flicker is smoothed, what is meant comes through, and the authors' demo is one preset."""

import pytest
import torch

from zoo.data.class_names import class_names
from zoo.errors import InputError
from zoo.live.smoothing import PRESETS, Rules, Smoother, preset_for

NAMES = ("wave", "swipe", "rest")


def follow(rules, *probabilities, names=NAMES):
    smoother = Smoother(names, rules)
    return [smoother.update(torch.tensor([each]).log())[0] for each in probabilities]


def labels(rules, *probabilities):
    return [decision.label for decision in follow(rules, *probabilities)]


def test_by_default_every_step_decides_for_itself():
    decisions = follow(Rules(), (0.6, 0.3, 0.1), (0.1, 0.5, 0.4))
    assert [(each.label, each.index) for each in decisions] == [("wave", 0), ("swipe", 1)]
    assert decisions[0].score == pytest.approx(0.6) and decisions[1].score == pytest.approx(0.5)


def test_one_odd_frame_does_not_change_the_mean_of_a_window():
    wave, odd = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
    assert labels(Rules(window=3), wave, wave, odd, wave) == ["wave"] * 4
    assert labels(Rules(window=3), wave, wave, odd, odd) == ["wave", "wave", "wave", "swipe"]
    mean = torch.tensor([wave, wave, odd]).log().mean(0).softmax(0)[0].item()
    assert follow(Rules(window=3), odd, wave, wave, odd)[-1].score == pytest.approx(mean)


def test_between_the_two_thresholds_a_decision_stands():
    rules = Rules(enter=0.6, leave=0.3, nothing="nothing")
    likely, unsure, unlikely = (0.7, 0.2, 0.1), (0.4, 0.35, 0.25), (0.2, 0.45, 0.35)
    assert labels(rules, unsure, likely, unsure, unlikely, unsure) == ["nothing", "wave", "wave", "nothing", "nothing"]
    outside = follow(rules, unsure)[0]
    assert outside.index == -1 and outside.score == pytest.approx(0.6)


def test_a_class_of_the_model_can_be_the_one_for_nothing():
    rules = Rules(enter=0.6, leave=0.3, nothing="rest", like_nothing=("swipe",))
    decisions = follow(rules, (0.1, 0.5, 0.4), (0.7, 0.2, 0.1), (0.1, 0.7, 0.2))
    assert [each.label for each in decisions] == ["rest", "wave", "rest"]
    assert decisions[2].index == 2 and decisions[2].score == pytest.approx(0.9)


def test_a_decision_stands_for_as_long_as_it_must_dwell():
    wave, swipe = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
    assert labels(Rules(dwell=3), wave, swipe, swipe, swipe) == ["wave", "wave", "wave", "swipe"]


def test_streams_do_not_share_their_past_and_are_reset_one_by_one():
    smoother = Smoother(NAMES, Rules(window=5), num_streams=2)
    wave, swipe = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]).log()
    for _ in range(4):
        smoother.update(torch.stack([wave, swipe]))
    smoother.reset(0)
    assert [each.label for each in smoother.update(torch.stack([swipe, wave]))] == ["swipe", "swipe"]
    assert smoother.update(wave[None], [1])[0].label == "swipe"


def test_rules_that_cannot_be_are_refused():
    steps = {"window": 0}, {"window": 1.5}, {"dwell": 0}, {"every": 0}
    for wrong in (*steps, {"enter": 0.2, "leave": 0.4}, {"enter": 1.5}):
        with pytest.raises(InputError, match="give"):
            Rules(**wrong)
    with pytest.raises(InputError, match="Rolling Hand Forward"):
        Smoother(NAMES, PRESETS["demo"])


JESTER = tuple(sorted(class_names("jester")))


def authors_decisions(outputs):
    """The rules of the authors' demo, from its description: two steps of "No gesture" have gone before."""
    history, logits, shown = [2, 2], [], []
    for output in outputs:
        logits = [*logits, output][-12:]
        best = int(sum(logits).argmax())
        if best in (3, 7, 8, 21, 22):
            best = history[-1]
        best = 2 if best == 0 else best
        if best != history[-1] and history[-1] != history[-2]:
            best = history[-1]
        history.append(best)
        shown.append(best)
    return shown


def test_the_preset_of_the_demo_decides_as_the_authors_do():
    generator = torch.Generator().manual_seed(0)
    drift = torch.randn(40, 27, generator=generator).repeat_interleave(10, 0)
    drift += 2 * torch.randn(400, 27, generator=generator)
    smoother = Smoother(JESTER, PRESETS["demo"])
    decided = [smoother.update(output[None])[0].index for output in drift]
    assert decided == authors_decisions(drift) and len(set(decided)) > 10


def test_the_preset_goes_by_the_classes():
    assert preset_for(JESTER) is PRESETS["demo"] and preset_for(NAMES) is PRESETS["steady"]
