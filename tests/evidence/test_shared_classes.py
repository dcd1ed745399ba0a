"""Scores on the classes that a teacher knows."""

from __future__ import annotations

import math

import pytest

from distune.evidence.score_differences import ScoreDifference, recorded_differences
from distune.evidence.shared_classes import describe_teacher, score_without, unknown_classes
from support.report_pages import METRIC, make_trial

TEACHER = {"search/AP": 40.0, "search/AP/cat": 40.0, "search/AP_small": 30.0, "search/AP50": 60.0}
STUDENT = {"search/AP": 20.0, "search/AP/cat": 30.0, "search/AP/dog": 10.0, "search/AP_small": 15.0}


def test_the_unknown_classes_follow_from_the_metrics() -> None:
    assert unknown_classes(TEACHER, STUDENT) == ("dog",)
    assert unknown_classes(STUDENT, STUDENT) == ()
    assert unknown_classes({"search/AP": 40.0}, STUDENT) == (), "an earlier version recorded no classes"


def test_a_score_without_a_class_is_the_mean_of_the_others() -> None:
    assert score_without(STUDENT, METRIC, ()) == 20
    assert score_without(STUDENT, METRIC, ("dog",)) == 30
    assert score_without({**STUDENT, "search/AP50": 1.0}, "search/AP50", ("dog",)) is None
    assert score_without({**STUDENT, "search/AP/cat": math.nan}, METRIC, ("dog",)) is None


def test_recorded_scores_are_compared_on_the_classes_that_both_know() -> None:
    assert recorded_differences(TEACHER, STUDENT) == {
        "AP": ScoreDifference(first=40, second=30),
        "AP/cat": ScoreDifference(first=40, second=30),
    }


@pytest.mark.parametrize(
    ("unknown", "metric", "line"),
    [
        ((), METRIC, "teacher: search/AP 40.0"),
        (
            ("dog",),
            METRIC,
            "teacher: search/AP 40.0 on the classes that it knows, without dog; "
            "on the same classes: control 30.0, best trial 35.0",
        ),
        (("dog",), "search/AP50", "teacher: search/AP50 40.0 on the classes that it knows, without dog"),
    ],
)
def test_the_line_of_a_teacher(unknown: tuple[str, ...], metric: str, line: str) -> None:
    trials = [
        make_trial(-1, [20.0], metrics=STUDENT),
        make_trial(0, [25.0], metrics={**STUDENT, "search/AP": 25.0, "search/AP/cat": 35.0}),
    ]
    assert describe_teacher(40.0, metric, unknown, trials) == line
