"""The watchdog: messages while no trial makes progress."""

from __future__ import annotations

from distune.study.runners.watchdog import Watchdog


def test_the_watchdog_warns_at_growing_intervals() -> None:
    now = 0.0
    watchdog = Watchdog(first_warning_s=300, clock=lambda: now)
    warned = []
    for minute in range(1, 41):
        now = minute * 60.0
        message = watchdog.check(["3", "control-1"])
        if message:
            warned.append(minute)
            assert "3, control-1" in message
    assert warned == [5, 10, 20, 40]
    watchdog.reset()
    now += 299
    assert watchdog.check([]) is None
    now += 1
    assert "no trial is running" in (watchdog.check([]) or "")
