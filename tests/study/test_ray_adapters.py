"""What the engine's adapters tell Tune before any worker of a cohort has started, without Ray."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from ray.tune.search import Searcher

from distune.records import TrialSpec
from distune.study.failures.retries import Company
from distune.study.resources import Resources
from distune.study.runners import ray_adapters
from distune.study.runners.ray_adapters import EngineBridge, EngineSearcher
from distune.study.runners.watchdog import Watchdog
from study.harness import EngineHarness, MakeHarness


class Room:
    """A placement whose workers have room, or have not started. ``answers`` come first, one per question."""

    def __init__(self) -> None:
        self.has_room = False
        self.error: Exception | None = None
        self.answers: list[bool] = []

    def may_start(self) -> bool:
        return self.answers.pop(0) if self.answers else self.has_room

    def config_of(self, spec: TrialSpec, company: Company) -> dict[str, Any]:
        return {}

    def release(self, key: str, *, has_failed: bool = False) -> None: ...

    def limit(self, key: str, number: int) -> None: ...

    def add_queued(self, trial: Any) -> None: ...

    def outdated(self) -> list[Any]:
        return []

    def describe(self) -> str:
        if self.error is not None:
            raise self.error
        return "worker-0 waits since 90 s"


class Session:
    """A searcher of Tune, and what it depends on."""

    def __init__(self, harness: EngineHarness) -> None:
        self.room, self.engine = Room(), harness.engine()
        self.should_stop = False
        self.bridge = EngineBridge(
            self.engine,
            trial=Resources(1.0),
            placement=self.room,
            check_servers=lambda: None,
            should_stop=lambda: self.should_stop,
            callback=harness.witness,
        )
        self._searcher = EngineSearcher(self.bridge, simulate=True)

    def suggest(self) -> dict[str, Any] | str | None:
        return self._searcher.suggest("x")


@pytest.fixture
def session(make_harness: MakeHarness) -> Session:
    return Session(make_harness(search={"num_trials": 1, "controls": 0}))


def test_tune_asks_again_until_a_worker_has_started(session: Session) -> None:
    assert [session.suggest() for _ in range(3)] == [None] * 3
    session.room.has_room = True
    assert isinstance(session.suggest(), dict)
    assert session.suggest() is None, "the trial in flight may be retried"
    session.bridge.fail("0", "bug: x")
    session.room.has_room = False
    assert session.suggest() == Searcher.FINISHED, "none is left"


def test_a_worker_that_starts_between_two_questions_ends_nothing(session: Session) -> None:
    session.room.has_room, session.room.answers = True, [False]
    assert session.suggest() is None
    assert isinstance(session.suggest(), dict)


def test_a_request_to_stop_ends_the_wait(session: Session) -> None:
    assert session.suggest() is None
    session.should_stop = True
    assert session.suggest() == Searcher.FINISHED


def test_an_error_ends_the_wait(session: Session) -> None:
    session.bridge.error = RuntimeError("x")
    assert session.suggest() == Searcher.FINISHED


def test_an_aborted_study_ends_the_wait(session: Session) -> None:
    session.engine.blocking_error = "trial 0: storage: x"
    assert session.suggest() == Searcher.FINISHED


def test_a_study_without_progress_says_what_its_workers_do(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_adapters, "Watchdog", functools.partial(Watchdog, first_warning_s=0.0))
    harness = make_harness(search={"num_trials": 1})
    session = Session(harness)
    assert not session.bridge.is_stopping()
    session.room.error = RuntimeError("no connection")
    assert not session.bridge.is_stopping()
    first, second = harness.witness.messages
    assert first.endswith("limits an epoch (worker-0 waits since 90 s)")
    assert second.endswith("(workers cannot be asked: no connection)")
