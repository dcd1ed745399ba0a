"""Trials side by side equal trials alone, bit for bit on the CPU, whoever joins, leaves or fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.experiment import without_distillation
from distune.config.paths import merge
from distune.records import EpochReport, TrialSpec
from distune.training import checkpoint
from distune.training.cohort import STREAM_EPOCH, Cohort
from distune.training.solo_run import open_trial
from distune.training.student import Student
from distune.training.trial_cohort import TrialCohort
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment
from support.solo_runs import State, assert_equal, save_random_teacher, timeless

EPOCHS = 3
PARAMS: tuple[dict[str, Any], ...] = (
    {"local_knowledge": {"weight": 0.3}},
    {"soft_labels": {"weight": 2.0}, "prototypes": {"per_class": 1}},
    {"decay": "cosine"},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_random_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def specs(tmp_path: Path, teacher: str) -> dict[str, TrialSpec]:
    """A control and three trials with other settings of distillation."""
    tiny = {"training": {"epochs": EPOCHS}, "data": {"num_train": 4, "num_search": 2}, "tracking": {"pictures": 0}}
    values = small_experiment(tiny).to_dict()
    found = {
        "control-1": TrialSpec(
            study="one",
            number=-1,
            control=True,
            seed=5,
            num_epochs=EPOCHS,
            params={},
            experiment=without_distillation(values),
            folder=str(tmp_path / "control-1"),
            teacher_weights=None,
        )
    }
    for number, changes in enumerate(PARAMS):
        found[str(number)] = dataclasses.replace(
            found["control-1"],
            number=number,
            control=False,
            experiment=merge(values, {"distillation": changes}),
            folder=str(tmp_path / str(number)),
            teacher_weights=teacher,
        )
    return found


def weights(spec: TrialSpec) -> State:
    content = checkpoint.load(TrialFolder.of(spec).last_checkpoint)
    assert content is not None
    state: State = content["model"]
    return state


def alone(spec: TrialSpec, folder: Path, *, first: int = 0) -> tuple[State, list[dict[str, float]]]:
    """Train a trial by itself, from a given epoch of the stream."""
    spec = dataclasses.replace(spec, folder=str(folder / f"alone-{spec.key}-{first}"))
    run = open_trial(spec, stream_epochs=[first + epoch for epoch in range(EPOCHS)])
    reports = [run.run_epoch() for _ in range(EPOCHS)]
    run.close()
    return weights(spec), [timeless(report.metrics) for report in reports]


def test_company_changes_nothing(specs: dict[str, TrialSpec], tmp_path: Path) -> None:
    cohort = TrialCohort()
    for spec in specs.values():
        assert cohort.open(spec).epochs_done == 0
    for epoch in range(1, EPOCHS + 1):
        outcomes = cohort.run_epoch()
        assert list(outcomes) == list(specs)
        assert all(isinstance(each, EpochReport) and each.epoch == epoch for each in outcomes.values())
    cohort.close()
    states = []
    for spec in specs.values():
        state, metrics = alone(spec, tmp_path)
        assert_equal(weights(spec), state)
        assert [timeless(report.metrics) for report in TrialFolder.of(spec).reports()] == metrics
        states.append(state)
    assert any(not torch.equal(states[1][name], states[2][name]) for name in states[1])


def test_a_trial_that_joins_late_goes_on_where_the_stream_is(specs: dict[str, TrialSpec], tmp_path: Path) -> None:
    cohort = TrialCohort()
    cohort.open(specs["0"])
    cohort.run_epoch()
    cohort.open(specs["1"])
    outcomes = cohort.run_epoch()
    cohort.leave("0")
    cohort.open(specs["control-1"])
    for _ in range(2):
        outcomes = cohort.run_epoch()
    late = outcomes["1"]
    assert isinstance(late, EpochReport)
    assert (late.epoch, late.metrics[STREAM_EPOCH]) == (3, 4.0)
    recorded = [report.metrics[STREAM_EPOCH] for report in TrialFolder.of(specs["control-1"]).reports()]
    assert recorded == [3.0, 4.0]
    state, metrics = alone(specs["1"], tmp_path, first=1)
    assert_equal(weights(specs["1"]), state)
    assert [timeless(report.metrics) for report in TrialFolder.of(specs["1"]).reports()] == metrics
    other, _ = alone(specs["1"], tmp_path, first=0)
    assert any(not torch.equal(state[name], other[name]) for name in state)


def test_an_error_ends_one_student(
    specs: dict[str, TrialSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Student.step

    def fail_in_second_epoch(self: Student, *arguments: Any) -> None:
        if self.key == "1" and self.epochs_done == 1:
            raise MemoryError("no memory")
        step(self, *arguments)

    monkeypatch.setattr(Student, "step", fail_in_second_epoch)
    cohort = TrialCohort()
    for spec in specs.values():
        cohort.open(spec)
    seen = [cohort.run_epoch() for _ in range(EPOCHS)]
    assert isinstance(seen[1]["1"], MemoryError)
    assert "1" not in seen[2]
    for key in ("control-1", "0", "2"):
        state, _ = alone(specs[key], tmp_path)
        assert_equal(weights(specs[key]), state)


def test_a_teacher_that_does_not_fit_at_first_is_built_for_the_next_trial(
    specs: dict[str, TrialSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_teacher = Cohort.set_teacher
    calls: list[None] = []

    def fail_once(self: Cohort, *arguments: Any, **keywords: Any) -> None:
        calls.append(None)
        if len(calls) == 1:
            raise MemoryError("no memory")
        set_teacher(self, *arguments, **keywords)

    monkeypatch.setattr(Cohort, "set_teacher", fail_once)
    cohort = TrialCohort()
    cohort.open(specs["control-1"])
    with pytest.raises(MemoryError):
        cohort.open(specs["0"])
    cohort.open(specs["1"])
    outcomes = cohort.run_epoch()
    assert {key: type(outcome) for key, outcome in outcomes.items()} == dict.fromkeys(("control-1", "1"), EpochReport)


def test_a_resumed_cohort_equals_an_uninterrupted_one(specs: dict[str, TrialSpec], tmp_path: Path) -> None:
    """One trial is an epoch behind, as after a crash between two checkpoints: the others wait for it."""
    cohort = TrialCohort()
    for key in ("0", "1"):
        cohort.open(specs[key])
    cohort.run_epoch()
    cohort.leave("1")
    cohort.run_epoch()
    cohort.close()
    resumed = TrialCohort()
    assert [resumed.open(specs[key]).epochs_done for key in ("0", "1")] == [2, 1]
    assert list(resumed.run_epoch()) == ["1"]
    assert sorted(resumed.run_epoch()) == ["0", "1"]
    for key in ("0", "1"):
        state, _ = alone(specs[key], tmp_path)
        assert_equal(weights(specs[key]), state)


def test_controls_of_other_seeds_train_beside_in_their_own_cohort(specs: dict[str, TrialSpec], tmp_path: Path) -> None:
    second = dataclasses.replace(specs["control-1"], number=-2, seed=6, folder=str(tmp_path / "control-2"))
    cohort = TrialCohort()
    for spec in (specs["control-1"], second):
        cohort.open(spec)
    for _ in range(EPOCHS):
        assert sorted(cohort.run_epoch()) == ["control-1", "control-2"]
    state, _ = alone(second, tmp_path)
    assert_equal(weights(second), state)


def test_a_trial_that_joins_late_finds_the_maps_of_earlier_epochs(specs: dict[str, TrialSpec], tmp_path: Path) -> None:
    for key in ("0", "1"):
        repeated = merge(specs[key].experiment, {"data": {"augmentation": {"copies": 2}}})
        specs[key] = dataclasses.replace(specs[key], experiment=repeated)
    cohort = TrialCohort()
    cohort.open(specs["0"])
    shares = [metrics_of(cohort, "0")["speed/cached_batches"] for _ in range(2)]
    cohort.leave("0")  # nothing is left, and the next trial starts with the first epoch
    cohort.open(specs["1"])
    shares += [metrics_of(cohort, "1")["speed/cached_batches"] for _ in range(EPOCHS)]
    cohort.close()
    assert shares == [0.0, 0.0, 1.0, 1.0, 1.0]
    state, _ = alone(specs["1"], tmp_path)
    assert_equal(weights(specs["1"]), state)


def metrics_of(cohort: TrialCohort, key: str) -> dict[str, float]:
    report = cohort.run_epoch()[key]
    assert isinstance(report, EpochReport)
    return report.metrics
