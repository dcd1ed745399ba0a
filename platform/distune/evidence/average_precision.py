"""Average precision on many resamples of a split, from matches that are computed once.

An image that is drawn twice counts twice. The result is the average precision of pycocotools on the resampled data
set, without matching or sorting again.

Shape legend: ``R`` resamples, ``I`` images, ``N`` detections of a class, ``H`` the hits among them at a threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from distune.errors import StudyError
from distune.evidence.matches import ClassMatches, MatchTable

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]
Reached = Callable[[Counts, Counts], Floats]
"""Computes from the hits found so far, (R, H), and the ground-truth boxes, (R, 1), which fraction of the recalls that a
metric averages over is reached, (R, H)."""

_RECALL_STEP, _NUM_RECALLS = 0.01, 101
"""COCO samples precision at the recalls 0, 0.01, ... 1."""
_NUM_TENTHS = 11
"""VOC2007 samples it at the recalls 0, 0.1, ... 1."""
_CELLS_PER_BLOCK = 2**19
"""Size of a block of resamples, R x N, chosen to fit into the processor's cache."""


def resampled_scores(table: MatchTable, metric: str, counts_RI: Counts) -> Floats:
    """Compute a metric on each resample.

    Args:
        table: the matches of one detector on one split.
        metric: one of ``METRICS``.
        counts_RI: how often each resample contains each image.

    Returns:
        Points from 0 to 100, shape (R,). NaN for a resample without ground-truth boxes.
    """
    sums_R, numbers_R = np.zeros(len(counts_RI)), np.zeros(len(counts_RI))
    reached = _REACHED.get(metric, _fraction_of_recalls)
    for entry in table.of_metric(metric):
        for start, block_RI in _blocks(counts_RI, len(entry.images_N)):
            precision_R = _class_average(entry, block_RI, reached=reached)
            has_boxes_R = ~np.isnan(precision_R)
            sums_R[start : start + len(block_RI)] += np.where(has_boxes_R, precision_R, 0.0)
            numbers_R[start : start + len(block_RI)] += has_boxes_R
    scores_R: Floats = np.full(len(counts_RI), np.nan)
    np.divide(100.0 * sums_R, numbers_R, out=scores_R, where=numbers_R > 0)
    return scores_R


def score_of(table: MatchTable, metric: str) -> float:
    """Compute a metric on the split itself.

    Args:
        table: the matches of one detector on the split.
        metric: one of ``METRICS``.

    Returns:
        Points from 0 to 100.

    Raises:
        StudyError: the split has no ground-truth box that counts for the metric.
    """
    score = float(resampled_scores(table, metric, np.ones((1, table.num_images), dtype=np.int32))[0])
    if np.isnan(score):
        raise StudyError(f"{metric}: no box of the split counts for this metric; choose another metric")
    return score


def _blocks(counts_RI: Counts, num_detections: int) -> list[tuple[int, Counts]]:
    size = max(1, _CELLS_PER_BLOCK // max(1, num_detections))
    return [(start, counts_RI[start : start + size]) for start in range(0, len(counts_RI), size)]


def _class_average(entry: ClassMatches, counts_RI: Counts, *, reached: Reached) -> Floats:
    """Return a class's average precision, mean over thresholds, 0 to 1, shape (R,); NaN without ground truth.

    Computed from the hits alone: between two hits precision falls, and neither recall nor the envelope changes.
    """
    num_truths_R = counts_RI @ entry.truths_I
    sums_R = np.zeros(len(counts_RI))
    last = np.flatnonzero(entry.hits_TN.any(axis=0))[-1:]
    if len(last):
        until_last = slice(0, int(last[0]) + 1)
        counts_RN = counts_RI[:, entry.images_N[until_last]]
        counted_RN = counts_RN.cumsum(axis=1, dtype=np.int32)
        for hits_N, ignored_N in zip(entry.hits_TN[:, until_last], entry.ignored_TN[:, until_last], strict=True):
            indices_H = np.flatnonzero(hits_N)
            found_RH = counts_RN[:, indices_H].cumsum(axis=1, dtype=np.int32)
            counted_RH = counted_RN[:, indices_H]
            if ignored_N.any():
                counted_RH = counted_RH - (counts_RN * ignored_N).cumsum(axis=1, dtype=np.int32)[:, indices_H]
            sums_R += _area(found_RH, counted_RH, num_truths_R, reached=reached)
    average_R: Floats = np.full(len(counts_RI), np.nan)
    np.divide(sums_R, len(entry.hits_TN), out=average_R, where=num_truths_R > 0)
    return average_R


def _area(found_RH: Counts, counted_RH: Counts, num_truths_R: Counts, *, reached: Reached) -> Floats:
    """Return the area under the precision-recall curves through the hits, shape (R,)."""
    envelope_RH = found_RH / np.maximum(counted_RH, 1, out=counted_RH)
    np.maximum.accumulate(envelope_RH[:, ::-1], axis=1, out=envelope_RH[:, ::-1])
    reached_RH = reached(found_RH, np.maximum(num_truths_R, 1)[:, None])
    # The sum over hits of the increase in recall times the envelope, without an array of differences.
    area_R: Floats = np.einsum("rh,rh->r", reached_RH, envelope_RH)
    area_R -= np.einsum("rh,rh->r", reached_RH[:, :-1], envelope_RH[:, 1:])
    return area_R


def _recall(found_RH: Counts, num_truths_R1: Counts) -> Floats:
    recall_RH: Floats = found_RH / num_truths_R1
    return recall_RH


def _fraction_of_recalls(found_RH: Counts, num_truths_R1: Counts) -> Floats:
    """Return the fraction of COCO's recalls 0, 0.01, ... 1 that are reached, rounded exactly as by pycocotools.

    The recall 0 is sampled at the first hit; if its image was not drawn, the envelope is that of the first drawn hit.
    """
    recall_RH = _recall(found_RH, num_truths_R1)
    fraction_RH = recall_RH * 100.0
    np.rint(fraction_RH, out=fraction_RH)
    fraction_RH += fraction_RH * _RECALL_STEP <= recall_RH
    fraction_RH /= _NUM_RECALLS
    return fraction_RH


def _fraction_of_tenths(found_RH: Counts, num_truths_R1: Counts) -> Floats:
    """Return the fraction of the recalls 0, 0.1, ... 1 that are reached, compared as whole numbers."""
    reached_RH: Floats = (10 * found_RH.astype(np.int64) // num_truths_R1 + 1) / _NUM_TENTHS
    return reached_RH


_REACHED: dict[str, Reached] = {"VOC_AP50": _recall, "VOC07_AP50": _fraction_of_tenths}
"""Metrics that are not COCO's, with the fraction of the recalls that they count."""
