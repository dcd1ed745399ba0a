"""Reads annotations in the JSON format of Label Studio, full or minimal ("JSON" and "JSON-MIN").

Boxes are percentages of the image. A turned box or a polygon is read as its bounding box. Of several annotations of a
task, the one that is marked as ground truth counts, else the last that was not canceled. Tasks without annotations are
left out.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from distune.config.data import LabelStudioData
from distune.data.formats.image_files import EntryNames, is_image_name, walk_images
from distune.data.formats.polygons import NO_BOX, Point, bounding_box, polygon, read_number, rotated_corners
from distune.data.masks import Segmentation
from distune.data.raw_split import Coordinates, RawBox, RawData, RawImage, RawSplit
from distune.data.regular_file import is_file, read_json
from distune.errors import DataError

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio puts this before the names of uploaded files."""
_KINDS = ("rectanglelabels", "polygonlabels")


def read(settings: LabelStudioData, root: Path, with_masks: bool) -> RawData:
    """Read the export. All tasks are training images; the other splits are held out of them.

    Args:
        settings: the file, and the folder of the images.
        root: the folder that the paths start from.
        with_masks: read the polygons.

    Returns:
        The training split; missing files are in ``missing``.

    Raises:
        DataError: the file is not in this format, several images have the name of one task, or tasks of different
            addresses are of one image.
    """
    split = RawSplit()
    path, folder = root / settings.annotations, root / settings.images
    split.missing += [] if is_file(path) else [settings.annotations]
    split.missing += [] if folder.is_dir() else [f"{settings.images}/"]
    if not split.missing:
        _read_tasks(_load(path), root, settings, split, with_masks=with_masks)
    return RawData(splits={"train": split}, classes=None, form="relative xywh")


def _load(path: Path) -> list[Any]:
    try:
        content = read_json(path)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error})") from None
    if not is_export(content):
        raise DataError(f'{path}: is not an export of Label Studio; export the project as "JSON"')
    return list(content)


def is_export(content: Any) -> bool:
    """Return whether the content of a JSON file is an export of Label Studio."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(task, dict) for task in content)
        and any(isinstance(task.get("data"), dict) or "annotation_id" in task for task in content)
    )


def _read_tasks(
    tasks: list[dict[str, Any]], root: Path, settings: LabelStudioData, split: RawSplit, *, with_masks: bool
) -> None:
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in walk_images(root / settings.images):
        by_name[posixpath.basename(file)].append(file)
    entries = EntryNames(str(root / settings.annotations))
    not_annotated = 0
    for number, task in enumerate(tasks, start=1):
        location = f"{settings.annotations}: task {task.get('id', f'number {number}')}"
        items = _items(task)
        if items is None:
            not_annotated += 1
            continue
        address = _address(task)
        if address is None:
            split.bad_images += 1
            split.faults.append(f"{location} names no image")
            continue
        found = _find(address, by_name)
        if not found:
            split.missing.append(posixpath.normpath(f"{settings.images}/{_candidates(address)[0]}"))
            continue
        if len(found) > 1:
            raise DataError(
                f"{root}: {location} is of {address}, and several images have this name: {', '.join(found)}"
            )
        file = posixpath.normpath(f"{settings.images}/{found[0]}")
        entries.add(_full_name(address), file)
        row = len(split.images)
        width, height = _size(items)
        split.images.append(RawImage(image_id=row, file=file, path=root / file, width=width, height=height))
        for position, item in enumerate(items, start=1):
            _add_box(item, row, f"{location}, region {position}", split, with_masks=with_masks)
    if not_annotated:
        split.notes.append(f"{settings.annotations}: {not_annotated} tasks are not annotated and are left out")


def _items(task: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the regions of a task, each with its values and labels; None where it is not annotated."""
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None and not isinstance(task.get("data"), dict):  # the minimal form
        lists = [value for value in task.values() if isinstance(value, list) and _are_regions(value)]
        return [dict(item) for value in lists for item in value] if lists or "annotation_id" in task else None
    valid = [each for each in annotations or () if isinstance(each, dict) and not each.get("was_cancelled")]
    if not valid:
        return None
    chosen = next((each for each in valid if each.get("ground_truth")), valid[-1])
    results = chosen.get("result")
    items = []
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict) and isinstance(result.get("value"), dict):
            if result.get("type") in ("choices", "rating", "textarea", "relation"):
                continue  # about the whole image
            sizes = {key: result.get(key) for key in ("original_width", "original_height")}
            items.append({**sizes, **result["value"]})
    return items


