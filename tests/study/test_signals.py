"""Signals that stop a session."""

from __future__ import annotations

import os
import signal

import pytest

from distune.study.runners.signals import stop_on_signals


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_closed_terminal_asks_to_stop_unless_it_is_ignored(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGHUP, handler)
    try:
        with stop_on_signals() as should_stop:
            if handler is signal.SIG_DFL:
                assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGHUP)
            assert should_stop() is (handler is signal.SIG_DFL)
        assert signal.getsignal(signal.SIGHUP) is handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_signal_asks_to_stop_and_the_second_one_raises() -> None:
    def receive_two() -> None:
        with stop_on_signals() as stop:
            assert not stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop()
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        receive_two()
    assert signal.getsignal(signal.SIGTERM) is before
