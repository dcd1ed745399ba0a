"""Time as text: durations, dates in local time, and the time of a study in a line."""

from __future__ import annotations

import time

from distune.config.format_value import show_duration
from distune.study.files.study_folder import StudyState
from distune.study.planning.study_time import StudyTime


def show_date(at: float) -> str:
    """Return a date in local time, such as ``2026-11-29 14:30``; ``at`` is in seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def show_left(times: StudyTime) -> str | None:
    """Return the estimate of the time left, such as ``about 12 min left``; None without one."""
    if times.left_s is None:
        return None
    return f"{'at most' if times.left_is_maximum else 'about'} {show_duration(times.left_s)} left"


def show_pace(times: StudyTime) -> str:
    """Return the seconds per epoch, or that they are not measured yet."""
    if times.epoch_s is None:
        if times.control_epoch_s is None:
            return "seconds per epoch: not measured yet"
        return f"{show_seconds(times.control_epoch_s)} per epoch without distillation; with it: not measured yet"
    pace = f"{show_seconds(times.epoch_s)} per epoch"
    if times.control_epoch_s is not None:
        pace += f", {show_seconds(times.control_epoch_s)} without distillation"
    return pace


def show_seconds(seconds: float) -> str:
    """Return seconds with two significant digits below 100, such as ``3.1 s``."""
    return f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds:.0f} s"


def describe_study_time(times: StudyTime, state: StudyState, *, now: float) -> str:
    """Return the time of a study in a line.

    Args:
        times: of the study.
        state: of the study.
        now: seconds since 1970.

    Returns:
        Start date, end date or time left, seconds per epoch, and the number of trials at a time.
    """
    pace = show_pace(times)
    if times.epoch_s is not None and state != "finished":
        pace += ", 1 trial at a time" if times.num_concurrent == 1 else f", {times.num_concurrent} trials at a time"
    left = show_left(times)
    started, latest = show_date(times.started_at), times.last_epoch_at
    if state == "running":
        until = "" if times.left_s is None else f", {left}, until {show_date(now + times.left_s)}"
        return f"time: started {started}{until}; {pace}"
    if latest is None:
        return f"time: started {started}; {pace}"
    if state == "finished":
        return f"time: {started} to {show_date(latest)}; {pace}"
    rest = f", {left} after distune resume" if left is not None and state == "interrupted" else ""
    return f"time: started {started}, latest epoch {show_date(latest)}{rest}; {pace}"
