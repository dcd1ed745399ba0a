"""Figures of a trial, PNG files in its folder: detections, and the instances selected as prototypes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import draw_bounding_boxes, make_grid

from distune.atomic_write import write_atomically
from distune.data.dataset import DetectionDataset
from distune.data.draw_boxes import draw_boxes, scored_names
from distune.distillation.prototypes.prototypes import Prototypes
from distune.training.evaluation.predict_and_score import Prediction

FOLDER = "pictures"
DETECTIONS = "detections.png"
PROTOTYPES = "prototypes.png"
MIN_SHOWN_SCORE = 0.3

_PICTURE_PX = 320
_CROP_PX = 64
_MAX_PER_CLASS = 10
_MAX_CLASSES = 12


def draw_detections(
    dataset: DetectionDataset, predictions: Sequence[Prediction], num_pictures: int, folder: Path
) -> Path | None:
    """Draw evenly spaced images of a dataset: true boxes in white, detections in the color of their class.

    Args:
        dataset: of the predictions.
        predictions: of ``predict``.
        num_pictures: number of images.
        folder: of the trial; the figure is ``pictures/detections.png`` in it.

    Returns:
        The file; None if there is nothing to draw.
    """
    count = min(num_pictures, len(predictions))
    if count == 0:
        return None
    chosen = np.linspace(0, len(predictions) - 1, count).round().astype(int)
    pictures = [_with_boxes(dataset, predictions[int(position)]) for position in chosen]
    path = folder / FOLDER / DETECTIONS
    _write(_grid(pictures, columns=min(3, count)), path)
    return path


def draw_prototypes(dataset: DetectionDataset, prototypes: Prototypes, folder: Path) -> Path | None:
    """Draw the instances selected as prototypes on the finest level, a row per class.

    Args:
        dataset: the training split that the origins point into.
        prototypes: those with an unknown origin are left out.
        folder: of the trial; the figure is ``pictures/prototypes.png`` in it.

    Returns:
        The file; None if there is no prototype to draw.
    """
    origins_CM2 = prototypes.origin[0, :_MAX_CLASSES, :_MAX_PER_CLASS].cpu()
    valid_CM = prototypes.valid[0, :_MAX_CLASSES, :_MAX_PER_CLASS].cpu() & (origins_CM2[..., 0] >= 0)
    if not bool(valid_CM.any()):
        return None
    blank = torch.full((3, _CROP_PX, _CROP_PX), 255, dtype=torch.uint8)
    crops = [
        _crop(dataset, int(origins_CM2[row, column, 0]), int(origins_CM2[row, column, 1]))
        if bool(valid_CM[row, column])
        else blank
        for row in range(valid_CM.shape[0])
        for column in range(valid_CM.shape[1])
    ]
    path = folder / FOLDER / PROTOTYPES
    _write(make_grid(torch.stack(crops), nrow=valid_CM.shape[1], padding=2, pad_value=255), path)
    return path


def _with_boxes(dataset: DetectionDataset, prediction: Prediction) -> Tensor:
    index = int(prediction["image_index"])
    image = dataset.image(index)
    scale = _PICTURE_PX / max(image.shape[-2:])
    image = _resized(image, scale)
    truth = torch.from_numpy(dataset.annotations(index).boxes_N4) * scale
    if len(truth):
        image = draw_bounding_boxes(image, truth, colors="white", width=1)
    shown = prediction["scores"] >= MIN_SHOWN_SCORE
    boxes, labels, scores = (prediction[name][shown] for name in ("boxes", "labels", "scores"))
    if not len(boxes):
        return image
    order = scores.argsort()  # the surest lie over the others
    names = scored_names(dataset.classes, labels[order].tolist(), scores[order].tolist())
    return draw_boxes(image, boxes[order] * scale, labels[order].tolist(), names)


def _crop(dataset: DetectionDataset, image_index: int, box_index: int) -> Tensor:
    image = dataset.image(image_index)
    x1, y1, x2, y2 = dataset.annotations(image_index).boxes_N4[box_index].tolist()
    crop = image[:, int(y1) : max(int(y2 + 1), int(y1) + 1), int(x1) : max(int(x2 + 1), int(x1) + 1)]
    return _sized(crop, (_CROP_PX, _CROP_PX))


def _resized(image: Tensor, scale: float) -> Tensor:
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    return _sized(image, (height, width))


def _sized(image: Tensor, size: tuple[int, int]) -> Tensor:
    resized = interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    return resized.round().clamp(0, 255).to(torch.uint8)


def _grid(pictures: Sequence[Tensor], *, columns: int) -> Tensor:
    height, width = (max(int(each.shape[axis]) for each in pictures) for axis in (-2, -1))
    canvas = torch.full((len(pictures), 3, height, width), 255, dtype=torch.uint8)
    for index, each in enumerate(pictures):
        canvas[index, :, : each.shape[-2], : each.shape[-1]] = each
    grid: Tensor = make_grid(canvas, nrow=columns, padding=4, pad_value=255)
    return grid


def _write(picture: Tensor, path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(content, format="PNG")
    write_atomically(path, content.getvalue())
