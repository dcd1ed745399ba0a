"""Each check on hand-made records: a healthy study, and one broken in one place."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from distune.evidence.score_differences import ScoreDifference
from distune.explanation.checks import CHECKS, WITHOUT_TRAINING, run_checks
from distune.explanation.checks.budget import trend_of
from distune.explanation.explanation import problems_first
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import RunEvidence, StudyEvidence
from distune.records import Outcome
from explanation.making import (
    CURVE,
    DISTILLATION,
    NO_GAIN,
    PROTOTYPES,
    WITH_FILTER,
    confirmation,
    healthy,
    run,
    student,
    trial,
)

OK, PROBLEM, UNKNOWN = FindingState.OK, FindingState.PROBLEM, FindingState.UNKNOWN


def finding(check: str, evidence: StudyEvidence) -> Finding:
    return next(each for each in run_checks(evidence) if each.check == check)


def test_a_healthy_study_has_no_problem() -> None:
    findings = run_checks(healthy())
    assert [each.check for each in findings] == list(CHECKS)
    assert {each.state for each in findings} == {OK}
    assert all(each.text for each in findings)


def test_every_problem_has_an_advice_and_every_finding_can_be_written_as_json() -> None:
    import json

    for changes in BROKEN.values():
        for each in run_checks(healthy(**changes)):
            assert each.state is not PROBLEM or each.advice, each
            json.dumps(each.to_dict(), allow_nan=False)


def lead(**changes: tuple[float, float]) -> dict[str, ScoreDifference]:
    return {
        name.replace("_of_", "/"): ScoreDifference(first=first, second=second, error=0.5)
        for name, (first, second) in changes.items()
    }


def with_split(**changes: Any) -> dict[str, Any]:
    split = healthy().split
    assert split is not None
    return {"split": dataclasses.replace(split, **changes)}


SWAPPED = {"cat": {"dog": 83, "cat": 7, "": 10}, "dog": {"cat": 60, "dog": 12}}
ONE_NAME = {"cat": {"dog": 83, "cat": 7}, "dog": {"dog": 70, "cat": 2}}
RISING = tuple(5.0 * epoch for epoch in range(9))
LATE_CONFLICT = [{**student().epochs[0], "gradient_cosine/soft_labels": value} for value in (0.4, 0.2, -0.2, -0.3)]
GLOBAL = {**WITH_FILTER, "global_knowledge": {"weight": 0.3, "unit": "gradient_share"}}
PROTOTYPED = student(**PROTOTYPES)


def without_last_prototypes(run_evidence: RunEvidence) -> RunEvidence:
    """The run, with a last epoch that made no prototypes, as with a queue of features."""
    *earlier, last = run_evidence.epochs
    kept = {name: value for name, value in last.items() if not name.startswith("prototypes/")}
    return dataclasses.replace(run_evidence, epochs=(*earlier, kept))


BROKEN: dict[tuple[str, str], dict[str, Any]] = {
    ("teacher", "worse than the student"): {"teacher_lead": lead(AP=(20.0, 34.0))},
    ("teacher", "not clearly better"): {"teacher_lead": lead(AP=(35.0, 34.0))},
    ("teacher", "worse on class dog (-8.0)"): {"teacher_lead": lead(AP=(40.0, 34.0), AP_of_dog=(24.0, 32.0))},
    ("teacher", "worse on small objects (-8.0)"): {"teacher_lead": lead(AP=(40.0, 34.0), AP_small=(24.0, 32.0))},
    ("labels", 'the teacher calls cat "dog" in 92% of cases; the teacher calls dog "cat" in 83%'): with_split(
        teacher_labels=SWAPPED
    ),
    ("labels", 'the teacher calls cat "dog" in 92%'): with_split(teacher_labels=ONE_NAME),
    ("shares", "local_knowledge had 100 times the gradient of the task"): {
        "student": student(**{"share/local_knowledge": 100.0, "share_asked/local_knowledge": 100.0})
    },
    ("shares", "soft_labels had 0.0001 of the task's gradient, which changes nothing"): {
        "student": student(**{"share/soft_labels": 1e-4, "share_asked/soft_labels": 1e-4})
    },
    ("shares", "soft_labels had 0.2 of the task's gradient where 1 was asked"): {
        "student": student(**{"share/soft_labels": 0.2})
    },
    ("shares", "global_knowledge had no gradient in any epoch"): {"distillation": GLOBAL, "student": PROTOTYPED},
    ("shares", "no term of trial 7 has a weight"): {"distillation": {"filter": {}}},
    ("agreement", "soft_labels works against the task: the mean cosine of their gradients is -0.30"): {
        "student": student(**{"gradient_cosine/soft_labels": -0.3})
    },
    ("agreement", "soft_labels works against the task in the second half"): {
        "student": dataclasses.replace(student(), epochs=tuple(LATE_CONFLICT))
    },
    ("clipping", "clipped in 99% of steps, in the control in 20%"): {
        "control": run("control-1", CURVE, {"gradient/clipped": 0.2})
    },
    ("prototypes", "do not tell classes apart on 2 of 2 levels"): {
        "distillation": WITH_FILTER,
        "student": student(
            **{**PROTOTYPES, "features/class_gap_teacher/8": 0.01, "features/class_gap_teacher/16": 0.0}
        ),
    },
    ("prototypes", "no prototypes were made in any epoch"): {"distillation": WITH_FILTER},
    ("prototypes", "3 classes have no prototypes"): {
        "distillation": WITH_FILTER,
        "student": student(**{**PROTOTYPES, "prototypes/classes_without": 3.0}),
    },
    ("prototypes", "only 1.5 prototypes per class"): {
        "distillation": WITH_FILTER,
        "student": student(**{**PROTOTYPES, "prototypes/per_class": 1.5}),
    },
    ("prototypes", "3 classes have no prototypes on some level"): {
        "distillation": WITH_FILTER,
        "student": without_last_prototypes(student(**{**PROTOTYPES, "prototypes/classes_without": 3.0})),
    },
    ("filter", "drops nearly everything for the local terms: mean weight 0.01"): {
        "distillation": WITH_FILTER,
        "student": student(**{**PROTOTYPES, "filter/kept_local": 0.01}),
    },
    ("filter", "keeps nearly everything for the local terms: mean weight 1"): {
        "distillation": WITH_FILTER,
        "student": student(**{**PROTOTYPES, "filter/kept_local": 1.0}),
    },
    ("filter", "no prototypes in any epoch"): {"distillation": WITH_FILTER},
    ("budget", "still rises at the end: by +5.00 points an epoch"): {
        "student": run("7", RISING),
        "confirmation": NO_GAIN,
    },
    ("training images", "knows its training images by heart"): {
        **with_split(train_score=80.0),
        "confirmation": NO_GAIN,
    },
    ("training images", "the student is too small"): {
        **with_split(train_score=39.0),
        "confirmation": NO_GAIN,
    },
    ("spread", "no gain shown: +0.3 AP"): {"confirmation": NO_GAIN},
    ("spread", "worse than no distillation"): {"confirmation": confirmation(-3.0, -4.0, -2.0)},
    ("spread", "within twice their spread"): {"confirmation": None, "control_scores": (30.0, 34.0, 38.0)},
    ("data", "class dog (8 boxes) is worth up to 6.2 points of AP"): with_split(boxes={"cat": 120, "dog": 8}),
    ("data", "the search split has 5 images with boxes"): with_split(num_images=5),
    ("data", "AP is too coarse"): with_split(num_images=5),
    ("data", "no box that counts"): with_split(boxes={"cat": 0, "dog": 0}),
    ("trials", "1 failed and 1 diverged of 4 trials; commonest reason (1 of 2)"): {
        "trials": (
            trial(-1, 34.0),
            trial(7, 38.5),
            trial(8, 0.0, Outcome.FAILED, "out of memory: 3 GB"),
            trial(9, 0.0, Outcome.DIVERGED, "loss/task was nan in epoch 2"),
        )
    },
}
"""Check and part of its text, to what is broken."""


@pytest.mark.parametrize(("check", "text"), list(BROKEN), ids=[" ".join(each) for each in BROKEN])
def test_a_broken_study_has_a_problem_that_names_it(check: str, text: str) -> None:
    found = finding(check, healthy(**BROKEN[check, text]))
    assert found.state is PROBLEM, found
    assert text in found.text


def test_the_advice_tells_a_wrong_order_of_classes_from_a_teacher_that_has_one_name_for_all() -> None:
    swapped, half_swapped, one_name = (
        finding("labels", healthy(**with_split(teacher_labels=labels))).advice
        for labels in (SWAPPED, {"cat": {"dog": 74, "cat": 26}, "dog": {"cat": 55, "dog": 45}}, ONE_NAME)
    )
    assert "check the order of the classes" in swapped
    assert "check the order of the classes" in half_swapped
    assert "by one name" in one_name


def test_classes_with_few_found_objects_do_not_hide_that_a_teacher_has_one_name() -> None:
    rare = {"bird": {"dog": 4}, "fish": {"": 30}}
    one_name, two_names = (
        finding("labels", healthy(**with_split(teacher_labels={**labels, **rare}))).advice
        for labels in (ONE_NAME, {**ONE_NAME, "cow": {"cat": 40}})
    )
    assert "by one name" in one_name
    assert "check the order of the classes" in two_names


@pytest.mark.parametrize(
    ("weight", "kept", "advice"),
    [
        ("gaussian", (0.01, 1.0), "raise {global} and lower {local}, or search over them"),
        ("gaussian", (1.0, 0.01), "lower {global} and raise {local}, or search over them"),
        ("gaussian", (0.01, 0.01), "raise {global} and {local}, or search over them"),
        ("quantile", (0.01, 1.0), "lower {global} and raise {local}, or search over them"),
        ("gaussian", (0.6, 1.0), "lower {local}, or search over it"),
    ],
)
def test_each_threshold_of_the_filter_has_its_own_advice(weight: str, kept: tuple[float, float], advice: str) -> None:
    distillation = {**GLOBAL, "filter": {**DISTILLATION["filter"], "weight": weight}}
    metrics = {**PROTOTYPES, "filter/kept_global": kept[0], "filter/kept_local": kept[1]}
    found = finding("filter", healthy(distillation=distillation, student=student(**metrics)))
    paths = {reach: f"distillation.filter.{reach}_threshold = 0.2" for reach in ("global", "local")}
    assert found.state is PROBLEM
    assert found.advice.startswith(f"{advice.format(**paths)};")


UNKNOWNS: dict[tuple[str, str], dict[str, Any]] = {
    ("teacher", "there is no score of the teacher"): {"teacher_lead": {}},
    ("labels", "could not be compared"): {"split": None},
    ("labels", "overlap no object"): with_split(teacher_labels={"cat": {"": 9}, "dog": {"": 9}}),
    ("shares", "no share of the gradient is recorded"): {"student": run("7", CURVE)},
    ("agreement", "no cosine"): {"student": run("7", CURVE)},
    ("clipping", "no fraction of clipped steps"): {"student": run("7", CURVE), "control": None},
    ("clipping", "for one of student and control only"): {"control": None},
    ("budget", "3 epochs are too few"): {"student": run("7", CURVE[:3])},
    ("training images", "not measured"): {"split": None},
    ("spread", "the gain of +4.5 is that of the best trial under one seed"): {"confirmation": None},
    ("spread", "beyond twice their spread"): {"confirmation": None, "control_scores": (33.0, 34.0, 35.0)},
    ("spread", "the gain is unknown"): {"confirmation": None, "trials": (trial(7, 38.5),)},
    ("data", "were not counted"): {"split": None},
    ("trials", "no trial has started"): {"trials": (trial(0, 0.0, Outcome.WAITING),)},
}


@pytest.mark.parametrize(("check", "text"), list(UNKNOWNS), ids=[" ".join(each) for each in UNKNOWNS])
def test_what_the_study_does_not_hold_is_unknown(check: str, text: str) -> None:
    found = finding(check, healthy(**UNKNOWNS[check, text]))
    assert found.state is UNKNOWN, found
    assert text in found.text


FINE: dict[tuple[str, str], dict[str, Any]] = {
    ("teacher", "about equal on class dog (+1.0)"): {"teacher_lead": lead(AP=(45.0, 34.0), AP_of_dog=(33.0, 32.0))},
    ("teacher", "it does not know bird"): {"unknown_classes": ("bird",)},
    ("labels", "one class"): with_split(teacher_labels={"cat": {"cat": 9}}),
    ("labels", "the right class to 100% of the 5"): with_split(teacher_labels={"cat": {"cat": 5}, "dog": {"": 9}}),
    ("shares", "local_knowledge 7 (asked 7)"): {
        "student": student(**{"share/local_knowledge": 7.0, "share_asked/local_knowledge": 7.0}),
        "confirmation": NO_GAIN,
    },
    ("clipping", "gradients are not clipped"): {
        "student": run("7", CURVE, {"gradient/norm": 3.0}),
        "control": run("control-1", CURVE, {"gradient/norm": 3.0}),
    },
    ("prototypes", "the mean class gap of the teacher's features is 0.25, the student's 0.10"): {
        "distillation": WITH_FILTER,
        "student": PROTOTYPED,
    },
    ("prototypes", "the student's 0.10; 10.0 prototypes per class and level"): {
        "distillation": WITH_FILTER,
        "student": without_last_prototypes(PROTOTYPED),
    },
    ("prototypes", "uses no prototypes"): {},
    ("filter", "mean weight of 0.60 for the local terms; it finds blurred objects hardly better than chance"): {
        "distillation": WITH_FILTER,
        "student": student(**{**PROTOTYPES, "filter/auc_blurred": 0.51}),
    },
    ("budget", "has leveled off"): {"confirmation": NO_GAIN},
    ("budget", "still rises at the end"): {"student": run("7", RISING)},
    ("training images", "by heart"): with_split(train_score=80.0),
    ("trials", "1 failed of 9 trials"): {
        "trials": (
            *(trial(number, 30.0) for number in range(-1, 7)),
            trial(8, 0.0, Outcome.FAILED, "out of memory"),
        )
    },
}


@pytest.mark.parametrize(("check", "text"), list(FINE), ids=[" ".join(each) for each in FINE])
def test_what_is_worth_knowing_is_no_problem(check: str, text: str) -> None:
    found = finding(check, healthy(**FINE[check, text]))
    assert found.state is OK, found
    assert text in found.text


def test_without_clipping_apart_a_high_share_is_a_problem_where_there_is_no_gain() -> None:
    metrics = {name: value for name, value in student().epochs[0].items() if "distillation_clipped" not in name}
    high = {**metrics, "share/local_knowledge": 7.0, "share_asked/local_knowledge": 7.0}
    own = run("7", CURVE, {name: value for name, value in high.items() if name != "search/AP"})
    assert finding("shares", healthy(student=own)).state is OK
    assert finding("shares", healthy(student=own, confirmation=NO_GAIN)).state is PROBLEM


@pytest.mark.parametrize("changes", [{"simulated": True}, {"student": None, "control": None, "trials": ()}])
def test_without_training_all_other_checks_are_unknown(changes: dict[str, Any]) -> None:
    found = {each.check: each.state for each in run_checks(healthy(**changes)) if each.check not in WITHOUT_TRAINING}
    assert set(found.values()) == {UNKNOWN}


def test_problems_come_first_and_unknown_ones_second() -> None:
    made = [Finding(check=str(index), state=state, text="") for index, state in enumerate((OK, UNKNOWN, PROBLEM, OK))]
    assert [each.check for each in problems_first(made)] == ["2", "1", "0", "3"]


def test_the_trend_is_of_the_end_of_a_curve() -> None:
    straight = trend_of([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert straight is not None
    assert (straight.slope, straight.error, straight.num_epochs, straight.is_rising) == (1.0, 0.0, 3, True)
    noisy = trend_of([10.0, 14.0, 9.0, 15.0, 10.0, 14.0, 11.0, 15.0, 12.0])
    assert noisy is not None
    assert not noisy.is_rising
    assert trend_of([1.0, 2.0, 3.0]) is None
    assert DISTILLATION["mimic"]["weight"] == 0
