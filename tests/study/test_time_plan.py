"""The estimated time before a study runs, and the earlier studies that it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.config.load import LoadedExperiment, load_experiment
from distune.records import EpochReport
from distune.study.create import create_study
from distune.study.files.study_folder import StudyFolder
from distune.study.planning.earlier_epochs import earlier_epoch_seconds, epoch_hash
from distune.study.planning.study_plan import plan_study
from distune.study.planning.time_plan import EpochSeconds, describe_time_plan, plan_time
from study.harness import MakeLoaded
from support.experiments import small_values

MEASURED = EpochSeconds(student=4.0, control=1.0, teacher=20.0, source="in study first")


def test_the_work_is_shared_and_the_teacher_comes_first(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "none"}}).experiment)
    found = plan_time(plan, MEASURED, num_concurrent=2, teacher_epochs=3)
    assert (found.search_s, found.teacher_s, found.total_s) == ((12 * 9 * 4 + 9 * 1) / 2, 60.0, 280.5)
    many = plan_time(plan, MEASURED, num_concurrent=100, teacher_epochs=0)
    assert (many.search_s, many.teacher_s) == (9 * 4.0, 0.0)
    assert plan_time(plan, EpochSeconds(student=4.0, source=""), num_concurrent=1, teacher_epochs=0).search_s == 13 * 36
    assert found.to_dict()["total_s"] == 280.5


def test_asha_saves_time_and_median_stopping_is_not_predicted(make_loaded: MakeLoaded) -> None:
    asha = plan_study(make_loaded().experiment)
    assert asha.expected_epochs is not None
    seconds = EpochSeconds(student=1.0, source="")
    assert plan_time(asha, seconds, num_concurrent=1, teacher_epochs=0).search_s == asha.expected_epochs
    median = plan_study(make_loaded(search={"scheduler": {"kind": "median"}}).experiment)
    found = plan_time(median, seconds, num_concurrent=1, teacher_epochs=0)
    assert (found.search_s, found.is_maximum) == (13 * 9, True)
    assert describe_time_plan(found)[0].startswith("estimated time: at most 2 min; 1 trial at a time")


def test_the_estimate_in_a_line(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "none"}}).experiment)
    assert describe_time_plan(plan_time(plan, MEASURED, num_concurrent=2, teacher_epochs=3)) == [
        "estimated time: about 5 min, 60 s of it for the teacher; 2 trials at a time (measured in study first: "
        "4 s per student epoch, 1 s without distillation, 20 s per teacher epoch)"
    ]
    alone = EpochSeconds(student=3.14, source="on 4 batches on the CPU", is_alone=True)
    assert describe_time_plan(plan_time(plan, alone, num_concurrent=2, teacher_epochs=14)) == [
        "estimated time: about 3 min, and the teacher's 14 epochs, which are not measured; 2 trials at a time "
        "(measured on 4 batches on the CPU: 3.1 s per student epoch)",
        "estimated time: trials that run at a time slow each other, which is not measured here",
    ]
    (line,) = describe_time_plan(None)
    assert line.startswith("estimated time: not measured yet; distune validate --time")


def loaded(changes: dict[str, Any] | None = None) -> LoadedExperiment:
    return load_experiment(small_values(changes))


def study(home: Home, name: str, changes: dict[str, Any] | None = None, *, simulate: bool = False) -> StudyFolder:
    """A study whose control has epochs of 1 s, and whose trial has epochs of 3 s and 5 s."""
    folder = create_study(loaded(changes), home, name=name, simulate=simulate, runner="local", replace=False)
    for number, epoch, seconds in ((-1, 1, 1.0), (0, 1, 3.0), (0, 2, 5.0)):
        report = EpochReport(epoch=epoch, metrics={"time/epoch_s": seconds}, finished_at=100.0 * epoch)
        folder.trial(number).append(report)
    return folder


def test_an_earlier_study_of_the_same_pair_is_found(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert earlier_epoch_seconds(home, loaded().experiment) is None
    study(home, "first", {"training": {"epochs": 7}, "distillation": {"preset": "decoupled"}})
    study(home, "rehearsal", simulate=True)
    study(home, "larger", {"data": {"min_size_px": 96, "max_size_px": 96}})
    damaged = study(home, "damaged")
    damaged.experiment_file.write_text("name: [", encoding="utf-8")
    found = earlier_epoch_seconds(home, loaded().experiment)
    assert found == EpochSeconds(student=4.0, control=1.0, source="in study first")


def test_the_epochs_of_a_cohort_count_as_if_each_trial_had_trained_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = create_study(loaded(), home, name="cohort", simulate=False, runner="local", replace=False)
    parts = {"time/load_s": 1.0, "time/teacher_s": 2.0, "time/student_s": 4.0, "time/evaluate_s": 0.5}
    report = EpochReport(epoch=1, metrics={**parts, "time/epoch_s": 3.0 + 8 * 4.5}, finished_at=100.0)
    folder.trial(0).append(report)
    found = earlier_epoch_seconds(home, loaded().experiment)
    assert found == EpochSeconds(student=7.5, shared=3.0, source="in study cohort")
    assert found.in_cohort(8).student == 3.0 + 8 * 4.5


@pytest.mark.parametrize(
    "changes",
    [
        {"student": {"fpn_channels": 32}},
        {"teacher": {"fpn_channels": 32}},
        {"training": {"batch_size": 2}},
        {"data": {"num_train": 9}},
        {"resources": {"cpus_per_trial": 2}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_determines_the_time_of_an_epoch_must_be_equal(changes: dict[str, Any]) -> None:
    assert epoch_hash(loaded().experiment) != epoch_hash(loaded(changes).experiment)
    assert epoch_hash(loaded().experiment) == epoch_hash(
        loaded({"name": "other", "search": {"num_trials": 9}}).experiment
    )


def test_a_cohort_pays_once_for_batches_and_the_teacher(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "none"}}).experiment)
    alone = EpochSeconds(student=4.0, shared=1.0, source="on 4 batches", is_alone=True)
    found = plan_time(plan, alone, num_concurrent=4, teacher_epochs=0, cohort=4)
    assert found.search_s == 13 * 9 * (1.0 + 4 * 3.0) / 4
    assert found.cohort_saving == 1 - 13 / 16
    assert "4 trials at a time, 4 side by side, which saves 19% of the time (measured" in describe_time_plan(found)[0]
    assert len(describe_time_plan(found)) == 1
    assert plan_time(plan, alone, num_concurrent=1, teacher_epochs=0).cohort_saving is None
    assert plan_time(plan, MEASURED, num_concurrent=4, teacher_epochs=0, cohort=4).cohort_saving is None
