"""Reads images with a text file of labels each, in the format of YOLO.

A line is a class id and either the center, width and height of a box, or the corners of a polygon, as fractions of the
image as viewers show it. Where the file of names has ``kpt_shape``, a line is a box, and the keypoints of a pose that
follow it are not read. An image without a text file has no objects.
"""

from __future__ import annotations

import math
import os
import posixpath
from pathlib import Path

from distune.config.data import YoloData
from distune.config.yaml import parse_plain
from distune.data.check import listing
from distune.data.formats.image_files import is_image_name, walk_images
from distune.data.formats.polygons import bounding_box, polygon, read_number
from distune.data.formats.text_files import read_text
from distune.data.raw_split import RawBox, RawData, RawImage, RawSplit
from distune.data.regular_file import is_file
from distune.errors import DataError

Names = dict[int, str]
"""Class id to name."""

_BOX_FIELDS = 5
_FEWEST_POLYGON_FIELDS = 7  # three corners


def read(settings: YoloData, root: Path, with_masks: bool) -> RawData:
    """Read all splits.

    Args:
        settings: the folders or lists of the images, and the file of names.
        root: the folder that the paths start from.
        with_masks: read the polygons of the training split.

    Returns:
        The splits, and the classes in the order of their ids.

    Raises:
        DataError: the file of names is missing or has none, or its ``kpt_shape`` is not valid; no image of a split has
            labels; or two images have one file of labels.
    """
    names = read_names(root / settings.names, given=settings.names)
    num_keypoint_fields = _count_keypoint_fields(root / settings.names)
    sets = {"train": settings.train, "search": settings.search, "test": settings.test}
    splits = {
        name: _read_split(
            root,
            places,
            names,
            num_keypoint_fields=num_keypoint_fields,
            with_masks=with_masks and name == "train",
            split_name=name,
        )
        for name, places in sets.items()
        if places is not None
    }
    return RawData(splits=splits, classes=tuple(names[number] for number in sorted(names)), form="relative cxcywh")


