"""Calls to the worker of a cohort that never return, without Ray: whoever waits for one asks whether it has arrived."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from distune.study.runners import ray_cohorts
from distune.study.runners.ray_cohorts import _CallLostError, _result_of, _wait_until_started
from distune.study.runners.trial_attempt import StepResult


class FakeRay:
    """A Ray with one call. ``answers`` are those of the worker to the questions for it; None is no answer in time."""

    def __init__(self, answers: list[bool | None], *, returns_after: int | None = None) -> None:
        self.answers, self.returns_after, self.now, self.num_questions = answers, returns_after, 0.0, 0
        self.killed: list[Any] = []

    def kill(self, worker: Any, *, no_restart: bool) -> None:
        assert not no_restart
        self.killed.append(worker)

    def wait(self, calls: list[Any], *, timeout: float) -> tuple[list[Any], list[Any]]:
        self.now += timeout
        is_ready = self.returns_after is not None and self.num_questions >= self.returns_after
        return (calls, []) if is_ready else ([], calls)

    def get(self, call: Callable[[], Any], *, timeout: float = 0.0) -> Any:
        return call()

    def ask(self) -> bool:
        self.num_questions += 1
        answer = self.answers[min(self.num_questions, len(self.answers)) - 1]
        if answer is None:
            self.now += 30.0
            raise GetTimeoutError("Get timed out")
        return answer


def run(monkeypatch: pytest.MonkeyPatch, fake: FakeRay) -> StepResult:
    monkeypatch.setattr(ray_cohorts, "ray", fake)
    monkeypatch.setattr(ray_cohorts, "time", SimpleNamespace(monotonic=lambda: fake.now))
    worker = SimpleNamespace(is_here=SimpleNamespace(remote=lambda key, visit: fake.ask))
    return _result_of(lambda: StepResult(notes=("done",)), worker, "3", 0)


def test_a_long_epoch_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay([True], returns_after=1000)
    assert run(monkeypatch, fake).notes == ("done",)
    assert fake.num_questions == 1000


def test_a_call_that_has_not_arrived_ends_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay([True, False, True, False, False])
    with pytest.raises(_CallLostError, match=r"^it has not received the call for an epoch$"):
        run(monkeypatch, fake)
    assert fake.num_questions == 5, "one answer may have been given while the result was on its way"


def test_a_worker_that_does_not_answer_is_lost_after_a_quarter_of_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay([None])
    with pytest.raises(_CallLostError, match=r"^it has not answered for 15 minutes$"):
        run(monkeypatch, fake)
    assert 900.0 < fake.now < 1000.0
    assert len(fake.killed) == 1, "it may be alive, and hold the folder of the trial"


def test_a_worker_that_is_busy_for_minutes_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay([*[None] * 10, True, *[None] * 10, True], returns_after=22)
    assert run(monkeypatch, fake).notes == ("done",)


def test_a_worker_that_never_starts_again_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay([None])
    monkeypatch.setattr(ray_cohorts, "ray", fake)
    monkeypatch.setattr(ray_cohorts, "time", SimpleNamespace(monotonic=lambda: fake.now))
    with pytest.raises(_CallLostError, match=r"^it has not answered for 15 minutes$"):
        _wait_until_started(SimpleNamespace(is_ready=SimpleNamespace(remote=lambda: fake.ask)))
