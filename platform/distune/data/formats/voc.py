"""Reads folders in the layout of Pascal VOC: ``Annotations``, ``ImageSets/Main``, ``JPEGImages``.

VOC counts pixels from 1 and its corners are inclusive: a box from 1 to 1 is one pixel wide. ``Annotations.boxes_N4``
are coordinates of pixel edges, so boxes become (x1 - 1, y1 - 1, x2, y2), as in detectron2. A box with x1 = x2 or
y1 = y2 is taken for a slip of the annotator and has no area.

A line of a list is the name of an image, blanks included. Lines of VOC's lists per class have a name and -1, 0 or 1.
"""

from __future__ import annotations

import codecs
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from distune.config.data import VocData
from distune.config.problems import suggest
from distune.data.check import listing
from distune.data.formats.flags import read_flag
from distune.data.raw_split import RawBox, RawData, RawImage, RawSplit
from distune.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAME_AND_FLAG = re.compile(r"(.*\S)\s+(-1|0|1)")
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class _NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"has a DOCTYPE ({name}), which is refused because it can define entities")


def read(settings: VocData, root: Path, with_masks: bool) -> RawData:
    """Read all splits.

    Args:
        settings: the names of the lists of images.
        root: the folder.
        with_masks: without effect, since the format has no masks.

    Returns:
        The splits, and the classes of the settings. Missing files are in ``missing`` of a split.

    Raises:
        DataError: several images could belong to one XML file.
    """
    sets = {"train": settings.train_set, "search": settings.search_set, "test": settings.test_set}
    return RawData(
        splits={name: read_split(root, lists) for name, lists in sets.items() if lists is not None},
        classes=None if settings.classes is None else tuple(settings.classes),
        form="xyxy",
    )


def read_split(root: Path, image_sets: str) -> RawSplit:
    """Read the images of one or several lists.

    Args:
        root: the folder.
        image_sets: name of a list in ``ImageSets/Main``, or several joined by plus signs.

    Returns:
        The split, each image once. Missing files are in ``missing``.

    Raises:
        DataError: several images could belong to one XML file.
    """
    split = RawSplit()
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        if not (root / folder).is_dir():
            split.missing.append(f"{folder}/")
    if split.missing:
        return split
    image_files = _image_files(root / "JPEGImages")
    ambiguous: list[str] = []
    for stem in _stems(root, image_sets, image_files, split):
        _read_image(root, stem, image_files.get(stem, []), split, ambiguous)
    if ambiguous:
        raise DataError(
            f"{root}: {len(ambiguous)} XML files name none of several images that they could be for\n"
            f"{listing(ambiguous)}\nGive the full name of the image as <filename>, or remove the other images."
        )
    return split


def _stems(root: Path, image_sets: str, image_files: Mapping[str, list[str]], split: RawSplit) -> list[str]:
    """Return the names in the lists, each once, in order."""
    folder = root / "ImageSets" / "Main"
    stems: dict[str, None] = {}
    for name in (part.strip() for part in image_sets.split("+")):
        path = folder / f"{name}.txt"
        if not path.is_file():
            known = [file.stem for file in folder.glob("*.txt")]
            split.missing.append(f"ImageSets/Main/{name}.txt; {suggest(name, known) or 'there are no lists'}")
            continue
        found = [_stem(line.strip(), image_files) for line in _text(path).splitlines() if line.strip()]
        repeated = len(found) - len(set(found))
        if repeated:
            split.notes.append(f"ImageSets/Main/{name}.txt: {repeated} lines repeat a name and are left out")
        stems.update(dict.fromkeys(found))
    return list(stems)


def _stem(line: str, image_files: Mapping[str, list[str]]) -> str:
    name_and_flag = _NAME_AND_FLAG.fullmatch(line)
    return line if name_and_flag is None or line in image_files else name_and_flag[1]


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark, as Windows writes it."""
    content = path.read_bytes()
    marked = (encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    return content.decode(next(marked, "utf-8"), errors="replace")


def _image_files(folder: Path) -> dict[str, list[str]]:
    """Return the file names of all images in a folder by their name without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path per image is slow in large folders
            if suffix.lower() in IMAGE_SUFFIXES:
                files[stem].append(entry.name)
    return files


def _read_image(root: Path, stem: str, candidates: list[str], split: RawSplit, ambiguous: list[str]) -> None:
    source = f"Annotations/{stem}.xml"
    missing = [] if (root / source).is_file() else [source]
    missing += [] if candidates else [f"JPEGImages/{stem}.jpg"]
    split.missing += missing
    if missing:
        return
    try:
        tree = _parse(root / source)
    except (ElementTree.ParseError, ValueError, OSError, LookupError) as error:
        split.bad_images += 1
        split.faults.append(f"{source}: cannot be read as XML ({' '.join(str(error).split())})")
        return
    stated_name = (tree.findtext("filename") or "").strip()
    if len(candidates) > 1 and stated_name not in candidates:
        ambiguous.append(f"{source}: {', '.join(sorted(candidates))}")
        return
    file = f"JPEGImages/{stated_name if stated_name in candidates else candidates[0]}"
    width, height = (_whole(tree.findtext(f"size/{side}")) for side in ("width", "height"))
    row = len(split.images)
    # Several tools write a size of 0, which states nothing.
    split.images.append(RawImage(image_id=row, file=file, path=root / file, width=width, height=height))
    number = 0
    for item in tree.iter("object"):
        for bndbox in item.findall("bndbox") or [ElementTree.Element("bndbox")]:
            number += 1
            _add_box(item, bndbox, row=row, location=f"{source}: box {number}", split=split)


def _parse(path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype())  # noqa: S314 - no document types, so no entities
    return ElementTree.parse(path, parser=parser).getroot()  # noqa: S314 - as above


def _add_box(
    item: ElementTree.Element, bndbox: ElementTree.Element, *, row: int, location: str, split: RawSplit
) -> None:
    difficult = read_flag(item.findtext("difficult"))
    if difficult is None:
        split.bad_boxes += 1
        split.faults.append(f"{location}: difficult must be 0 or 1, but is {item.findtext('difficult')!r}")
        return
    x1, y1, x2, y2 = (_number(bndbox.findtext(corner)) for corner in _CORNERS)
    is_point_or_line = x2 <= x1 or y2 <= y1
    split.boxes.append(
        RawBox(
            row=row,
            location=location,
            class_name=(item.findtext("name") or "").strip(),
            box=(x1, y1, x1, y1) if is_point_or_line else (x1 - 1, y1 - 1, x2, y2),
            given=(x1, y1, x2, y2),
            difficult=difficult,
        )
    )


def _number(text: str | None) -> float:
    """Parse a number; NaN where there is none."""
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan


def _whole(text: str | None) -> int:
    """Parse a size in pixels; 0 where there is none."""
    number = _number(text)
    return int(number) if math.isfinite(number) and number > 0 else 0
