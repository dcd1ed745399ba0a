"""Simulated trials: curves that rise, depend only on seed and parameters, and resume where they stopped."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distune.errors import TrialError
from distune.records import EpochReport, TrialSpec
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE, SimulatedTrial, quality, simulated_metrics
from distune.study.runners.trial_attempt import TrialAttempt
from distune.study.trial_spec import SpecMaker
from study.harness import MakeLoaded


@pytest.fixture
def spec(make_loaded: MakeLoaded, tmp_path: Path) -> TrialSpec:
    experiment = make_loaded().experiment
    maker = SpecMaker(study="small", experiment=experiment, trials_folder=tmp_path, teacher_weights=None)
    return maker.make(3, {"distillation.global_knowledge.weight": 7.0})[0]


def changed(spec: TrialSpec, **changes: Any) -> TrialSpec:
    return dataclasses.replace(spec, **changes)


def test_curves_rise_and_losses_fall(spec: TrialSpec) -> None:
    first, last = simulated_metrics(spec, 1), simulated_metrics(spec, 9)
    assert 0 < first["search/AP"] < last["search/AP"] < first["search/AP50"] * 10 <= 1000
    assert first["loss/task"] > last["loss/task"] > 0


def test_metrics_follow_from_seed_values_and_epoch_alone(spec: TrialSpec) -> None:
    assert simulated_metrics(spec, 4) == simulated_metrics(changed(spec, number=8, folder="elsewhere"), 4)
    assert simulated_metrics(spec, 4) != simulated_metrics(changed(spec, seed=6), 4)
    assert simulated_metrics(spec, 4) != simulated_metrics(changed(spec, params={"alpha": 1.0}), 4)


def test_good_values_beat_the_control_and_poor_ones_do_not(spec: TrialSpec, make_loaded: MakeLoaded) -> None:
    random = np.random.default_rng(0)
    control = simulated_metrics(changed(spec, control=True, params={}), 9)["search/AP"]
    scores = []
    for weight, soft, local in random.uniform(0, 1, (200, 3)):
        params: dict[str, str | float] = {
            "distillation.global_knowledge.weight": 0.5 * 100**weight,
            "distillation.soft_labels.weight": 0.1 * 1000**soft,
            "distillation.local_knowledge.weight": 0.1 * 200**local,
        }
        assert 0 <= quality(params) <= 1
        scores.append(simulated_metrics(changed(spec, params=params), 9)["search/AP"])
    assert max(scores) > control + 3
    assert min(scores) < control


def test_close_values_have_similar_quality() -> None:
    for value in (0.0, 0.1, 1.0, 30.0):
        assert quality({"alpha": value}) == pytest.approx(quality({"alpha": value * 1.01 + 1e-3}), abs=0.02)


def test_a_simulated_trial_resumes_after_the_epochs_in_its_folder(spec: TrialSpec) -> None:
    trial = SimulatedTrial(spec)
    reports = [trial.run_epoch(), trial.run_epoch()]
    again = SimulatedTrial(spec)
    assert again.epochs_done == 2
    assert again.run_epoch().metrics["search/AP"] == simulated_metrics(spec, 3)["search/AP"]
    assert [report.epoch for report in reports] == [1, 2]


def test_the_metric_of_the_study_is_always_reported(spec: TrialSpec) -> None:
    experiment = {**spec.experiment, "search": {**spec.experiment["search"], "metric": "AP_small"}}
    assert "search/AP_small" in SimulatedTrial(changed(spec, experiment=experiment)).run_epoch().metrics


def test_an_attempt_returns_recorded_epochs_before_it_trains(spec: TrialSpec) -> None:
    first = TrialAttempt(spec, simulate=True)
    assert [report.epoch for report in first.step().reports] == [1]
    assert [report.epoch for report in first.step().reports] == [2]
    first.close()
    second = TrialAttempt(spec, simulate=True)
    assert [report.epoch for report in second.step().reports] == [1, 2]
    assert [report.epoch for report in second.step().reports] == [3]
    second.close()


def test_two_workers_cannot_have_the_same_trial(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.runners.trial_attempt.TAKEOVER_TIMEOUT_S", 0.0)
    first, second = TrialAttempt(spec, simulate=True), TrialAttempt(spec, simulate=True)
    first.step()
    assert "another process" in (second.step().failure or "")
    first.close()
    assert second.step().failure is None
    second.close()


def test_an_error_while_closing_is_not_raised(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: SimulatedTrial) -> None:
        raise TrialError("cannot close")

    monkeypatch.setattr(SimulatedTrial, "close", fail)
    attempt = TrialAttempt(spec, simulate=True)
    attempt.step()
    attempt.close()
    assert "cannot close" in (Path(spec.folder) / "error.txt").read_text()
    attempt = TrialAttempt(spec, simulate=True)
    assert attempt.step().failure is None, "the lock of the folder was released"
    attempt.close()


def test_faults_come_from_the_environment_only(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, '{"faults": {"3": {"epoch": 1, "kind": "error"}}}')
    assert "simulated error" in (TrialAttempt(spec, simulate=True).step().failure or "")
    assert SimulatedTrial(changed(spec, number=4)).run_epoch().epoch == 1


def test_a_failed_attempt_frees_its_memory_at_once(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next trial of the process needs it."""
    kept: list[weakref.ref[set[int]]] = []

    def fail(trial: SimulatedTrial) -> EpochReport:
        graph: set[int] = set()
        kept.append(weakref.ref(graph))
        results: dict[str, Exception] = {}
        try:
            raise ValueError("a step failed")
        except ValueError as error:
            results["trial"] = error  # a cycle of error, frame and locals
        raise results["trial"]

    monkeypatch.setattr(SimulatedTrial, "run_epoch", fail)
    gc.disable()
    try:
        result = TrialAttempt(spec, simulate=True).step()
    finally:
        gc.enable()
    assert "a step failed" in (result.failure or "")
    assert kept[0]() is None
