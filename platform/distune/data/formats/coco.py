"""Reads annotations in the JSON format of COCO. Uses ``json`` because pycocotools prints.

A category that no box has is left out when its name is the supercategory of others: annotation services export such a
root for each project. All other categories are classes, with or without boxes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from distune.config.data import CocoData, CocoSplitSettings
from distune.data.dataset import ImageError
from distune.data.formats.flags import read_flag
from distune.data.images import inspect_image
from distune.data.masks import read_segmentation
from distune.data.raw_split import Coordinates, RawBox, RawData, RawImage, RawSplit
from distune.data.regular_file import is_file, is_folder, read_json
from distune.errors import DataError

Categories = dict[int, str]
"""Category ids, which may have gaps, to names, sorted by id. Label ``i`` is the i-th category."""

_NUMBERS = frozenset({int, float})  # types of numbers from json; bool is not among them
_LARGEST_ID = 2**63 - 1
_NO_BOX = (math.nan, math.nan, math.nan, math.nan)


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
    given = {name: part for name, part in parts.items() if part is not None}
    contents = {
        name: _load(root / part.annotations) for name, part in given.items() if is_file(root / part.annotations)
    }
    used = {
        record["category_id"]
        for content in contents.values()
        for record in content["annotations"]
        if isinstance(record.get("category_id"), int)
    }
    splits: dict[str, RawSplit] = {}
    classes: Categories = {}
    notes: dict[str, None] = {}
    for name, part in given.items():
        categories, roots = _categories(root / part.annotations, contents[name], used) if name in contents else ({}, [])
        notes |= {
            f"category {each} has no boxes and is the supercategory of others; it is left out": None for each in roots
        }
        splits[name] = _read_split(root, part, contents.get(name), categories, with_masks and name == "train")
        classes = categories if name == "train" else classes
    return RawData(splits=splits, classes=tuple(classes.values()), form="xywh", notes=tuple(notes))


def _read_split(
    root: Path, part: CocoSplitSettings, content: dict[str, Any] | None, categories: Categories, with_masks: bool
) -> RawSplit:
    split = RawSplit()
    folder = root / part.images
    split.missing += [] if is_folder(folder) else [f"{part.images}/"]
    split.missing += [part.annotations] if content is None else []
    if content is None or split.missing:
        return split
    records = _image_records(root / part.annotations, content)
    split.missing += [f"{part.images}/{name}" for name in _absent(folder, [record["file_name"] for record in records])]
    if split.missing:
        return split
    rows: dict[int, int] = {}
    for record in records:
        image = _image(record, folder, part.images, is_size_needed=with_masks)
        rows[image.image_id] = len(split.images)
        split.images.append(image)
    for number, record in enumerate(content["annotations"], start=1):
        location = f"{part.annotations}: annotation {record.get('id', f'number {number}')}"
        image_id, crowd = record.get("image_id"), read_flag(record.get("iscrowd"))
        if type(image_id) is not int:
            problem = f"image_id must be a whole number, but is {_short(image_id)}"
        elif image_id not in rows:
            problem = f"is of image {image_id}, which is not in images"
        elif crowd is None:
            problem = f"iscrowd must be 0 or 1, but is {_short(record.get('iscrowd'))}"
        else:
            row = rows[image_id]
            box = _box(record, row=row, location=location, categories=categories, crowd=crowd)
            split.boxes.append(_with_segmentation(box, record, split.images[row]) if with_masks else box)
            continue
        split.bad_boxes += 1
        split.faults.append(f"{location} {problem}")
    return split


def _load(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (ValueError, OSError) as error:  # not JSON, or not UTF-8
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


def _categories(path: Path, content: dict[str, Any], used: Collection[int]) -> tuple[Categories, list[str]]:
    """Return the categories, and the names of those that are left out. ``used`` are the ids of all boxes."""
    records = content["categories"]
    for record in records:
        if type(record.get("id")) is not int or not isinstance(record.get("name"), str):
            raise DataError(f"{path}: category {_short(record)} must have a whole number as id and a name")
    categories: Categories = {}
    roots: list[str] = []
    for record in records:
        number, name = record["id"], record["name"]
        if number not in used and any(other.get("supercategory") == name for other in records if other is not record):
            roots.append(f"{number} ({name})")
            continue
        if number in categories or name in categories.values():
            raise DataError(f"{path}: category {number} ({name}) is given twice; ids and names must be unique")
        categories[number] = name
    return dict(sorted(categories.items())), roots


def _image_records(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    seen: set[int] = set()
    for record in content["images"]:
        number = record.get("id")
        if type(number) is not int or not isinstance(record.get("file_name"), str):
            raise DataError(f"{path}: image {_short(record)} must have a whole number as id and a file_name")
        if not -_LARGEST_ID <= number <= _LARGEST_ID:
            raise DataError(f"{path}: image {_short(record)} has an id that does not fit into 64 bits")
        if number in seen:
            raise DataError(f"{path}: image {number} ({record['file_name']}) is given twice; ids must be unique")
        seen.add(number)
    records: list[dict[str, Any]] = content["images"]
    return records


def _absent(folder: Path, names: list[str]) -> list[str]:
    """Return the names of missing files. Lists the folder once, and checks only other names singly."""
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries}
    return [name for name in names if name not in present and not is_file(folder / name)]


def _image(record: dict[str, Any], folder: Path, images: str, *, is_size_needed: bool) -> RawImage:
    file, path = f"{images}/{record['file_name']}", folder / record["file_name"]
    width, height = _side(record.get("width")), _side(record.get("height"))
    if is_size_needed and not (width and height):
        with contextlib.suppress(ImageError):  # it is reported with the other images that cannot be read
            width, height = inspect_image(path, file=file).shown_size
    return RawImage(image_id=record["id"], file=file, path=path, width=width, height=height)


def _side(value: Any) -> int:
    """Return a size in pixels; 0 where none is stated."""
    return value if type(value) is int and value > 0 else 0


def _box(record: dict[str, Any], *, row: int, location: str, categories: Categories, crowd: bool) -> RawBox:
    category = record.get("category_id")
    area = _number(record.get("area"))
    given = _numbers(record.get("bbox"))
    x, y, width, height = given
    return RawBox(
        row=row,
        location=location,
        class_name=categories.get(category, "") if type(category) is int else "",
        box=(x, y, x + width, y + height),
        given=given,
        area=area if area >= 0 and math.isfinite(area) else None,
        crowd=crowd,
    )


def _with_segmentation(box: RawBox, record: dict[str, Any], image: RawImage) -> RawBox:
    segmentation = read_segmentation(record.get("segmentation"), width=image.width, height=image.height)
    return dataclasses.replace(box, segmentation=segmentation)


def _numbers(bbox: Any) -> Coordinates:
    """Return COCO's x, y, width, height. Anything else gives NaN."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return _NO_BOX
    x, y, width, height = map(_number, bbox)
    return x, y, width, height


def _number(value: Any) -> float:
    """Return a number; NaN for anything else, and for a whole number that no float holds."""
    try:
        return float(value) if type(value) in _NUMBERS else math.nan
    except OverflowError:
        return math.nan


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
