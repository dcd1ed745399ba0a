"""Reads annotations in the XML format "CVAT for images".

Boxes are xyxy in pixels, from edge to edge. A turned box, a polygon or a mask is read as its bounding box.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from xml.etree import ElementTree

from distune.config.data import CvatData
from distune.config.problems import suggest
from distune.data.formats.image_files import EntryNames, walk_images
from distune.data.formats.polygons import NO_BOX, Point, bounding_box, polygon, read_number, rotated_corners
from distune.data.formats.xml_files import parse_xml
from distune.data.masks import Segmentation
from distune.data.raw_split import Coordinates, RawBox, RawData, RawImage, RawSplit
from distune.data.regular_file import is_file
from distune.errors import DataError

_WITHOUT_AREA = ("points", "polyline", "cuboid", "skeleton", "ellipse", "tag")
"""Elements that are not boxes."""


def read(settings: CvatData, root: Path, with_masks: bool) -> RawData:
    """Read all splits.

    Args:
        settings: the file, the folder of the images, and the subsets of the splits.
        root: the folder that the paths start from.
        with_masks: read the polygons of the training split.

    Returns:
        The splits, and the classes in the order of the labels of the file, None where it lists none.

    Raises:
        DataError: the file is not in this format, or is of a video, or two entries of different names are of one file.
    """
    sets = {"train": settings.train_set, "search": settings.search_set, "test": settings.test_set}
    given = {name: subsets for name, subsets in sets.items() if subsets is not None or name == "train"}
    path, folder = root / settings.annotations, root / settings.images
    missing = [] if is_file(path) else [settings.annotations]
    missing += [] if folder.is_dir() else [f"{settings.images}/"]
    if missing:
        return RawData(splits={"train": RawSplit(missing=missing)}, classes=None, form="xyxy")
    content = _load(path)
    files = set(walk_images(folder))
    entries = EntryNames(str(path))
    known = sorted({image.get("subset", "") for image in content.iter("image")})
    splits = {}
    for name, subsets in given.items():
        wanted = None if subsets is None else [part.strip() for part in subsets.split("+")]
        absent = [each for each in wanted or () if each not in known]
        if absent:
            raise DataError(
                f"{path}: has no subset {absent[0]}; {suggest(absent[0], [each for each in known if each])}"
            )
        split = splits[name] = RawSplit()
        for image in content.iter("image"):
            if wanted is None or image.get("subset", "") in wanted:
                _read_image(image, root, settings, files, entries, split, with_masks=with_masks and name == "train")
    return RawData(splits=splits, classes=_labels(content), form="xyxy")


def _load(path: Path) -> ElementTree.Element:
    try:
        content = parse_xml(path)
    except (ElementTree.ParseError, ValueError, OSError, LookupError) as error:
        raise DataError(f"{path}: cannot be read as XML ({' '.join(str(error).split())})") from None
    if content.tag != "annotations":
        raise DataError(f"{path}: is not in CVAT's format: the root is {content.tag}, not annotations")
    if content.find("track") is not None:
        raise DataError(f'{path}: is of a video; export the task as "CVAT for images"')
    return content


def _labels(content: ElementTree.Element) -> tuple[str, ...] | None:
    """Return the labels of the project or of all tasks, in order; None where the file has no list of them."""
    names = [(label.findtext("name") or "").strip() for label in content.iterfind("meta//labels/label")]
    return tuple(dict.fromkeys(name for name in names if name)) or None


def _read_image(
    image: ElementTree.Element,
    root: Path,
    settings: CvatData,
    files: set[str],
    entries: EntryNames,
    split: RawSplit,
    *,
    with_masks: bool,
) -> None:
    name, subset = image.get("name", ""), image.get("subset", "")
    # An export of a project has a folder for each subset.
    found = next((each for each in (name, f"{subset}/{name}", posixpath.basename(name)) if each in files), None)
    if found is None:
        split.missing.append(posixpath.normpath(f"{settings.images}/{name}"))
        return
    file = posixpath.normpath(f"{settings.images}/{found}")
    entries.add(posixpath.normpath(name), file)
    row = len(split.images)
    width, height = _side(image.get("width")), _side(image.get("height"))
    split.images.append(RawImage(image_id=row, file=file, path=root / file, width=width, height=height))
    location = f"{settings.annotations}: image {name}"
    for number, item in enumerate(image, start=1):
        if item.tag in _WITHOUT_AREA:
            split.bad_boxes += item.tag != "tag"
            split.faults += [f"{location}, object {number} is a {item.tag}, not a box"] * (item.tag != "tag")
            continue
        box, outline = _outline(item)
        split.boxes.append(
            RawBox(
                row=row,
                location=f"{location}, object {number}",
                class_name=(item.get("label") or "").strip(),
                box=box,
                given=box,
                segmentation=outline if with_masks else None,
            )
        )


def _outline(item: ElementTree.Element) -> tuple[Coordinates, Segmentation | None]:
    """Return the bounding box of an object, and its polygon where it has one."""
    if item.tag == "polygon":
        points = [_point(text) for text in item.get("points", "").split(";")]
        return bounding_box(points), polygon(points)
    if item.tag == "mask":
        left, top, width, height = (read_number(item.get(key)) for key in ("left", "top", "width", "height"))
        return (left, top, left + width, top + height), None
    if item.tag != "box":
        return NO_BOX, None
    x1, y1, x2, y2 = (read_number(item.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
    degrees = read_number(item.get("rotation", "0"))
    if degrees == 0:
        return (x1, y1, x2, y2), None
    corners = rotated_corners((x1, y1, x2, y2), degrees, center=((x1 + x2) / 2, (y1 + y2) / 2))
    return bounding_box(corners), polygon(corners)


def _point(text: str) -> Point:
    x, _, y = text.partition(",")
    return read_number(x), read_number(y)


def _side(value: str | None) -> int:
    """Return a size in pixels; 0 where none is stated."""
    number = read_number(value)
    return int(number) if number > 0 and number < 1e9 else 0
