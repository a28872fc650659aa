"""A stage in a thread of its own: nothing is lost, errors come through, and what cannot wait is dropped."""

import threading

import pytest

from zoo.errors import InputError
from zoo.live.overlap import Overlap


def test_all_items_come_in_their_order():
    assert list(Overlap(range(100), ahead=3)) == list(range(100))


def test_the_next_item_is_made_while_this_one_is_used():
    second_begun = threading.Event()

    def items():
        yield 1
        second_begun.set()
        yield 2

    for item in Overlap(items()):
        assert item == 2 or second_begun.wait(5)


def test_what_goes_wrong_is_raised_after_what_went_well():
    def items():
        yield 1
        raise InputError("frame 1 cannot be decoded")

    overlap = Overlap(items())
    assert overlap.next() == 1
    with pytest.raises(InputError, match="frame 1"):
        overlap.next()


def test_the_newest_items_stay_where_nothing_is_held_up():
    done = threading.Event()

    def items():
        yield from range(10)
        done.set()

    overlap = Overlap(items(), ahead=2, drop=True)
    assert done.wait(5)
    assert list(overlap) == [8, 9] and overlap.dropped == 8


def test_who_does_not_want_to_wait_hears_that_there_is_nothing():
    go_on = threading.Event()

    def items():
        assert go_on.wait(5)
        yield 1

    overlap = Overlap(items())
    with pytest.raises(TimeoutError):
        overlap.next(0.01)
    go_on.set()
    assert overlap.next(5) == 1


def test_nothing_more_is_made_once_nobody_wants_it():
    made, closed = [], threading.Event()

    def items():
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            closed.set()

    for item in Overlap(items(), ahead=2):
        if item == 3:
            break
    assert closed.wait(5) and len(made) < 10
