"""Predictions of a detector on a dataset, and their scores: COCO's and VOC's average precisions.

Shape legend: ``n`` detections of an image, ``N`` its ground-truth boxes, ``K`` labels of a model with background.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import Dataset

from distune.data.check import stop_if_corrupt
from distune.data.dataset import DetectionDataset, ImageError
from distune.data.loading import make_loader
from distune.data.transforms import to_unit_range
from distune.detectors.maskrcnn import boxes_only
from distune.detectors.modes import eval_mode
from distune.training.evaluation.voc_ap import ScoredImage, voc_precision_curve

Prediction = dict[str, Tensor]
"""Detections of an image, on the CPU: ``boxes`` (n, 4) xyxy pixels of the original image, ``scores`` (n,), ``labels``
(n,) and ``image_index`` (), its index in the dataset."""

IndexedImages = Sequence[tuple[int, Tensor]]
"""Images of a batch, each uint8 (3, H, W) RGB, with their indices in the dataset."""

MAX_DETECTIONS = 100
"""COCO's metrics use this many detections per image and class, those with the highest scores."""

_AREAS = ("", "_small", "_medium", "_large")


def evaluate(
    model: nn.Module,
    dataset: DetectionDataset,
    *,
    device: torch.device,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
    num_workers: int = 0,
    labels_K: Tensor | None = None,
) -> dict[str, float]:
    """Score a detector on a dataset: ``predict``, then ``score``. Arguments and errors are those of ``predict``."""
    predictions = predict(
        model,
        dataset,
        device=device,
        batch_size=batch_size,
        autocast_dtype=autocast_dtype,
        num_workers=num_workers,
        labels_K=labels_K,
    )
    return score(predictions, dataset)


def predict(
    model: nn.Module,
    dataset: DetectionDataset,
    *,
    device: torch.device,
    batch_size: int,
    autocast_dtype: torch.dtype | None = None,
    num_workers: int = 0,
    labels_K: Tensor | None = None,
    part: tuple[int, int] = (0, 1),
) -> list[Prediction]:
    """Run a torchvision detector on every image of a dataset.

    Args:
        model: on ``device``. Runs in evaluation mode; the mode of each module is restored afterwards.
        dataset: any; images are not augmented.
        device: of the model.
        batch_size: images per forward pass.
        autocast_dtype: of mixed precision, None for float32.
        num_workers: processes that load images; 0 loads in this one.
        labels_K: maps each label of the model to the dataset's label; 0 drops the detections of that class. None if
            both have the same labels.
        part: number of this process, from 0, and number of processes that share the batches.

    Returns:
        One prediction per image of this process's batches, in order. Detections with a coordinate or score that is not
        finite are dropped; images that cannot be decoded are left out.

    Raises:
        DataError: more than 1% of this process's images, and more than one, cannot be decoded.
    """
    predictions: list[Prediction] = []
    with prediction_mode(model):
        for images in batches_of_images(dataset, batch_size=batch_size, num_workers=num_workers, part=part):
            predictions += predict_batch(model, images, device=device, autocast_dtype=autocast_dtype, labels_K=labels_K)
    return predictions


def batches_of_images(
    dataset: DetectionDataset, *, batch_size: int, num_workers: int = 0, part: tuple[int, int] = (0, 1)
) -> Iterator[IndexedImages]:
    """Load the images of a dataset, without augmentation.

    Args:
        dataset: any.
        batch_size: images of a batch.
        num_workers: processes that load images; 0 loads in this one.
        part: number of this process, from 0, and number of processes that share the batches.

    Yields:
        The images of a batch that can be decoded, at least one, with their indices in the dataset.

    Raises:
        DataError: after the last batch; more than 1% of this process's images, and more than one, cannot be decoded.
    """
    indices = range(len(dataset))
    batches = [list(indices[start : start + batch_size]) for start in range(0, len(indices), batch_size)]
    own = batches[part[0] :: part[1]]
    loader = make_loader(_Images(dataset), own, collate=_as_list, num_workers=num_workers)
    corrupt: dict[str, str] = {}
    for loaded in loader:
        corrupt.update((item.file, item.problem) for item in loaded if isinstance(item, ImageError))
        images = [item for item in loaded if not isinstance(item, ImageError)]
        if images:
            yield images
    stop_if_corrupt(f"split {dataset.name}", corrupt, sum(map(len, own)))


