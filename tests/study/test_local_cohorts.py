"""Whole simulated studies in this process whose trials are trained side by side."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from distune.records import EpochReport, Outcome, TrialState
from distune.study.failures.retries import Company, Retry
from distune.study.runners.cohort_attempt import CohortAttempt
from distune.study.runners.simulated_host import SimulatedHost
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.runners.trial_attempt import StepResult
from study.harness import EngineHarness, MakeHarness, take, tell


def results(harness: EngineHarness) -> dict[int, tuple[TrialState, dict[int, float]]]:
    return {number: (trial.state, trial.scores) for number, trial in harness.known().items()}


def test_a_whole_study(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.cohort_size = 4
    engine = harness.run()
    assert engine.is_done
    assert len(harness.states()) == 12
    assert harness.witness.outcomes()["control-1"] is Outcome.FINISHED
    assert [spec.key for spec in harness.witness.specs[:4]] == ["control-1", "0", "1", "2"]
    first_epochs = [key for key, epoch in harness.witness.points[:4] if epoch == 1]
    assert first_epochs == ["control-1", "0", "1", "2"], "they start together"
    assert max(Counter(harness.witness.points).values()) == 1
    for number, trial in harness.known().items():
        reports = harness.folder("control-1" if number < 0 else str(number)).reports()
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
        assert len(reports) == 9 if trial.state is TrialState.COMPLETE else len(reports) in (1, 3)


@pytest.mark.parametrize("epochs", [1, 3, 7])
def test_many_short_sessions_equal_one_long_one(make_harness: MakeHarness, epochs: int) -> None:
    calm = make_harness(search={"sampler": {"kind": "random", "seed": 1}})
    calm.cohort_size = 3
    calm.run()
    harness = make_harness(search={"sampler": {"kind": "random", "seed": 1}})
    harness.cohort_size, harness.trials = 3, harness.trials.with_name("interrupted")
    while not harness.run(stop_after_epochs=epochs).is_done:
        pass
    assert results(harness) == results(calm)
    assert set(harness.witness.points) == set(calm.witness.points)


def test_faults_end_their_own_trial(make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = {
        "1": {"epoch": 1, "kind": "error"},
        "2": {"epoch": 1, "kind": "nan"},
        "3": {"epoch": 1, "kind": "out_of_memory", "once": True},
        "4": {"epoch": 1, "kind": "out_of_memory"},
    }
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    harness = make_harness()
    harness.cohort_size = 4
    harness.run()
    outcomes = harness.witness.outcomes()
    assert {key for key, outcome in outcomes.items() if outcome is Outcome.FAILED} == {"1", "4"}
    assert outcomes["2"] is Outcome.DIVERGED
    assert len(harness.known()[3].retries) == 1
    assert any("trial 3: out of memory" in text and "alone on its device" in text for text in harness.witness.messages)


def test_a_worker_lost_in_company_makes_suspects_not_culprits(make_harness: MakeHarness) -> None:
    lost = "worker died: its node has gone away"
    harness = make_harness()
    engine = harness.engine()
    specs = [take(engine) for _ in range(3)]
    for spec in specs[1:]:
        tell(harness, engine, spec, 1, 20.0)
        engine.fail(spec.key, lost, in_company=True)
    for spec in specs[1:]:
        assert take(engine) == spec
        assert engine.company_of(spec.key) is Company.ALONE_FOR_AN_EPOCH
    tell(harness, engine, specs[1], 2, 21.0)
    assert engine.company_of(specs[1].key) is Company.SHARED
    engine.fail(specs[1].key, lost, in_company=True)
    assert take(engine) == specs[1], "another worker lost in company does not count either"
    engine.fail(specs[2].key, lost, in_company=True)
    assert take(engine) == specs[2], "it waited while another one ended their worker"
    engine.fail(specs[2].key, lost)
    assert take(engine) == specs[2]
    assert harness.known()[1].retries[-1] == Retry(reason=lost, epochs=1), "it was alone"
    assert engine.company_of(specs[2].key) is Company.ALONE_FOR_AN_EPOCH
    engine.fail(specs[2].key, lost)
    assert harness.known()[1].state is TrialState.FAIL
    assert any("an epoch alone, since one of the trials of its worker" in text for text in harness.witness.messages)


def test_a_worker_that_ran_out_of_memory_trains_fewer_trials(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {"2": {"epoch": 2, "kind": "out_of_memory", "once": True}}
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": faults}))
    harness = make_harness()
    harness.cohort_size = 4
    sizes = []
    step = CohortAttempt.step

    def count(attempt: CohortAttempt) -> dict[str, StepResult]:
        sizes.append(len(attempt.keys))
        return step(attempt)

    monkeypatch.setattr(CohortAttempt, "step", count)
    assert harness.run().is_done
    first = sizes.index(3)
    assert set(sizes[:first]) == {4}
    assert max(sizes[first:]) == 3
    notes = [text for text in harness.witness.messages if "at a time" in text]
    assert notes == ["trial 2: ran out of memory beside 3 others: its worker trains at most 3 at a time from now on"]


def test_a_lack_of_memory_for_what_trials_share_fails_the_last_of_them(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the teacher's forward pass, which no trial has caused alone."""
    run_epoch = SimulatedHost.run_epoch

    def run_epoch_of_at_most_two(host: SimulatedHost) -> dict[str, EpochReport | Exception]:
        if len(host._trials) > 2:
            raise MemoryError("simulated")
        return run_epoch(host)

    monkeypatch.setattr(SimulatedHost, "run_epoch", run_epoch_of_at_most_two)
    harness = make_harness()
    harness.cohort_size = 4
    assert harness.run().is_done
    assert Outcome.FAILED not in harness.witness.outcomes().values()
    tried_again = [number for number, trial in harness.known().items() if trial.retries]
    assert tried_again == [1, 2], "the two that had joined last"
    assert max(Counter(harness.witness.points).values()) == 1, "the others lost an epoch that was not recorded"
