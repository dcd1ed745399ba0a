"""Signals that stop a session."""

from __future__ import annotations

import os
import signal

import pytest

from distune.study.runners.signals import stop_on_signals


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
