"""The choice of images and the boxes on them."""

from __future__ import annotations

import numpy as np
import pytest

from distune.evidence.detections import Detections, GroundTruth
from distune.reports.page.picture_values import (
    NUM_COLORS,
    caption,
    choose_images,
    count_found,
    model_panel,
    start_threshold,
    truth_panel,
)

CLASSES = ("cat", "a class with a very long name")
Row = tuple[int, tuple[float, float, float, float], int]


def make_truth(*rows: Row, num_images: int = 4, ignored: tuple[int, ...] = ()) -> GroundTruth:
    boxes = np.array([row[1] for row in rows], np.float64).reshape(-1, 4)
    return GroundTruth(
        classes=CLASSES,
        num_images=num_images,
        images_N=np.array([row[0] for row in rows], np.int64),
        boxes_N4=boxes,
        labels_N=np.array([row[2] for row in rows], np.int64),
        areas_N=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        ignored_N=np.array([index in ignored for index in range(len(rows))], np.bool_),
    )


def make_detections(*rows: tuple[int, tuple[float, float, float, float], int, float]) -> Detections:
    return Detections(
        images_D=np.array([row[0] for row in rows], np.int64),
        boxes_D4=np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        labels_D=np.array([row[2] for row in rows], np.int64),
        scores_D=np.array([row[3] for row in rows], np.float32),
    )


LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
TRUTH = make_truth((0, LEFT, 1), (0, RIGHT, 1), (2, LEFT, 2))
BOTH = make_detections((0, LEFT, 1, 0.9), (0, RIGHT, 1, 0.8), (2, LEFT, 2, 0.4))


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        (BOTH, [2, 0, 1, 0]),
        (make_detections((0, LEFT, 2, 0.9)), [0, 0, 0, 0]),  # another class
        (make_detections((0, (0.0, 0.0, 10.0, 4.0), 1, 0.9)), [0, 0, 0, 0]),  # too little overlap
        (make_detections((0, LEFT, 1, 0.9), (0, LEFT, 1, 0.8)), [1, 0, 0, 0]),  # a box is found once
        (make_detections(), [0, 0, 0, 0]),
    ],
)
def test_boxes_are_found_by_detections_of_their_class(detections: Detections, expected: list[int]) -> None:
    assert count_found(TRUTH, detections).tolist() == expected


def test_a_box_that_is_ignored_does_not_count() -> None:
    truth = make_truth((0, LEFT, 1), (0, RIGHT, 1), ignored=(1,))
    assert count_found(truth, BOTH).tolist() == [1, 0, 0, 0]


def test_evenly_spaced_images_and_those_that_differ_most_are_chosen() -> None:
    truth = make_truth(*((index, LEFT, 1) for index in range(10)), num_images=10)
    best = make_detections((4, LEFT, 1, 0.9), (7, LEFT, 1, 0.9))
    chosen = choose_images(
        truth, {"control": make_detections(), "best": best}, num_images=2, num_different=1, threshold=0.5
    )
    assert [(image.index, image.is_different) for image in chosen] == [(0, False), (4, True), (9, False)]
    assert caption(chosen[1]) == ("1 object; found by control 0, best 1; chosen because control and best differ")


def test_a_split_with_fewer_images_is_shown_whole() -> None:
    chosen = choose_images(TRUTH, {"best": BOTH}, num_images=12, num_different=4, threshold=0.5)
    assert [image.index for image in chosen] == [0, 1, 2, 3]
    assert chosen[2].found == {"best": 0}  # its score is below the threshold
    assert caption(choose_images(TRUTH, {}, num_images=1, num_different=0, threshold=0.5)[0]) == "2 objects"


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        (BOTH, 0.4),  # three objects, and the third score is 0.4
        (make_detections((0, LEFT, 1, 0.02)), 0.1),
        (make_detections(*((0, LEFT, 1, 0.99) for _ in range(5))), 0.7),
        (make_detections(), 0.3),
        (None, 0.3),
    ],
)
def test_the_slider_starts_where_as_many_boxes_as_objects_show(detections: Detections | None, expected: float) -> None:
    assert start_threshold(TRUTH, detections) == pytest.approx(expected)


def test_panels_are_in_pixels_of_the_picture() -> None:
    panel = truth_panel(TRUTH, 0, 2.0)
    assert [(box.left, box.top, box.width, box.height) for box in panel.boxes] == [(0, 0, 20, 20), (40, 0, 20, 20)]
    assert {box.score for box in panel.boxes} == {None}
    found = model_panel("best", BOTH, 2, CLASSES, 1.0).boxes
    assert [(box.label, box.color) for box in found] == [("a class with …", 1)]
    assert found[0].score == pytest.approx(0.4)


def test_a_panel_has_the_highest_scores_only_and_colors_repeat() -> None:
    many = make_detections(*((0, LEFT, 1 + index % 20, index / 100) for index in range(100)))
    boxes = model_panel("best", many, 0, [f"class {index}" for index in range(20)], 1.0).boxes
    scores = [box.score or 0.0 for box in boxes]
    assert len(boxes) == 40
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(0.6)
    assert max(box.color for box in boxes) == NUM_COLORS - 1
