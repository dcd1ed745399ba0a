"""Detections of a split as flat arrays, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distune.evidence.detections import Detections, GroundTruth, read_detections


def made_detections() -> Detections:
    """Two detections on image 0 and one on image 2."""
    return Detections(
        images_D=np.array([0, 0, 2]),
        boxes_D4=np.array([[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 6, 6]], np.float32),
        labels_D=np.array([1, 2, 1]),
        scores_D=np.array([0.9, 0.2, 0.6], np.float32),
    )


def test_detections_of_an_image_are_its_own() -> None:
    detections = made_detections()
    assert detections.of_image(0).labels_D.tolist() == [1, 2]
    assert detections.of_image(1).labels_D.tolist() == []
    assert detections.of_image(2).boxes_D4.tolist() == [[2, 2, 6, 6]]


def test_weak_detections_are_left_out() -> None:
    assert made_detections().with_score(0.6).images_D.tolist() == [0, 2]


def test_only_images_with_a_box_that_is_not_ignored_have_boxes() -> None:
    truth = GroundTruth(
        classes=("cat",),
        num_images=5,
        images_N=np.array([0, 0, 2, 3, 3]),
        boxes_N4=np.tile([0.0, 0.0, 4.0, 4.0], (5, 1)),
        labels_N=np.ones(5, np.int64),
        areas_N=np.full(5, 16.0),
        ignored_N=np.array([False, False, True, True, False]),
    )
    assert truth.num_images_with_boxes == 2


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "found.npz"
    file.write_bytes(made_detections().to_bytes())
    found = read_detections(file)
    assert found is not None
    for name in ("images_D", "boxes_D4", "labels_D", "scores_D"):
        assert np.array_equal(getattr(found, name), getattr(made_detections(), name))


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "found.npz"
    assert read_detections(file) is None
    file.write_bytes(made_detections().to_bytes()[:100])
    assert read_detections(file) is None
