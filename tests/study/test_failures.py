"""Reasons of failures, and streaks of the same one."""

from __future__ import annotations

import pytest

from distune.errors import DataError, TrialError
from distune.study.failures import MAX_SAME_FAILURES, FailureStreak, describe_failure, spoils_process


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory: no message"),
        (OutOfMemoryError("tried to allocate\n 2 GiB"), "out of memory: tried to allocate 2 GiB"),
        (RuntimeError("CUDA out of memory."), "out of memory: CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator: can't allo"),
        (caused(TrialError("no room for the student"), MemoryError()), "out of memory: no room for the student"),
        (DataError("a.jpg: corrupt"), "data: a.jpg: corrupt"),
        (TrialError("the checkpoint does not fit"), "the checkpoint does not fit"),
        (KeyError("boxes"), "bug: KeyError: 'boxes'"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert describe_failure(error).startswith(reason)


def test_a_broken_device_spoils_its_process_and_lack_of_memory_does_not() -> None:
    assert spoils_process(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not spoils_process(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))


def test_a_streak_is_made_of_equal_reasons_up_to_numbers() -> None:
    streak = FailureStreak()
    for count in range(1, MAX_SAME_FAILURES):
        assert not streak.failed(f"out of memory: tried {count}.5 GiB at 0x{count}f")
    assert streak.failed("out of memory: tried 99 GiB at 0xab")


@pytest.mark.parametrize("other", [None, "bug: another"])
def test_anything_else_breaks_a_streak(other: str | None) -> None:
    streak = FailureStreak()
    for _ in range(MAX_SAME_FAILURES - 1):
        streak.failed("bug")
    if other is None:
        streak.ended_well()
    else:
        streak.failed(other)
    assert not streak.failed("bug")
