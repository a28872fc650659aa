"""A command that collects signals finishes what it is at, and can be ended all the same."""

import os
import signal

import pytest

from zoo import signals
from zoo.signals import collect_signals


def test_a_signal_is_kept_though_nobody_reads_what_is_said(capfd):
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(2)
    os.dup2(writer, 2)
    try:
        with collect_signals("stopping") as received:
            signal.raise_signal(signal.SIGINT)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writer)
    assert received == [signal.SIGINT]


def test_a_signal_sent_twice_is_one(capfd):
    with collect_signals("stopping") as received:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert capfd.readouterr().err == "\nstopping\n"


def test_the_same_signal_again_is_no_longer_waited_for(monkeypatch):
    monkeypatch.setattr(signals, "AT_ONCE_S", -1.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), collect_signals() as received:
            signal.raise_signal(signal.SIGINT)
            assert received == [signal.SIGINT]
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
