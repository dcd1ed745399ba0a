"""Bad boxes, and the clipping of good ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.data import boxes

ANY_NUMBER = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 10.0])


def check_one(box: tuple[float, ...], label: int = 1, size: tuple[int, int] = (20, 10)) -> tuple[list[float], str]:
    clipped, problems = boxes.check_boxes(np.array([box], dtype=np.float64), np.array([label]), np.array([size]))
    return clipped[0].tolist(), boxes.PROBLEMS[problems[0]]


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((1, 2, 3, 4), [1, 2, 3, 4]),
        ((0, 0, 20, 10), [0, 0, 20, 10]),
        ((-5, -5, 25, 15), [0, 0, 20, 10]),
        ((19.5, 9.5, 20.5, 10.5), [19.5, 9.5, 20, 10]),
    ],
)
def test_good_boxes_are_clipped_to_their_image(box: tuple[float, ...], clipped: list[float]) -> None:
    assert check_one(box) == (clipped, "")


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((5, 5, 5, 8), "no area"),
        ((5, 5, 8, 5), "no area"),
        ((8, 5, 5, 8), "no area"),
        ((20, 0, 25, 5), "outside"),
        ((-5, 0, 0, 5), "outside"),
        ((0, 10, 5, 12), "outside"),
        ((math.nan, 0, 5, 5), "finite"),
        ((0, 0, math.inf, 5), "finite"),
    ],
)
def test_bad_boxes_have_the_problem_they_should(box: tuple[float, ...], words: str) -> None:
    assert words in check_one(box)[1]


def test_an_unknown_class_is_named_only_when_the_box_is_good_otherwise() -> None:
    assert "class" in check_one((1, 2, 3, 4), label=0)[1]
    assert "no area" in check_one((1, 2, 1, 4), label=0)[1]


def test_no_boxes_are_no_problem() -> None:
    clipped, problems = boxes.check_boxes(
        np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64)
    )
    assert clipped.shape == (0, 4)
    assert problems.shape == (0,)


@given(st.lists(st.tuples(ANY_NUMBER, ANY_NUMBER, ANY_NUMBER, ANY_NUMBER), max_size=8))
def test_good_boxes_are_inside_their_image_and_have_an_area(rows: list[tuple[float, float, float, float]]) -> None:
    stated = np.array(rows, dtype=np.float64).reshape(-1, 4)
    clipped, problems = boxes.check_boxes(stated, np.ones(len(rows), dtype=np.int64), np.tile([20, 10], (len(rows), 1)))
    good = clipped[problems == 0]
    assert (good[:, 2:] > good[:, :2]).all()
    assert ((good >= 0) & (good <= [20, 10, 20, 10])).all()
    within = np.isfinite(stated).all(axis=1) & (stated >= 0).all(axis=1) & (stated <= [20, 10, 20, 10]).all(axis=1)
    sound = within & (stated[:, 2] > stated[:, 0] + 0.01) & (stated[:, 3] > stated[:, 1] + 0.01)
    assert (problems[sound] == 0).all()
