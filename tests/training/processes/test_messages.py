"""What the processes of a trial send, and the devices that they see."""

from __future__ import annotations

import errno
import pickle
from typing import Any

import pytest

from distune.errors import ConfigError, DataError, TrialError
from distune.study.failures.reasons import describe_failure, is_storage_error
from distune.training.processes.messages import Failure
from distune.training.processes.process_run import visible_device


def sent(error: Exception) -> Exception:
    """The error as the trial receives it."""
    failure: Failure = pickle.loads(pickle.dumps(Failure.of(error, process=2)))
    return failure.error()


@pytest.mark.parametrize(
    "error",
    [DataError("broken.jpg: corrupt"), RuntimeError("CUDA out of memory"), TrialError("reason"), ValueError("bug")],
)
def test_an_error_keeps_its_kind_and_gets_its_traceback(error: Exception) -> None:
    received = sent(error)
    assert type(received) is type(error)
    assert describe_failure(received) == describe_failure(error)
    assert received.__notes__[0].startswith("In process 2 of the trial:\n")


def test_an_error_keeps_its_causes() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as full:
            raise TrialError("the checkpoint could not be written") from full
    except TrialError as error:
        received = sent(error)
    assert str(received) == "the checkpoint could not be written"
    assert received.__cause__ is not None
    assert is_storage_error(received.__cause__)


def test_an_error_that_cannot_be_sent_keeps_its_message() -> None:
    received = sent(ConfigError("mine.yaml", ["a  is missing"]))
    assert isinstance(received, TrialError)
    assert "mine.yaml: 1 problem" in str(received)


@pytest.mark.parametrize(
    ("visible", "number", "expected"),
    [(None, 1, "1"), ("4,5", 0, "4"), ("4,5", 1, "5"), ("GPU-a, GPU-b", 1, "GPU-b"), ("4", 1, ""), ("", 0, "")],
)
def test_each_process_sees_one_of_the_gpus_of_the_trial(visible: Any, number: int, expected: str) -> None:
    assert visible_device(visible, number) == expected
