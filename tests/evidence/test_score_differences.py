"""Differences between the scores of two detectors."""

from __future__ import annotations

import numpy as np
import pytest

from distune.errors import StudyError
from distune.evidence.matches import ClassMatches, MatchTable
from distune.evidence.score_differences import ScoreDifference, recorded_differences, score_differences


def table(*found: list[bool], num_images: int = 20) -> MatchTable:
    """Matches of classes with one box in each image; a detection in each image that is correct or not."""
    entries = tuple(
        ClassMatches(
            images_N=np.arange(num_images, dtype=np.int32),
            hits_TN=np.tile(np.array(hits), (10, 1)),
            ignored_TN=np.zeros((10, num_images), np.bool_),
            truths_I=np.ones(num_images, np.int32),
        )
        for hits in found
    )
    empty = tuple(
        ClassMatches(
            images_N=np.zeros(0, np.int32),
            hits_TN=np.zeros((10, 0), np.bool_),
            ignored_TN=np.zeros((10, 0), np.bool_),
            truths_I=np.zeros(num_images, np.int32),
        )
        for _ in found
    )
    return MatchTable(np.arange(num_images), {"all": entries, "small": entries, "medium": empty, "large": empty})


ALL, NONE = [True] * 20, [False] * 20
HALF = [True] * 10 + [False] * 10


def test_differences_are_overall_by_size_and_by_class() -> None:
    found = score_differences(table(ALL, HALF), table(ALL, NONE), ["cat", "dog"])
    half = 100 * 51 / 101
    assert list(found) == ["AP", "AP_small", "AP/cat", "AP/dog"], "no box is medium or large"
    assert found["AP"].mean == pytest.approx(half / 2)
    assert (found["AP/cat"].mean, found["AP/cat"].error) == (0, 0)
    assert found["AP/dog"].mean == pytest.approx(half)
    assert 3 < found["AP/dog"].error < 20, "which images are drawn matters"


def test_classes_that_one_does_not_know_do_not_count() -> None:
    found = score_differences(table(ALL, NONE), table(HALF, ALL), ["cat", "dog"], known=["cat"])
    assert list(found) == ["AP", "AP_small", "AP/cat"]
    assert found["AP"].mean == pytest.approx(100 - 100 * 51 / 101)


def test_tables_of_other_images_are_refused() -> None:
    with pytest.raises(StudyError, match="scored on different images"):
        score_differences(table(ALL), table(ALL[:5], num_images=5), ["cat"])


def test_recorded_metrics_have_no_error() -> None:
    first = {"search/AP": 30.0, "search/AP/cat": 20.0, "search/AP50": 50.0, "search/AP_small": 10.0}
    second = {"search/AP": 28.0, "search/AP/cat": 25.0, "search/AP50": 50.0}
    assert recorded_differences(first, second) == {
        "AP": ScoreDifference(first=30, second=28),
        "AP/cat": ScoreDifference(first=20, second=25),
    }
