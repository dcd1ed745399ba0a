"""Scores computed from matches equal pycocotools' scores, on all images and on resamples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distune.data.dataset import Annotations
from distune.errors import StudyError
from distune.evidence.average_precision import resampled_scores, score_of
from distune.evidence.matches import METRICS, MatchTable, read_matches
from distune.evidence.resampling import draw_counts
from distune.training.evaluation.matching import match_predictions
from distune.training.evaluation.predict_and_score import Prediction, score
from support.datasets import MemoryDataset, annotate

CLASSES = ("cat", "dog", "bird")
Scene = tuple[MemoryDataset, list[Prediction]]


def make_scene(seed: int, num_images: int = 14) -> Scene:
    """Boxes of all sizes, some of them crowd or difficult, and detections that find some of them more or less well."""
    random = np.random.default_rng(seed)
    images: list[Annotations] = []
    predictions: list[Prediction] = []
    for index in range(num_images):
        num_boxes = int(random.integers(0, 5))
        corners = random.uniform(0, 200, (num_boxes, 2))
        sizes = random.choice([15.0, 60.0, 150.0], (num_boxes, 1)) * random.uniform(0.8, 1.2, (num_boxes, 2))
        boxes_N4 = np.concatenate([corners, corners + sizes], axis=1)
        labels_N = random.integers(1, 3, num_boxes)  # no box is a bird
        flags = {"crowd": (random.random(num_boxes) < 0.15).tolist()}
        difficult = (random.random(num_boxes) < 0.15).tolist()
        images.append(annotate(boxes_N4.tolist(), labels_N.tolist(), index=index, difficult=difficult, **flags))
        moved = boxes_N4 + random.normal(0, 0.08, (num_boxes, 4)) * sizes.repeat(2, axis=1)
        wrong = random.uniform(0, 150, (3, 2))
        found = np.concatenate([moved, moved + 3, np.concatenate([wrong, wrong + 40], axis=1)])
        labels = np.concatenate([labels_N, labels_N, random.integers(1, 4, 3)])
        predictions.append(
            {
                "boxes": torch.tensor(found, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor(labels, dtype=torch.int64),
                "scores": torch.tensor(random.random(len(found)), dtype=torch.float32),
                "image_index": torch.tensor(index),
            }
        )
    return MemoryDataset(images, CLASSES), predictions


def repeated(scene: Scene, counts_I: list[int]) -> Scene:
    """The data set in which every image stands as often as it was drawn."""
    dataset, predictions = scene
    images: list[Annotations] = []
    found: list[Prediction] = []
    for index, count in enumerate(counts_I):
        for _ in range(count):
            found.append({**predictions[index], "image_index": torch.tensor(len(images))})
            images.append(dataset.annotations(index))
    return MemoryDataset(images, CLASSES), found


@pytest.mark.parametrize("seed", range(6))
def test_scores_of_all_images_equal_pycocotools_and_voc(seed: int) -> None:
    dataset, predictions = make_scene(seed)
    table, expected = match_predictions(predictions, dataset), score(predictions, dataset)
    for metric in METRICS:
        assert score_of(table, metric) == pytest.approx(expected[metric], abs=1e-9), metric
    assert 5 < expected["AP"] < 95


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_scores_like_a_dataset_with_repeated_images(seed: int) -> None:
    scene = make_scene(seed, num_images=9)
    table = match_predictions(scene[1], scene[0])
    counts_RI = draw_counts(9, num_resamples=12, generator=np.random.default_rng(seed))
    scores = {metric: resampled_scores(table, metric, counts_RI) for metric in METRICS}
    for number, counts_I in enumerate(counts_RI.tolist()):
        dataset, predictions = repeated(scene, counts_I)
        expected = score(predictions, dataset)
        for metric in METRICS:
            found = scores[metric][number]
            assert found == pytest.approx(expected.get(metric, np.nan), abs=1e-9, nan_ok=True), (metric, counts_I)


def test_predictions_may_come_in_any_order_and_images_may_lack_one() -> None:
    dataset, predictions = make_scene(1)
    some = [predictions[index] for index in (7, 3, 11, 5, 2)]
    table = match_predictions(some, dataset)
    assert table.image_ids_I.tolist() == [2, 3, 5, 7, 11]
    for metric in METRICS:
        assert score_of(table, metric) == pytest.approx(score(some, dataset)[metric], abs=1e-9)


def test_no_detection_is_zero_and_no_box_is_no_score() -> None:
    dataset, predictions = make_scene(2)
    silent: list[Prediction] = [
        {**each, "boxes": each["boxes"][:0], "labels": each["labels"][:0], "scores": each["scores"][:0]}
        for each in predictions
    ]
    table = match_predictions(silent, dataset)
    assert [score_of(table, metric) for metric in METRICS] == [0.0] * len(METRICS)
    empty = MemoryDataset([annotate([], [], index=0)], CLASSES)
    with pytest.raises(StudyError, match="AP75: no box of the split"):
        score_of(match_predictions(predictions[:1], empty), "AP75")


def test_a_table_is_equal_after_saving_and_loading(tmp_path: Path) -> None:
    dataset, predictions = make_scene(3)
    table = match_predictions(predictions, dataset)
    file = tmp_path / "matches.npz"
    file.write_bytes(table.to_bytes())
    again: MatchTable = read_matches(file)
    assert [score_of(again, metric) for metric in METRICS] == [score_of(table, metric) for metric in METRICS]
    file.write_bytes(table.to_bytes()[:-40])
    with pytest.raises(StudyError, match=r"matches\.npz: not a table of matches"):
        read_matches(file)
    with pytest.raises(StudyError, match="not a table of matches"):
        read_matches(tmp_path / "absent.npz")
