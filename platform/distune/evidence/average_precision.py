"""Average precision of many resamples of a split at once, from matches that were made once.

An image drawn twice counts twice. That is the average precision that pycocotools would give for the data set in which
the image stands twice, without matching, sorting or copying anything again.

Shape legend: ``R`` resamples, ``I`` images, ``N`` detections of a class, ``H`` those of them that are hits at a
threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distune.errors import StudyError
from distune.evidence.matches import VOC_PART, ClassMatches, MatchTable

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]

_RECALL_STEP, _NUM_RECALLS = 0.01, 101
"""COCO reads precision at the recalls 0, 0.01, ... 1."""
_CELLS_AT_A_TIME = 2**19
"""Resamples are done in blocks of about so many cells, R x N, which stay in the processor's cache."""


def resampled_scores(table: MatchTable, metric: str, counts_RI: Counts) -> Floats:
    """A metric on each resample.

    Args:
        table: of one detector on one split.
        metric: one of ``METRICS``.
        counts_RI: how often each resample holds each image.

    Returns:
        Points from 0 to 100, shape (R,). NaN for a resample that holds no box to find.
    """
    sums_R, numbers_R = np.zeros(len(counts_RI)), np.zeros(len(counts_RI))
    is_voc = metric.startswith(VOC_PART)
    for entry in table.of_metric(metric):
        for start, block_RI in _blocks(counts_RI, len(entry.images_N)):
            precision_R = _class_average(entry, block_RI, is_voc=is_voc)
            has_boxes_R = ~np.isnan(precision_R)
            sums_R[start : start + len(block_RI)] += np.where(has_boxes_R, precision_R, 0.0)
            numbers_R[start : start + len(block_RI)] += has_boxes_R
    scores_R: Floats = np.full(len(counts_RI), np.nan)
    np.divide(100.0 * sums_R, numbers_R, out=scores_R, where=numbers_R > 0)
    return scores_R


def score_of(table: MatchTable, metric: str) -> float:
    """A metric on the split as it is.

    Raises:
        StudyError: the split holds no box that the metric is about.
    """
    score = float(resampled_scores(table, metric, np.ones((1, table.num_images), dtype=np.int32))[0])
    if np.isnan(score):
        raise StudyError(f"{metric}: the split holds no box that it is about; choose another one with --metric")
    return score


def _blocks(counts_RI: Counts, num_detections: int) -> list[tuple[int, Counts]]:
    size = max(1, _CELLS_AT_A_TIME // max(1, num_detections))
    return [(start, counts_RI[start : start + size]) for start in range(0, len(counts_RI), size)]


def _class_average(entry: ClassMatches, counts_RI: Counts, *, is_voc: bool) -> Floats:
    """The mean over thresholds of a class's average precision, 0 to 1, shape (R,); NaN without a box to find.

    Only hits need be looked at: between two of them precision falls, and neither recall nor the envelope changes.
    """
    num_truths_R = counts_RI @ entry.truths_I
    sums_R = np.zeros(len(counts_RI))
    last = np.flatnonzero(entry.hits_TN.any(axis=0))[-1:]
    if len(last):
        seen = slice(0, int(last[0]) + 1)
        counts_RN = counts_RI[:, entry.images_N[seen]]
        judged_RN = counts_RN.cumsum(axis=1, dtype=np.int32)
        for hits_N, ignored_N in zip(entry.hits_TN[:, seen], entry.ignored_TN[:, seen], strict=True):
            places_H = np.flatnonzero(hits_N)
            found_RH = counts_RN[:, places_H].cumsum(axis=1, dtype=np.int32)
            judged_RH = judged_RN[:, places_H]
            if ignored_N.any():
                judged_RH = judged_RH - (counts_RN * ignored_N).cumsum(axis=1, dtype=np.int32)[:, places_H]
            sums_R += _area(found_RH, judged_RH, num_truths_R, is_voc=is_voc)
    average_R: Floats = np.full(len(counts_RI), np.nan)
    np.divide(sums_R, len(entry.hits_TN), out=average_R, where=num_truths_R > 0)
    return average_R


def _area(found_RH: Counts, judged_RH: Counts, num_truths_R: Counts, *, is_voc: bool) -> Floats:
    """The area under the precision-recall curves whose points are the hits, shape (R,)."""
    envelope_RH = found_RH / np.maximum(judged_RH, 1, out=judged_RH)
    np.maximum.accumulate(envelope_RH[:, ::-1], axis=1, out=envelope_RH[:, ::-1])
    recall_RH = found_RH / np.maximum(num_truths_R, 1)[:, None]
    reached_RH = recall_RH if is_voc else _share_reached(recall_RH)
    # The sum over hits of what each adds to the recalls reached times the envelope, without making the differences.
    area_R: Floats = np.einsum("rh,rh->r", reached_RH, envelope_RH)
    area_R -= np.einsum("rh,rh->r", reached_RH[:, :-1], envelope_RH[:, 1:])
    return area_R


def _share_reached(recall_RH: Floats) -> Floats:
    """The share of COCO's recalls 0, 0.01, ... 1 that are reached, compared as exactly as pycocotools compares them.

    All are reached that are below the nearest one, and that one if it is not greater. The recall 0 is read at the first
    hit; where its image was not drawn the envelope is that of the first hit that was.
    """
    share_RH = recall_RH * 100.0
    np.rint(share_RH, out=share_RH)
    share_RH += share_RH * _RECALL_STEP <= recall_RH
    share_RH /= _NUM_RECALLS
    return share_RH