def read_names(path: Path, *, given: str) -> Names:
    """Return the names of the class ids.

    Args:
        path: a YAML file with ``names`` as a list or a mapping, or a text file with a name on each line.
        given: its name in messages.

    Returns:
        Class id to name.

    Raises:
        DataError: the file is missing, or has no names, or the same name twice.
    """
    if not is_file(path):
        raise DataError(f"data.names = {given}: there is no such file; it gives the names of the class ids")
    text = read_text(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        found = {number: line.strip() for number, line in enumerate(text.splitlines()) if line.strip()}
    else:
        try:
            content = parse_plain(text)
        except ValueError as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        found = _names_of(content.get("names") if isinstance(content, dict) else None)
    if not found:
        raise DataError(f"{path}: has no names of classes; write names: [cat, dog]")
    if len(set(found.values())) < len(found):
        raise DataError(f"{path}: names a class twice: {', '.join(found.values())}")
    return found


def _count_keypoint_fields(path: Path) -> int:
    """Return how many numbers of keypoints follow the box of each object; 0 where there are none."""
    content = parse_plain(read_text(path)) if path.suffix.lower() in (".yaml", ".yml") else None
    shape = content.get("kpt_shape") if isinstance(content, dict) else None
    if shape is None:
        return 0
    if not (isinstance(shape, list) and [type(each) for each in shape] == [int, int]) or min(shape) < 1:
        raise DataError(f"{path}: kpt_shape = {shape} must be the number of keypoints and the numbers of each: [17, 3]")
    return int(shape[0] * shape[1])


def _names_of(value: object) -> Names:
    if isinstance(value, list):
        return {number: str(name) for number, name in enumerate(value)}
    if isinstance(value, dict) and all(type(number) is int for number in value):
        return {number: str(name) for number, name in value.items()}
    return {}


def label_file(image: str) -> str:
    """Return the path of the labels of an image: its last folder ``images`` becomes ``labels``, if it has one."""
    stem = posixpath.splitext(image)[0]
    parts = stem.split("/")
    if "images" not in parts[:-1]:
        return f"{stem}.txt"
    last = max(position for position, part in enumerate(parts[:-1]) if part == "images")
    return "/".join([*parts[:last], "labels", *parts[last + 1 :]]) + ".txt"


def _read_split(
    root: Path, places: str, names: Names, *, num_keypoint_fields: int, with_masks: bool, split_name: str
) -> RawSplit:
    split = RawSplit()
    files = list(dict.fromkeys(file for place in places.split("+") for file in _files(root, place.strip(), split)))
    if split.missing:
        return split
    _stop_if_ambiguous(root, files)
    num_labeled = 0
    for file in files:
        row = len(split.images)
        split.images.append(RawImage(image_id=row, file=file, path=root / file))
        source = next((each for each in _label_files(file) if is_file(root / each)), None)
        if source is not None:
            num_labeled += 1
            _read_labels(
                root / source,
                source,
                row,
                names,
                split,
                num_keypoint_fields=num_keypoint_fields,
                with_masks=with_masks,
            )
    without = len(files) - num_labeled
    if files and not num_labeled:
        expected = [each for file in files for each in _label_files(file)]
        raise DataError(
            f"{root}, split {split_name}: none of {len(files)} images has a file of labels, such as\n"
            f"{listing(expected)}"
        )
    if without:
        split.notes.append(f"split {split_name}: {without} images have no file of labels, so they have no objects")
    return split


def _stop_if_ambiguous(root: Path, files: list[str]) -> None:
    """Stop when two images have one file of labels, since it may be of either."""
    images: dict[str, list[str]] = {}
    for file in files:
        images.setdefault(posixpath.splitext(file)[0], []).append(file)
    ambiguous = [", ".join(names) for names in images.values() if len(names) > 1]
    if ambiguous:
        raise DataError(
            f"{root}: {len(ambiguous)} files of labels could be for several images\n{listing(ambiguous)}\n"
            "Remove or rename the other images."
        )


def _label_files(image: str) -> list[str]:
    beside = posixpath.splitext(image)[0] + ".txt"
    return list(dict.fromkeys([label_file(image), beside]))


def _files(root: Path, place: str, split: RawSplit) -> list[str]:
    """Return the images of a folder, or of a list of images, relative to the root."""
    path = root / place
    if path.is_dir():
        found = [posixpath.normpath(f"{place}/{name}") for name in walk_images(path)]
        split.missing += [] if found else [f"{place}/*.jpg"]
        return found
    if not is_file(path) or path.suffix.lower() != ".txt":
        split.missing.append(place)
        return []
    files = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        listed = path.parent / line if line.startswith("./") else root / line  # as in the lists of COCO for YOLO
        file = Path(os.path.relpath(listed, root)).as_posix()
        if not is_file(listed):
            split.missing.append(f"{line} (in {place})")
        elif is_image_name(line):
            files.append(file)
    return files


def _read_labels(
    path: Path,
    source: str,
    row: int,
    names: Names,
    split: RawSplit,
    *,
    num_keypoint_fields: int,
    with_masks: bool,
) -> None:
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        split.bad_boxes += 1
        split.faults.append(f"{source}: cannot be read ({error.strerror})")
        return
    for number, line in enumerate(lines, start=1):
        if fields := line.split():
            location = f"{source}: line {number}"
            box: RawBox | str
            if num_keypoint_fields and len(fields) not in (_BOX_FIELDS, _BOX_FIELDS + num_keypoint_fields):
                box = (
                    f"{location} has {len(fields)} numbers; a box has {_BOX_FIELDS}, and a pose of kpt_shape "
                    f"{_BOX_FIELDS + num_keypoint_fields}"
                )
            else:
                kept = fields[:_BOX_FIELDS] if num_keypoint_fields else fields
                box = _box(kept, row, location, names, with_masks=with_masks)
            if isinstance(box, str):
                split.bad_boxes += 1
                split.faults.append(box)
            else:
                split.boxes.append(box)


def _box(fields: list[str], row: int, location: str, names: Names, *, with_masks: bool) -> RawBox | str:
    """Return a box, or what is wrong with its line."""
    class_id, *values = map(read_number, fields)
    is_polygon = len(fields) >= _FEWEST_POLYGON_FIELDS and len(fields) % 2 == 1
    if not (is_polygon or len(fields) == _BOX_FIELDS):
        return f"{location} has {len(fields)} numbers; a box has {_BOX_FIELDS}, a polygon an odd number from 7 on"
    if not (math.isfinite(class_id) and class_id == int(class_id)):
        return f"{location} starts with {fields[0]!r}, which is not a class id"
    points = list(zip(values[::2], values[1::2], strict=True)) if is_polygon else []
    if is_polygon:
        x1, y1, x2, y2 = bounding_box(points)
        given = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    else:
        x, y, width, height = given = (values[0], values[1], values[2], values[3])
        x1, y1, x2, y2 = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return RawBox(
        row=row,
        location=location,
        class_name=names.get(int(class_id), ""),
        box=(x1, y1, x2, y2),
        given=given,
        segmentation=polygon(points) if with_masks else None,
    )