@contextlib.contextmanager
def prediction_mode(model: nn.Module) -> Iterator[None]:
    """Set a detector to evaluation mode inside the block, without a mask head; restore all modes afterwards."""
    with eval_mode(model), boxes_only(model):
        yield


@torch.inference_mode()
def predict_batch(
    model: nn.Module,
    images: IndexedImages,
    *,
    device: torch.device,
    autocast_dtype: torch.dtype | None = None,
    labels_K: Tensor | None = None,
) -> list[Prediction]:
    """Run a detector, inside ``prediction_mode``, on a batch of images.

    Args:
        model: on ``device``.
        images: with their indices in the dataset.
        device: of the model.
        autocast_dtype: of mixed precision, None for float32.
        labels_K: see ``predict``.

    Returns:
        One prediction per image.
    """
    outputs = run_detector(
        model, [image for _, image in images], device=device, autocast_dtype=autocast_dtype, labels_K=labels_K
    )
    return [{**output, "image_index": torch.tensor(index)} for (index, _), output in zip(images, outputs, strict=True)]


def run_detector(
    model: nn.Module,
    images: Sequence[Tensor],
    *,
    device: torch.device,
    autocast_dtype: torch.dtype | None = None,
    labels_K: Tensor | None = None,
) -> list[dict[str, Tensor]]:
    """Run a torchvision detector, which is in evaluation mode, on a batch of images.

    Args:
        model: on ``device``.
        images: each uint8 (3, H, W) RGB.
        device: of the model.
        autocast_dtype: of mixed precision, None for float32.
        labels_K: see ``predict``.

    Returns:
        ``boxes``, ``scores`` and ``labels`` of each image, on the CPU. Detections that are not finite are dropped.
    """
    with torch.autocast(device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None):
        outputs = model([to_unit_range(image.to(device, non_blocking=True)) for image in images])
    found = [_finite(output) for output in outputs]
    return found if labels_K is None else [_relabel(output, labels_K.cpu()) for output in found]


def score(predictions: Sequence[Prediction], dataset: DetectionDataset) -> dict[str, float]:
    """Compute average precisions in points, 0 to 100.

    ``AP``, ``AP50``, ``AP75``, ``AP_small``, ``AP_medium``, ``AP_large`` and ``AP/<class>`` are COCO's, by pycocotools.
    VOC's difficult boxes count there as crowd: detections on them are ignored. ``VOC_AP50`` is the mean over classes of
    the area under the interpolated precision-recall curve at an overlap of 0.5, matched like VOC's development kit,
    without the limit of 100 detections. ``VOC07_AP50`` is that of VOC2007, at eleven recalls. They depart from the kit
    in one point: crowd boxes, which VOC does not have, are ignored like difficult ones.

    Args:
        predictions: at most one per image; images without one are left out of the ground truth too.
        dataset: the ground truth.

    Returns:
        The metrics. Those of an area or a class without ground truth are left out. Characters of a class name that
        MLflow does not accept are replaced by ``_``.
    """
    metrics = _coco_metrics(predictions, dataset)
    images = [scored_image(prediction, dataset) for prediction in predictions]
    labels = range(1, len(dataset.classes) + 1)
    curves = [curve for label in labels if (curve := voc_precision_curve(images, label)) is not None]
    if curves:
        metrics["VOC_AP50"] = 100 * float(np.mean([curve.area for curve in curves]))
        metrics["VOC07_AP50"] = 100 * float(np.mean([curve.eleven_points for curve in curves]))
    return metrics


def metric_names(classes: Sequence[str]) -> list[str]:
    """Return a distinct metric name ``AP/<class>`` for each class, of letters, digits and ``_-. :`` only."""
    names: list[str] = []
    for class_name in classes:
        clean = re.sub(r"[^A-Za-z0-9_\-. :]", "_", class_name)
        clean = re.sub(r"\A\.+\Z", "_", clean) or "_"  # MLflow reads a name as a path, so it cannot be . or ..
        name, number = f"AP/{clean}", 2
        while name in names:
            name, number = f"AP/{clean}_{number}", number + 1
        names.append(name)
    return names