def _are_regions(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(each, dict) and any(kind in each for kind in _KINDS) for each in values)


def _address(task: Mapping[str, Any]) -> str | None:
    """Return the address of the image: the value that ends as the name of an image."""
    data = task.get("data")
    values = data.values() if isinstance(data, dict) else task.values()
    return next((each for each in values if isinstance(each, str) and is_image_name(_path(each))), None)


def _path(address: str) -> str:
    """Return the path in an address; files of a local storage are named by ``?d=``."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    local = parse_qs(parts.query).get("d")
    return unquote(local[0] if local else parts.path or address)


def _full_name(address: str) -> str:
    """Return the host and the path of an address, without what may differ for one image, such as a signature."""
    try:
        host = urlsplit(address).netloc
    except ValueError:
        host = ""
    return host + _path(address)


def _candidates(address: str) -> list[str]:
    name = posixpath.basename(_path(address).replace("\\", "/"))
    return list(dict.fromkeys([name, _UPLOAD_PREFIX.sub("", name)]))


def _find(address: str, by_name: Mapping[str, list[str]]) -> list[str]:
    """Return the images of that name; of several, those whose folders end the path of the address."""
    found = next((by_name[name] for name in _candidates(address) if name in by_name), [])
    if len(found) > 1:
        path = _path(address)
        longest = max((file for file in found if path.endswith(f"/{file}") or path == file), key=len, default=None)
        return found if longest is None else [longest]
    return found


def _size(items: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the size that the regions state; 0 where they state none."""
    for width, height in _stated_sizes(items):
        return width, height
    return 0, 0


def _stated_sizes(items: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    for item in items:
        width, height = (read_number(item.get(key)) for key in ("original_width", "original_height"))
        if 0 < width < 1e9 and 0 < height < 1e9:
            yield int(width), int(height)


def _add_box(item: dict[str, Any], row: int, location: str, split: RawSplit, *, with_masks: bool) -> None:
    kind = next((each for each in _KINDS if isinstance(item.get(each), list)), None)
    labels = [] if kind is None else [each for each in item[kind] if isinstance(each, str)]
    if kind is None or len(labels) != 1:
        split.bad_boxes += 1
        has = "is neither a rectangle nor a polygon with labels" if kind is None else f"has {len(labels)} labels, not 1"
        split.faults.append(f"{location} {has}")
        return
    box, outline = _outline(item, kind)
    x1, y1, x2, y2 = box
    split.boxes.append(
        RawBox(
            row=row,
            location=location,
            class_name=labels[0].strip(),
            box=box,
            given=(x1, y1, x2 - x1, y2 - y1),
            segmentation=outline if with_masks else None,
        )
    )


def _outline(item: dict[str, Any], kind: str) -> tuple[Coordinates, Segmentation | None]:
    """Return the bounding box as fractions of the image, and the polygon where there is one."""
    if kind == "polygonlabels":
        points = [_point(each) for each in item.get("points", ()) or ()]
        return bounding_box(points), polygon(points)
    x, y, width, height = (read_number(item.get(key)) / 100 for key in ("x", "y", "width", "height"))
    box = (x, y, x + width, y + height)
    degrees = read_number(item.get("rotation") or 0)
    if degrees == 0:
        return box, None
    across, down = (read_number(item.get(key)) for key in ("original_width", "original_height"))
    if not (across > 0 and down > 0 and math.isfinite(degrees)):
        return NO_BOX, None
    # A rectangle is turned about its upper left corner, in pixels.
    pixels = (x * across, y * down, (x + width) * across, (y + height) * down)
    corners = [
        (corner_x / across, corner_y / down)
        for corner_x, corner_y in rotated_corners(pixels, degrees, center=(x * across, y * down))
    ]
    return bounding_box(corners), polygon(corners)


def _point(value: Any) -> Point:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return read_number(value[0]) / 100, read_number(value[1]) / 100
    return math.nan, math.nan
