"""Reads annotations in the JSON format of COCO. Uses ``json`` because pycocotools prints."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from distune.config.data import CocoData
from distune.data.dataset import ImageError
from distune.data.images import read_size
from distune.data.masks import read_segmentation
from distune.data.raw_split import RawBox, RawData, RawImage, RawSplit
from distune.errors import DataError

Categories = dict[int, str]
"""Category ids, which may have gaps, to names, sorted by id. Label ``i`` is the i-th category."""

_NUMBERS = frozenset({int, float})  # types of numbers from json; bool is not among them


def read(settings: CocoData, root: Path, with_masks: bool) -> RawData:
    """Read all splits.

    Args:
        settings: the paths of images and annotations.
        root: the folder that the paths start from.
        with_masks: read the segmentations of the training split.

    Returns:
        The splits, and the classes in the order of the category ids.

    Raises:
        DataError: a file is not JSON, or not in COCO's format.
    """
    parts = {"train": settings.train, "search": settings.search, "test": settings.test}
    splits = {
        name: read_split(root, part.images, part.annotations, with_masks=with_masks and name == "train")
        for name, part in parts.items()
        if part is not None
    }
    return RawData(
        splits={name: split for name, (split, _) in splits.items()}, classes=tuple(splits["train"][1].values())
    )


def read_split(root: Path, images: str, annotations: str, *, with_masks: bool = False) -> tuple[RawSplit, Categories]:
    """Read one split.

    Args:
        root: the folder that both paths start from.
        images: folder of the images.
        annotations: the JSON file.
        with_masks: read the segmentations, which take memory.

    Returns:
        The split, with missing files in ``missing``, and the categories.

    Raises:
        DataError: the file is not JSON, or not in COCO's format.
    """
    split = RawSplit()
    folder, path = root / images, root / annotations
    split.missing += [] if folder.is_dir() else [f"{images}/"]
    split.missing += [] if path.is_file() else [annotations]
    if split.missing:
        return split, {}
    content = _load(path)
    categories = _categories(path, content)
    records = _image_records(path, content)
    split.missing += [f"{images}/{name}" for name in _absent(folder, [record["file_name"] for record in records])]
    if split.missing:
        return split, categories
    rows: dict[int, int] = {}
    skipped: set[int] = set()
    for record in records:
        image = _image(record, folder, images, split)
        if image is None:
            skipped.add(record["id"])
        else:
            rows[image.image_id] = len(split.images)
            split.images.append(image)
    for number, record in enumerate(content.get("annotations", []), start=1):
        location = f"{annotations}: annotation {record.get('id', f'number {number}')}"
        row = rows.get(record.get("image_id"))
        if row is not None:
            box = _box(record, row=row, location=location, categories=categories)
            split.boxes.append(_with_segmentation(box, record, split.images[row]) if with_masks else box)
        elif record.get("image_id") not in skipped:
            split.bad_boxes += 1
            split.faults.append(f"{location} is of image {record.get('image_id')}, which is not in images")
    return split, categories


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # not JSON, or not UTF-8
        raise DataError(f"{path}: is not JSON ({error})") from None
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict):
        raise DataError(f"{path}: must contain the lists {', '.join(parts)}, but is a {type(content).__name__}")
    bad = [part for part in parts if not _is_list_of_dicts(content.get(part))]
    if "annotations" in bad and "annotations" not in content and "images" not in bad:
        raise DataError(f"{path}: has images but no annotations; it may be the file of a test set without labels")
    if bad:
        raise DataError(
            f"{path}: {', '.join(bad)} must be a list of mappings, as in COCO's format for object detection"
        )
    return content


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _categories(path: Path, content: dict[str, Any]) -> Categories:
    categories: Categories = {}
    for record in content["categories"]:
        number, name = record.get("id"), record.get("name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise DataError(f"{path}: category {record} must have a whole number as id and a name")
        if number in categories or name in categories.values():
            raise DataError(f"{path}: category {number} ({name}) is given twice; ids and names must be unique")
        categories[number] = name
    return dict(sorted(categories.items()))


def _image_records(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    seen: set[int] = set()
    for record in content["images"]:
        number = record.get("id")
        if not isinstance(number, int) or not isinstance(record.get("file_name"), str):
            raise DataError(f"{path}: image {record} must have a whole number as id and a file_name")
        if number in seen:
            raise DataError(f"{path}: image {number} ({record['file_name']}) is given twice; ids must be unique")
        seen.add(number)
    records: list[dict[str, Any]] = content["images"]
    return records


def _absent(folder: Path, names: list[str]) -> list[str]:
    """Return the names of missing files. Lists the folder once, and checks only other names singly."""
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    return [name for name in names if name not in present and not (folder / name).is_file()]


def _image(record: dict[str, Any], folder: Path, images: str, split: RawSplit) -> RawImage | None:
    """Return the image; None, with a fault, when neither the record nor the file has a size."""
    file, path = f"{images}/{record['file_name']}", folder / record["file_name"]
    width, height = record.get("width"), record.get("height")
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        try:
            width, height = read_size(path, file=file)
        except ImageError as error:
            split.bad_images += 1
            split.faults.append(str(error))
            return None
    return RawImage(image_id=record["id"], file=file, path=path, width=width, height=height)


def _box(record: dict[str, Any], *, row: int, location: str, categories: Categories) -> RawBox:
    category = record.get("category_id")
    area = _number(record.get("area"))
    return RawBox(
        row=row,
        location=location,
        class_name=categories.get(category, "") if isinstance(category, int) else "",
        box=_xyxy(record.get("bbox")),
        area=area if area > 0 and math.isfinite(area) else None,
        crowd=record.get("iscrowd") in (1, True),
    )


def _with_segmentation(box: RawBox, record: dict[str, Any], image: RawImage) -> RawBox:
    segmentation = read_segmentation(record.get("segmentation"), width=image.width, height=image.height)
    return dataclasses.replace(box, segmentation=segmentation)


def _xyxy(bbox: Any) -> tuple[float, float, float, float]:
    """Convert COCO's x, y, width, height. Anything else gives NaN."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not _NUMBERS.issuperset(map(type, bbox)):
        return (math.nan, math.nan, math.nan, math.nan)
    x, y, width, height = bbox
    return (x, y, x + width, y + height)


def _number(value: Any) -> float:
    return float(value) if type(value) in _NUMBERS else math.nan
