"""The choice of images, and the boxes on them, from plain arrays. Pure functions.

Shape legend: ``D`` detections and ``N`` ground-truth boxes of one image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distune.evidence.detections import Detections, GroundTruth
from distune.reports.page.page_blocks import Box, Panel

MIN_IOU = 0.5
"""A box is found by a detection of its class that overlaps it at least this much."""
NUM_COLORS = 9
"""Number of colors of classes; further classes start again."""
MIN_SHOWN_SCORE = 0.05
"""Detections below it cannot be shown by the slider."""
_MAX_BOXES = 40
_THRESHOLDS = (0.1, 0.7)
_STEP = 0.05
_MAX_LABEL = 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChosenImage:
    """An image to show: its index in the split, and what each model finds on it."""

    index: int
    num_boxes: int
    found: Mapping[str, int]
    is_different: bool


def choose_images(
    truth: GroundTruth, models: Mapping[str, Detections], *, num_images: int, num_different: int, threshold: float
) -> list[ChosenImage]:
    """Choose evenly spaced images, and those on which ``best`` and ``control`` find different numbers of boxes.

    Args:
        truth: boxes of the split.
        models: name to detections.
        num_images: evenly spaced ones.
        num_different: further ones at most, the largest difference first.
        threshold: detections of at least this score count.

    Returns:
        The images in the order of the split.
    """
    even = {
        int(index) for index in np.linspace(0, max(0, truth.num_images - 1), min(num_images, truth.num_images)).round()
    }
    counts = {name: count_found(truth, found.with_score(threshold)) for name, found in models.items()}
    different: list[int] = []
    if {"best", "control"} <= counts.keys():
        differences_I = np.abs(counts["best"] - counts["control"])
        ranked = sorted(range(truth.num_images), key=lambda index: (-differences_I[index], index))
        different = [index for index in ranked if differences_I[index] > 0 and index not in even][:num_different]
    num_boxes = _num_counted(truth)
    return [
        ChosenImage(
            index=index,
            num_boxes=int(num_boxes[index]),
            found={name: int(found_I[index]) for name, found_I in counts.items()},
            is_different=index in different,
        )
        for index in sorted({*even, *different})
    ]


def count_found(truth: GroundTruth, detections: Detections) -> NDArray[np.int64]:
    """Return for each image how many of its boxes that count are found by a detection; each detection finds one."""
    found_I = np.zeros(truth.num_images, np.int64)
    for index in range(truth.num_images):
        here = truth.positions_in(index)
        counted_N = ~truth.ignored_N[here]
        of_image = detections.of_image(index)
        found_I[index] = _num_matched(
            truth.boxes_N4[here][counted_N], truth.labels_N[here][counted_N], of_image.boxes_D4, of_image.labels_D
        )
    return found_I


def start_threshold(truth: GroundTruth, best: Detections | None) -> float:
    """Return the score at which the best student shows about as many boxes as there are objects, in steps of 0.05."""
    num_objects = int(_num_counted(truth).sum())
    if best is None or not len(best.scores_D) or num_objects == 0:
        return 0.3
    ordered_D = np.sort(best.scores_D)[::-1]
    score = float(ordered_D[min(num_objects, len(ordered_D)) - 1])
    return float(np.clip(round(score / _STEP) * _STEP, *_THRESHOLDS))


def truth_panel(truth: GroundTruth, index: int, scale: float) -> Panel:
    """Return the ground truth of an image; ``scale`` is from its pixels to those of the picture."""
    here = truth.positions_in(index)
    boxes = [
        _box(corners, label, truth.classes, scale, ignored=bool(ignored))
        for corners, label, ignored in zip(
            truth.boxes_N4[here], truth.labels_N[here], truth.ignored_N[here], strict=True
        )
    ]
    return Panel(title="ground truth", boxes=boxes)


def model_panel(title: str, detections: Detections, index: int, classes: Sequence[str], scale: float) -> Panel:
    """Return the detections of a model on an image, the highest scores, drawn last."""
    found = detections.with_score(MIN_SHOWN_SCORE).of_image(index)
    kept = np.argsort(found.scores_D)[-_MAX_BOXES:]
    boxes = [
        _box(found.boxes_D4[each], found.labels_D[each], classes, scale, score=float(found.scores_D[each]))
        for each in kept
    ]
    return Panel(title=title, boxes=boxes)


def caption(image: ChosenImage) -> str:
    """Return what was found on an image, such as ``3 objects; found by teacher 3, control 1, best 2``."""
    objects = "1 object" if image.num_boxes == 1 else f"{image.num_boxes} objects"
    found = ", ".join(f"{name} {count}" for name, count in image.found.items())
    chosen = "; chosen because control and best differ" if image.is_different else ""
    return f"{objects}; found by {found}{chosen}" if found else objects


def _num_counted(truth: GroundTruth) -> NDArray[np.int64]:
    counted = truth.images_N[~truth.ignored_N]
    return np.bincount(counted, minlength=truth.num_images).astype(np.int64)


def _num_matched(
    boxes_N4: NDArray[np.float64],
    labels_N: NDArray[np.int64],
    found_D4: NDArray[np.float32],
    found_D: NDArray[np.int64],
) -> int:
    if not len(boxes_N4) or not len(found_D4):
        return 0
    ious_ND = _ious(boxes_N4, found_D4.astype(np.float64)) * (labels_N[:, None] == found_D)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(ious_ND >= MIN_IOU, maximize=True)
    return int((ious_ND[rows, columns] >= MIN_IOU).sum())


def _ious(boxes_N4: NDArray[np.float64], others_D4: NDArray[np.float64]) -> NDArray[np.float64]:
    low_ND2 = np.maximum(boxes_N4[:, None, :2], others_D4[None, :, :2])
    high_ND2 = np.minimum(boxes_N4[:, None, 2:], others_D4[None, :, 2:])
    common_ND = (high_ND2 - low_ND2).clip(min=0).prod(axis=2)
    areas_N, areas_D = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes_N4, others_D4))
    union_ND = areas_N[:, None] + areas_D - common_ND
    ious_ND: NDArray[np.float64] = common_ND / union_ND.clip(min=1e-9)
    return ious_ND


def _box(
    corners: NDArray[np.float64] | NDArray[np.float32],
    label: int,
    classes: Sequence[str],
    scale: float,
    *,
    score: float | None = None,
    ignored: bool = False,
) -> Box:
    left, top, right, bottom = (round(float(each) * scale) for each in corners)
    name = classes[int(label) - 1]
    return Box(
        left=left,
        top=top,
        width=max(1, right - left),
        height=max(1, bottom - top),
        label=name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}…",
        color=(int(label) - 1) % NUM_COLORS,
        score=score,
        is_ignored=ignored,
    )