def coco_evaluation(predictions: Sequence[Prediction], dataset: DetectionDataset) -> COCOeval:
    """Match every image with pycocotools, without accumulating. Arguments are those of ``score``."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation = COCOeval(_truth(predictions, dataset), _detections(predictions, dataset), "bbox")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
    return evaluation


def scored_image(prediction: Prediction, dataset: DetectionDataset) -> ScoredImage:
    """Convert ground truth and detections of an image to the input of VOC's metric."""
    image = dataset.annotations(int(prediction["image_index"]))
    return ScoredImage(
        boxes_N4=image.scored_N4,
        labels_N=image.labels_N,
        ignored_N=image.ignored_N,
        detected_D4=prediction["boxes"].numpy().astype(np.float64),
        detected_labels_D=prediction["labels"].numpy(),
        scores_D=prediction["scores"].numpy().astype(np.float64),
    )


def _coco_metrics(predictions: Sequence[Prediction], dataset: DetectionDataset) -> dict[str, float]:
    evaluation = coco_evaluation(predictions, dataset)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation.accumulate()
    # Precision at overlap T, recall R, class K, area A; -1 where there is no ground truth.
    precision_TRKA: NDArray[np.float64] = evaluation.eval["precision"][..., 0]
    parts = {f"AP{area}": precision_TRKA[..., position] for position, area in enumerate(_AREAS)}
    parts["AP50"] = precision_TRKA[0, ..., 0]
    parts["AP75"] = precision_TRKA[5, ..., 0]
    for position, name in enumerate(metric_names(dataset.classes)):
        parts[name] = precision_TRKA[:, :, position, 0]
    return {name: 100 * float(part[part > -1].mean()) for name, part in parts.items() if (part > -1).any()}


def _truth(predictions: Sequence[Prediction], dataset: DetectionDataset) -> COCO:
    records: list[dict[str, Any]] = []
    for prediction in predictions:
        image = dataset.annotations(int(prediction["image_index"]))
        columns = zip(_xywh(image.scored_N4), image.labels_N, image.areas_N, image.ignored_N, strict=True)
        for box, label, area, ignored in columns:
            record = _record(len(records), prediction, box, int(label), float(area))
            records.append({**record, "iscrowd": int(ignored)})
    return _coco(predictions, dataset, records)


def _detections(predictions: Sequence[Prediction], dataset: DetectionDataset) -> COCO:
    records: list[dict[str, Any]] = []
    for prediction in predictions:
        boxes = _xywh(prediction["boxes"].numpy())
        for box, label, value in zip(boxes, prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True):
            record = _record(len(records), prediction, box, label, box[2] * box[3])
            records.append({**record, "score": value})
    return _coco(predictions, dataset, records)


def _record(number: int, prediction: Prediction, box: list[float], label: int, area: float) -> dict[str, Any]:
    # Ids count from 1: pycocotools reads a match with id 0 as no match.
    image = int(prediction["image_index"])
    return {"id": number + 1, "image_id": image, "category_id": label, "bbox": box, "area": area}


def _coco(predictions: Sequence[Prediction], dataset: DetectionDataset, records: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": int(prediction["image_index"])} for prediction in predictions],
        "categories": [{"id": label, "name": name} for label, name in enumerate(dataset.classes, start=1)],
        "annotations": records,
    }
    coco.createIndex()
    return coco


def _xywh(boxes_N4: NDArray[np.float32] | NDArray[np.float64]) -> list[list[float]]:
    boxes = boxes_N4.astype(np.float64).reshape(-1, 4)
    rows: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return rows


def _finite(output: Mapping[str, Tensor]) -> dict[str, Tensor]:
    boxes = output["boxes"].float().cpu().reshape(-1, 4)
    scores = output["scores"].float().cpu()
    kept = boxes.isfinite().all(dim=1) & scores.isfinite()
    return {
        "boxes": boxes[kept],
        "scores": scores[kept],
        "labels": output["labels"].cpu()[kept],
    }


def _relabel(output: Mapping[str, Tensor], labels_K: Tensor) -> dict[str, Tensor]:
    labels_n = labels_K[output["labels"]]
    kept_n = labels_n > 0
    return {
        "boxes": output["boxes"][kept_n],
        "scores": output["scores"][kept_n],
        "labels": labels_n[kept_n],
    }


class _Images(Dataset[tuple[int, Tensor] | ImageError]):
    def __init__(self, dataset: DetectionDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> tuple[int, Tensor] | ImageError:
        try:
            return index, self._dataset.image(index)
        except ImageError as error:
            return error


def _as_list(samples: list[Any]) -> list[Any]:
    return samples
