"""Reads folders in the layout of Pascal VOC: ``Annotations``, ``ImageSets/Main``, ``JPEGImages``.

VOC counts pixels from 1 and its corners are inclusive: a box from 1 to 1 is one pixel wide. ``Annotations.boxes_N4``
are coordinates of pixel edges, so boxes become (x1 - 1, y1 - 1, x2, y2), as in detectron2. A box with x1 = x2 or
y1 = y2 is taken for a slip of the annotator and has no area.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from distune.config.data import VocData
from distune.config.problems import suggest
from distune.data.dataset import ImageError
from distune.data.images import read_size
from distune.data.raw_split import RawBox, RawData, RawImage, RawSplit

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


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
    """
    sets = {"train": settings.train_set, "search": settings.search_set, "test": settings.test_set}
    return RawData(
        splits={name: read_split(root, lists) for name, lists in sets.items() if lists is not None},
        classes=None if settings.classes is None else tuple(settings.classes),
    )


def read_split(root: Path, image_sets: str) -> RawSplit:
    """Read the images of one or several lists.

    Args:
        root: the folder.
        image_sets: name of a list in ``ImageSets/Main``, or several joined by plus signs.

    Returns:
        The split, each image once. Missing files are in ``missing``; nothing is raised.
    """
    split = RawSplit()
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        if not (root / folder).is_dir():
            split.missing.append(f"{folder}/")
    if split.missing:
        return split
    image_files = _image_files(root / "JPEGImages")
    for stem in _stems(root, image_sets, split):
        _read_image(root, stem, image_files.get(stem, []), split)
    return split


def _stems(root: Path, image_sets: str, split: RawSplit) -> list[str]:
    """Return the names in the lists, each once, in order. Lines of VOC's lists per class have more than a name."""
    folder = root / "ImageSets" / "Main"
    stems: dict[str, None] = {}
    for name in (part.strip() for part in image_sets.split("+")):
        path = folder / f"{name}.txt"
        if not path.is_file():
            known = [file.stem for file in folder.glob("*.txt")]
            split.missing.append(f"ImageSets/Main/{name}.txt; {suggest(name, known) or 'there are no lists'}")
            continue
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        stems.update((line.split()[0], None) for line in lines if line.strip())
    return list(stems)


def _image_files(folder: Path) -> dict[str, list[str]]:
    """Return the file names of all images in a folder by their name without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a Path per image is slow in large folders
            if suffix.lower() in IMAGE_SUFFIXES:
                files[stem].append(entry.name)
    return files


def _read_image(root: Path, stem: str, candidates: list[str], split: RawSplit) -> None:
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
    file = f"JPEGImages/{stated_name if stated_name in candidates else min(candidates)}"
    try:
        width, height = read_size(root / file, file=file)
    except ImageError as error:
        split.bad_images += 1
        split.faults.append(str(error))
        return
    stated = (_number(tree.findtext("size/width")), _number(tree.findtext("size/height")))
    # Several tools write a size of 0. Any other wrong size makes the boxes doubtful, so users get a message.
    if min(stated) > 0 and stated != (width, height):
        split.faults.append(
            f"{source}: states {stated[0]:g} x {stated[1]:g} pixels, but {file} has {width} x {height}, which is used"
        )
    row = len(split.images)
    split.images.append(RawImage(image_id=row, file=file, path=root / file, width=width, height=height))
    for number, item in enumerate(tree.iter("object"), start=1):
        split.boxes.append(_box(item, row=row, location=f"{source}: box {number}"))


def _parse(path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype())  # noqa: S314 - no document types, so no entities
    return ElementTree.parse(path, parser=parser).getroot()  # noqa: S314 - as above


def _box(item: ElementTree.Element, *, row: int, location: str) -> RawBox:
    x1, y1, x2, y2 = (_number(item.findtext(f"bndbox/{corner}")) for corner in _CORNERS)
    is_point_or_line = x2 <= x1 or y2 <= y1
    return RawBox(
        row=row,
        location=location,
        class_name=(item.findtext("name") or "").strip(),
        box=(x1, y1, x1, y1) if is_point_or_line else (x1 - 1, y1 - 1, x2, y2),
        difficult=_number(item.findtext("difficult")) == 1,
    )


def _number(text: str | None) -> float:
    """Parse a number; NaN where there is none."""
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan
