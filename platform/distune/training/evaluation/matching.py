"""Matches of detections and ground truth, from which the metrics of any subset of images are computed.

Shape legend: ``I`` images, ``N`` detections of a class over all images, ``T`` overlap thresholds, ``D`` detections of
an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from distune.data.dataset import DetectionDataset
from distune.evidence.matches import VOC_PART, ClassMatches, MatchTable
from distune.training.evaluation.predict_and_score import Prediction, coco_evaluation, scored_image
from distune.training.evaluation.voc_ap import ScoredImage, match_detections


def match_predictions(predictions: Sequence[Prediction], dataset: DetectionDataset) -> MatchTable:
    """Match predictions with the ground truth, for the metrics of ``score`` on any subset of the images.

    COCO's matches come from pycocotools, so its average precisions are reproduced exactly.

    Args:
        predictions: at most one per image; images without one are left out.
        dataset: the ground truth.

    Returns:
        The matches of all images.
    """
    evaluation = coco_evaluation(predictions, dataset)
    params = evaluation.params
    parts = {
        str(name): tuple(_coco_class(evaluation, class_, area) for class_ in range(len(params.catIds)))
        for area, name in enumerate(params.areaRngLbl)
    }
    ordered = sorted(predictions, key=lambda prediction: int(prediction["image_index"]))
    images = [scored_image(prediction, dataset) for prediction in ordered]
    parts[VOC_PART] = tuple(_voc_class(images, label) for label in range(1, len(dataset.classes) + 1))
    return MatchTable(np.asarray(params.imgIds, dtype=np.int64), parts)


def _coco_class(evaluation: COCOeval, class_: int, area: int) -> ClassMatches:
    params = evaluation.params
    num_images, num_thresholds = len(params.imgIds), len(params.iouThrs)
    start = (class_ * len(params.areaRng) + area) * num_images
    truths_I = np.zeros(num_images, dtype=np.int32)
    found: list[tuple[int, dict[str, Any]]] = []
    for image, result in enumerate(evaluation.evalImgs[start : start + num_images]):
        if result is not None:  # pycocotools has None for an image without boxes and detections of the class
            truths_I[image] = np.count_nonzero(np.asarray(result["gtIgnore"]) == 0)
            found.append((image, result))
    scores_N = np.concatenate([[], *(result["dtScores"] for _, result in found)])
    images_N = np.concatenate([[], *(np.full(len(result["dtScores"]), image) for image, result in found)])
    none_TN = np.zeros((num_thresholds, 0), dtype=np.bool_)
    ignored_TN = np.concatenate([none_TN, *(result["dtIgnore"].astype(np.bool_) for _, result in found)], axis=1)
    hits_TN = np.concatenate([none_TN, *(result["dtMatches"] > 0 for _, result in found)], axis=1) & ~ignored_TN
    order_N = np.argsort(-scores_N, kind="stable")
    return ClassMatches(images_N[order_N].astype(np.int32), hits_TN[:, order_N], ignored_TN[:, order_N], truths_I)


def _voc_class(images: Sequence[ScoredImage], label: int) -> ClassMatches:
    matched = [match_detections(image, label, 0.5) for image in images]
    truths_I = np.array([((image.labels_N == label) & ~image.ignored_N).sum() for image in images], dtype=np.int32)
    scores_N = np.concatenate([[], *(scores_D for scores_D, _ in matched)])
    images_N = np.repeat(np.arange(len(images)), [len(scores_D) for scores_D, _ in matched])
    hits_N = np.concatenate([np.zeros(0, np.bool_), *(correct_D for _, correct_D in matched)])
    order_N = np.argsort(-scores_N, kind="stable")
    return ClassMatches(
        images_N=images_N[order_N].astype(np.int32),
        hits_TN=hits_N[None, order_N],
        ignored_TN=np.zeros((1, len(order_N)), dtype=np.bool_),
        truths_I=truths_I,
    )
