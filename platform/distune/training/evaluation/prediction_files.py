"""Predictions as files: records of COCO's JSON, and pictures with the boxes of several detectors side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from distune.atomic_write import write_atomically
from distune.data.draw_boxes import class_legend, draw_boxes, panels, resize_to, scored_names

_MAX_PICTURE_PX = 1280


def image_record(number: int, path: Path, image: Tensor) -> dict[str, Any]:
    """Return the record of an image, (3, H, W)."""
    height, width = image.shape[-2:]
    return {"id": number, "file_name": str(path), "width": int(width), "height": int(height)}


def box_records(first: int, image: int, output: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Return the boxes of an image as COCO writes them: xywh, in pixels of the image as viewers show it.

    Args:
        first: id of the first box.
        image: id of the image.
        output: ``boxes``, ``labels`` and ``scores`` of the image.

    Yields:
        A record for each box, with its ``score``.
    """
    columns = (output[name].tolist() for name in ("boxes", "labels", "scores"))
    for number, ((x1, y1, x2, y2), label, score) in enumerate(zip(*columns, strict=True), start=first):
        box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        yield {
            "id": number,
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": round(box[2] * box[3], 2),
            "iscrowd": 0,
            "score": round(score, 5),
        }


def picture_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the picture of each image; those of the same name get a number."""
    names: dict[Path, str] = {}
    used: set[str] = set()
    for path in paths:
        name, number = f"{path.stem}.jpg", 2
        while name.lower() in used:
            name, number = f"{path.stem}_{number}.jpg", number + 1
        used.add(name.lower())
        names[path] = name
    return names


def draw_picture(
    image: Tensor, found: Mapping[str, Mapping[str, Tensor]], classes: tuple[str, ...], file: Path
) -> None:
    """Write a picture of an image with the boxes of each detector side by side.

    Args:
        image: uint8 (3, H, W) RGB.
        found: title to ``boxes``, ``labels`` and ``scores`` of a detector, the surest first.
        classes: of the detectors.
        file: a JPEG.
    """
    small, scale = resize_to(image, _MAX_PICTURE_PX)
    drawn: dict[str, Tensor] = {}
    for title, output in found.items():
        labels, scores = output["labels"].flip(0).tolist(), output["scores"].flip(0).tolist()  # the surest on top
        boxes = output["boxes"].flip(0) * scale
        drawn[title] = draw_boxes(small, boxes, labels, scored_names(classes, labels, scores))
    legend = class_legend(classes, (label for output in found.values() for label in output["labels"].tolist()))
    content = io.BytesIO()
    to_pil_image(panels(drawn, legend)).save(content, format="JPEG", quality=90)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content.getvalue())
