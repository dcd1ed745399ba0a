"""Workers of cohorts that die and start again, without Ray: they get no trial until they have answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from distune.errors import ResourceError
from distune.records import TrialSpec
from distune.study.failures.retries import Company
from distune.study.resources import Resources
from distune.study.runners import ray_cohorts
from distune.study.runners.ray_cohorts import WORKER, CohortWorkers
from study.harness import MakeHarness, take

DEAD = ActorDiedError()
RESTARTING = ActorUnavailableError("is restarting", b"x" * 16)


class FakeWorkers:
    """A Ray with two workers. ``states`` are what the question for each one returns: True, None for later, an error."""

    def __init__(self) -> None:
        self.states: list[Any] = [True, True]
        self._num = 0

    def remote(self, cls: type) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda **arguments: self._actor()))

    def wait(self, calls: list[int], **_: Any) -> tuple[list[int], list[int]]:
        return [call for call in calls if self.states[call] is not None], []

    def get(self, call: int) -> Any:
        if isinstance(self.states[call], Exception):
            raise self.states[call]
        return self.states[call]

    def _actor(self) -> Any:
        index, self._num = self._num, self._num + 1
        ignored = SimpleNamespace(remote=lambda *_: None)
        return SimpleNamespace(is_ready=SimpleNamespace(remote=lambda: index), leave=ignored)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    fake = FakeWorkers()
    monkeypatch.setattr(ray_cohorts, "ray", fake)
    return fake


@pytest.fixture
def workers(fake: FakeWorkers) -> CohortWorkers:
    return CohortWorkers(number=2, num_at_start=2, size=2, num_first=0, reserved=Resources(1.0), simulate=True)


@pytest.fixture
def specs(make_harness: MakeHarness) -> list[TrialSpec]:
    engine = make_harness().engine()
    return [take(engine) for _ in range(3)]


def place(workers: CohortWorkers, spec: TrialSpec) -> str:
    return str(workers.config_of(spec, Company.SHARED)[WORKER])


def test_a_worker_that_has_failed_gets_no_trial_until_it_answers(
    fake: FakeWorkers, workers: CohortWorkers, specs: list[TrialSpec]
) -> None:
    first = place(workers, specs[0])
    fake.states[0] = RESTARTING
    workers.release(specs[0].key, has_failed=True)
    assert place(workers, specs[0]) != first
    assert place(workers, specs[1]) != first
    assert not workers.may_start(), "the other one is full"
    fake.states[0] = None
    assert not workers.may_start()
    fake.states[0] = True
    assert place(workers, specs[2]) == first


def test_a_trial_that_ends_well_asks_nothing(fake: FakeWorkers, workers: CohortWorkers, specs: list[TrialSpec]) -> None:
    first = place(workers, specs[0])
    fake.states[0] = None
    workers.release(specs[0].key)
    assert place(workers, specs[0]) == first


@pytest.mark.parametrize("can_start", [True, False])
def test_workers_that_can_never_start_end_the_session(fake: FakeWorkers, can_start: bool) -> None:
    fake.states = [DEAD, True if can_start else DEAD]
    workers = CohortWorkers(number=2, num_at_start=2, size=2, num_first=0, reserved=Resources(1.0), simulate=True)
    if can_start:
        assert workers.may_start()
        return
    with pytest.raises(ResourceError, match=r"no worker of a cohort can start; worker died: "):
        workers.may_start()
