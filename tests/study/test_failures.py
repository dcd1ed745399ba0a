"""Reasons of failures, and streaks of equal ones."""

from __future__ import annotations

import errno

import pytest

from distune.errors import DataError, TrialError, WorkerLostError
from distune.study.failures.reasons import (
    MAX_SAME_FAILURES,
    FailureStreak,
    corrupts_process,
    describe_failure,
    streak_after,
)
from distune.training.processes.messages import Failure


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
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out of memory: CUDA error: CUBLAS"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator: can't allo"),
        (caused(TrialError("no room for the student"), MemoryError()), "out of memory: no room for the student"),
        (DataError("a.jpg: corrupt"), "data: a.jpg: corrupt"),
        (TrialError("the checkpoint does not fit"), "the checkpoint does not fit"),
        (KeyError("boxes"), "bug: KeyError: 'boxes'"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage: [Errno 28] No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "storage: [Errno 30] Read-only file system"),
        (caused(TrialError("last.pt: not written"), OSError(errno.ENOSPC, "full")), "storage: last.pt: not written"),
        (RuntimeError("unable to write: No space left on device (28)"), "storage: unable to write"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "bug: FileNotFoundError"),
        (
            RuntimeError("DataLoader worker (pid 47) is killed by signal: Killed. "),
            "out of memory: DataLoader worker (pid 47) is killed by signal: Killed.",
        ),
        (
            caused(
                RuntimeError("DataLoader worker (pid(s) 47) exited unexpectedly"),
                RuntimeError("DataLoader worker (pid 47) is killed by signal: Bus error. It is possible that ..."),
            ),
            "out of memory: DataLoader worker (pid(s) 47) exited unexpectedly",
        ),
        (
            RuntimeError("DataLoader worker (pid 47) is killed by signal: Segmentation fault. "),
            "worker died: DataLoader worker (pid 47)",
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 47) exited unexpectedly"),
            "worker died: DataLoader worker (pid(s) 47",
        ),
        (WorkerLostError("process 2 of the 2 of the trial was ended by SIGKILL"), "worker died: process 2"),
        (DataError("s3://key:secret@bucket/a.jpg: corrupt"), "data: s3://***@bucket/a.jpg: corrupt"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert describe_failure(error).startswith(reason)


def test_a_cuda_error_corrupts_the_process_and_lack_of_memory_does_not() -> None:
    assert corrupts_process(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not corrupts_process(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not corrupts_process(RuntimeError("CUDA error: out of memory"))


def test_a_cuda_error_of_another_process_does_not_corrupt_this_one() -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert not corrupts_process(Failure.of(error, process=2).error())


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
        streak.reset()
    else:
        streak.failed(other)
    assert not streak.failed("bug")


def test_an_error_of_torch_on_a_full_disk_is_an_error_of_the_disk() -> None:
    """It raises another error while it handles the ``OSError``, without naming it as the cause."""
    error = RuntimeError("unexpected pos 704 vs 598")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert describe_failure(error) == "storage: unexpected pos 704 vs 598"
    error.__suppress_context__ = True
    assert describe_failure(error).startswith("bug: ")


def test_a_streak_continues_in_the_next_session() -> None:
    streak = streak_after(["bug: 1", None, *["bug: 2"] * (MAX_SAME_FAILURES - 1)])
    assert streak.failed("bug: 3")
    assert not streak_after([*["bug: 2"] * (MAX_SAME_FAILURES - 1), None]).failed("bug: 3")


def test_a_streak_that_has_aborted_the_study_counts_as_zero() -> None:
    """Otherwise a study could never be resumed: its first failure would abort it again."""
    streak = streak_after(["bug: 1"] * MAX_SAME_FAILURES)
    assert [streak.failed("bug: 1") for _ in range(MAX_SAME_FAILURES)] == [False] * (MAX_SAME_FAILURES - 1) + [True]
