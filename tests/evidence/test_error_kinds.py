"""Kinds of errors and their costs, on cases that were computed by hand, and as properties of random cases."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from distune.errors import StudyError
from distune.evidence.detections import Detections, GroundTruth
from distune.evidence.error_comparison import FoundObjects, compare_found, shared_errors
from distune.evidence.error_costs import average_precision, costs_of
from distune.evidence.error_kinds import HIT, IGNORED, ErrorKind, find_errors

Row = tuple[int, int, float, list[float]]
"""Image, label, score and box of a detection."""
BOX = [0.0, 0.0, 10.0, 10.0]


def detections(*rows: Row) -> Detections:
    ordered = sorted(rows, key=lambda row: row[0])
    return Detections(
        images_D=np.array([row[0] for row in ordered], np.int64),
        labels_D=np.array([row[1] for row in ordered], np.int64),
        scores_D=np.array([row[2] for row in ordered], np.float32),
        boxes_D4=np.array([row[3] for row in ordered], np.float32).reshape(-1, 4),
    )


def truth(*rows: tuple[int, int, list[float]], num_images: int = 2, ignored: tuple[int, ...] = ()) -> GroundTruth:
    boxes_N4 = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    return GroundTruth(
        classes=("cat", "dog"),
        num_images=num_images,
        images_N=np.array([row[0] for row in rows], np.int64),
        labels_N=np.array([row[1] for row in rows], np.int64),
        boxes_N4=boxes_N4,
        areas_N=(boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1]),
        ignored_N=np.array([index in ignored for index in range(len(rows))], np.bool_),
    )


def shifted(dx: float) -> list[float]:
    """Return ``BOX`` moved to the right: the IoU is (10 - dx) / (10 + dx)."""
    return [dx, 0.0, 10.0 + dx, 10.0]


@pytest.mark.parametrize(
    ("label", "box", "kind"),
    [
        (1, BOX, HIT),
        (1, shifted(3.0), HIT),  # IoU 7/13 = 0.54
        (1, shifted(4.0), ErrorKind.LOCALIZATION),  # 6/14 = 0.43
        (1, shifted(8.0), ErrorKind.LOCALIZATION),  # 2/18 = 0.11
        (1, shifted(8.5), ErrorKind.BACKGROUND),  # 1.5/18.5 = 0.08
        (2, BOX, ErrorKind.CLASSIFICATION),
        (2, shifted(4.0), ErrorKind.BOTH),
        (2, shifted(9.0), ErrorKind.BACKGROUND),
    ],
)
def test_the_kind_follows_from_the_class_and_the_overlap(label: int, box: list[float], kind: str) -> None:
    errors = find_errors(detections((0, label, 0.9, box)), truth((0, 1, BOX)))
    assert errors.kinds_D.tolist() == [kind]
    is_covered = kind in (HIT, ErrorKind.CLASSIFICATION, ErrorKind.LOCALIZATION)
    assert errors.missed().tolist() == [not is_covered]


def test_the_detection_with_the_lower_score_is_a_duplicate() -> None:
    errors = find_errors(detections((0, 1, 0.8, BOX), (0, 1, 0.9, shifted(2.0))), truth((0, 1, BOX)))
    assert errors.kinds_D.tolist() == [ErrorKind.DUPLICATE, HIT]


def test_a_well_placed_box_of_another_class_is_a_classification_error_beside_an_object_of_its_own_class() -> None:
    # IoU 0.11 with the cat, which is its class, and 1 with the dog.
    errors = find_errors(detections((0, 1, 0.9, shifted(8.0))), truth((0, 1, BOX), (0, 2, shifted(8.0))))
    assert errors.kinds_D.tolist() == [ErrorKind.CLASSIFICATION]
    assert errors.targets_D.tolist() == [1]
    assert errors.missed().tolist() == [True, False]


def test_detections_of_ignored_boxes_are_not_scored() -> None:
    found = detections((0, 1, 0.9, BOX), (0, 1, 0.8, BOX))
    errors = find_errors(found, truth((0, 1, BOX), (1, 1, BOX), ignored=(0,)))
    assert errors.kinds_D.tolist() == [IGNORED, IGNORED]
    assert errors.missed().tolist() == [False, True]
    assert average_precision(errors) == 0


def test_the_costs_of_a_case_by_hand() -> None:
    """Two cats and two dogs. One cat is found, one is called a dog; one dog is inaccurate, one is missed.

    Cats: one of two is found, with the highest score: precision 1 up to recall 0.5, which COCO samples at 51 of 101
    recalls. Dogs: nothing is found.
    """
    errors = find_errors(
        detections(
            (0, 1, 0.9, BOX),
            (0, 1, 0.3, shifted(1.0)),  # duplicate
            (0, 2, 0.7, shifted(100.0)),  # the second cat, called a dog
            (1, 2, 0.6, shifted(4.0)),  # inaccurate
            (1, 2, 0.5, [500.0, 0.0, 510.0, 10.0]),  # nothing there
        ),
        truth((0, 1, BOX), (0, 1, shifted(100.0)), (1, 2, BOX), (1, 2, shifted(200.0))),
    )
    assert errors.counts() == {
        ErrorKind.CLASSIFICATION: 1,
        ErrorKind.LOCALIZATION: 1,
        ErrorKind.BOTH: 0,
        ErrorKind.DUPLICATE: 1,
        ErrorKind.BACKGROUND: 1,
        ErrorKind.MISSED: 1,
    }
    half = 100 * 51 / 101
    assert average_precision(errors) == pytest.approx(half / 2)
    costs = costs_of(errors)
    # Both cats are found before the duplicate.
    assert costs[ErrorKind.CLASSIFICATION] == pytest.approx((100 - half) / 2)
    # One of two dogs is found, after one wrong detection with a higher score: precision 1/2 up to recall 0.5.
    assert costs[ErrorKind.LOCALIZATION] == pytest.approx(half / 2 / 2)
    # The duplicate and the background are the last of their classes.
    assert costs[ErrorKind.DUPLICATE] == costs[ErrorKind.BACKGROUND] == costs[ErrorKind.BOTH] == 0
    # One dog is left, which is not found.
    assert costs[ErrorKind.MISSED] == 0
    assert average_precision(errors, fixed=list(ErrorKind)) == 100


def test_a_class_that_is_missed_completely_costs_its_average_precision() -> None:
    errors = find_errors(detections((0, 1, 0.9, BOX)), truth((0, 1, BOX), (1, 2, BOX)))
    assert average_precision(errors) == pytest.approx(50)
    assert costs_of(errors)[ErrorKind.MISSED] == pytest.approx(50)


def test_a_repaired_box_replaces_a_hit_with_a_lower_score() -> None:
    # The dog with the highest score is the cat: repaired, it is the hit, and the hit of before is removed.
    errors = find_errors(detections((0, 2, 0.9, BOX), (0, 1, 0.5, BOX)), truth((0, 1, BOX)))
    assert errors.kinds_D.tolist() == [ErrorKind.CLASSIFICATION, HIT]
    assert average_precision(errors, fixed=[ErrorKind.CLASSIFICATION]) == 100


def test_at_the_working_score_there_are_as_many_detections_as_objects() -> None:
    rows = (0, 1, 0.9, BOX), (1, 1, 0.5, BOX), (1, 1, 0.2, shifted(50.0))
    errors = find_errors(detections(*rows), truth((0, 1, BOX), (1, 1, BOX)))
    assert errors.working_score() == pytest.approx(0.5)
    assert errors.counts(min_score=errors.working_score())[ErrorKind.BACKGROUND] == 0
    assert errors.counts()[ErrorKind.BACKGROUND] == 1
    assert find_errors(detections(), truth((0, 1, BOX))).working_score() == 0.0


def test_without_objects_there_is_no_average_precision() -> None:
    with pytest.raises(StudyError, match="no box of the split counts"):
        average_precision(find_errors(detections(), truth()))


def test_objects_are_counted_by_the_detectors_that_find_them() -> None:
    student, control = np.array([True, True, False, False, True]), np.array([True, False, True, False, False])
    counted = np.array([True, True, True, True, False])
    assert compare_found(student, control, counted) == FoundObjects(both=1, student_only=1, control_only=1, neither=1)


def test_errors_that_the_teacher_makes_as_well_are_shared() -> None:
    boxes = truth((0, 1, BOX), (1, 1, BOX), (1, 1, shifted(50.0)))
    teacher = find_errors(detections((0, 2, 0.9, BOX), (1, 1, 0.8, BOX)), boxes)
    student = find_errors(detections((0, 2, 0.9, shifted(1.0)), (1, 1, 0.8, BOX)), boxes)
    control = find_errors(detections((0, 1, 0.8, BOX), (1, 2, 0.9, BOX), (1, 1, 0.8, BOX)), boxes)
    found = shared_errors(student, control, teacher)
    of_classes = found[ErrorKind.CLASSIFICATION]
    assert (of_classes.student, of_classes.student_shared, of_classes.student_inherited) == (1, 1, 1)
    assert of_classes.control_shared == 0
    missed = found[ErrorKind.MISSED]
    assert (missed.student, missed.student_shared, missed.student_inherited) == (1, 1, 0), "the control misses it too"


def random_case(seed: int) -> tuple[Detections, GroundTruth]:
    random = np.random.default_rng(seed)

    def boxes(number: int) -> list[list[float]]:
        corners = random.uniform(0, 30, (number, 2))
        made: list[list[float]] = np.concatenate(
            [corners, corners + random.uniform(5, 20, (number, 2))], axis=1
        ).tolist()
        return made

    num_truths, num_detections = int(random.integers(1, 9)), int(random.integers(0, 25))
    images = np.sort(random.integers(0, 3, num_truths)).tolist()
    rows = [(image, int(random.integers(1, 3)), box) for image, box in zip(images, boxes(num_truths), strict=True)]
    ignored = tuple(np.flatnonzero(random.random(num_truths) < 0.15).tolist())
    found = [
        (int(random.integers(3)), int(random.integers(1, 3)), float(random.random()), box)
        for box in boxes(num_detections)
    ]
    for image, label, box in rows:  # most objects are found, some of them badly
        moved = np.array(box) + random.normal(0, 2, 4)
        moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
        found.append((image, label if random.random() < 0.8 else 3 - label, float(random.random()), moved.tolist()))
    return detections(*found), truth(*rows, num_images=3, ignored=ignored)


def coco_ap50(found: Detections, boxes: GroundTruth) -> float:
    """Return AP50 by pycocotools."""

    def coco(records: list[dict[str, Any]]) -> COCO:
        made = COCO()
        categories = [{"id": label} for label in (1, 2)]
        images = [{"id": image} for image in range(boxes.num_images)]
        numbered = [{"id": number, **record} for number, record in enumerate(records, start=1)]
        made.dataset = {"images": images, "categories": categories, "annotations": numbered}
        made.createIndex()
        return made

    def record(image: int, label: int, box: list[float]) -> dict[str, Any]:
        width, height = box[2] - box[0], box[3] - box[1]
        xywh = [box[0], box[1], width, height]
        return {"image_id": image, "category_id": label, "bbox": xywh, "area": width * height}

    with contextlib.redirect_stdout(io.StringIO()):
        truths = zip(boxes.images_N, boxes.labels_N, boxes.boxes_N4.tolist(), boxes.ignored_N, strict=True)
        own = zip(found.images_D, found.labels_D, found.boxes_D4.astype(float).tolist(), found.scores_D, strict=True)
        evaluation = COCOeval(
            coco([{**record(int(i), int(c), b), "iscrowd": int(crowd)} for i, c, b, crowd in truths]),
            coco([{**record(int(i), int(c), b), "score": float(score)} for i, c, b, score in own]),
            "bbox",
        )
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return 100 * float(precision[precision > -1].mean())


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_kinds_are_exclusive_and_fixing_all_of_them_gives_100(seed: int) -> None:
    found, boxes = random_case(seed)
    errors = find_errors(found, boxes)
    if boxes.ignored_N.all():
        return
    own = average_precision(errors)
    assert own == pytest.approx(coco_ap50(found, boxes)), "without fixes it is COCO's"
    counts = errors.counts()
    num_scored = int((errors.kinds_D != IGNORED).sum())
    assert sum(counts.values()) - counts[ErrorKind.MISSED] == num_scored - int((errors.kinds_D == HIT).sum())
    assert not (errors.found() & errors.missed()).any()
    assert average_precision(errors, fixed=list(ErrorKind)) == 100
    removing = (ErrorKind.BOTH, ErrorKind.DUPLICATE, ErrorKind.BACKGROUND)
    assert all(costs_of(errors)[kind] >= -1e-9 for kind in removing), "a removed false detection never costs"


def test_no_more_detections_of_an_image_and_class_count_than_in_coco() -> None:
    rows = [(0, 1, 0.9 - index / 1000, shifted(100.0)) for index in range(100)]
    errors = find_errors(detections(*rows, (0, 1, 0.1, BOX), (0, 2, 0.1, BOX)), truth((0, 1, BOX)))
    assert len(errors.kinds_D) == 101
    assert HIT not in errors.kinds_D
