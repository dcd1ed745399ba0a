"""Reads images with an XML file each, as in Pascal VOC: ``Annotations``, ``ImageSets/Main``, ``JPEGImages``.

VOC counts pixels from 1 and its corners are inclusive: a box from 1 to 1 is one pixel wide. ``Annotations.boxes_N4``
are coordinates of pixel edges, so boxes become (x1 - 1, y1 - 1, x2, y2), as in detectron2. A box with x1 = x2 or
y1 = y2 is taken for a slip of the annotator and has no area.

A line of a list is the name of an image, blanks included. Lines of VOC's lists per class have a name and -1, 0 or 1.
Without lists, as LabelImg and annotation services write it, ``*`` stands for all images that have an XML file.
"""

from __future__ import annotations

import dataclasses
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from distune.config.data import VocData
from distune.config.problems import suggest
from distune.data.check import listing
from distune.data.formats.flags import read_flag
from distune.data.formats.image_files import find_images
from distune.data.formats.text_files import read_text
from distune.data.formats.xml_files import parse_xml
from distune.data.raw_split import RawBox, RawData, RawImage, RawSplit
from distune.data.regular_file import is_file
from distune.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NAME_AND_FLAG = re.compile(r"(.*\S)\s+(-1|0|1)")


def read(settings: VocData, root: Path, with_masks: bool) -> RawData:
    """Read all splits.

    Args:
        settings: the names of the lists of images, and of the folders.
        root: the folder.
        with_masks: without effect, since the format has no masks.

    Returns:
        The splits. Missing files are in ``missing`` of a split.

    Raises:
        DataError: several images could belong to one XML file.
    """
    sets = {"train": settings.train_set, "search": settings.search_set, "test": settings.test_set}
    splits = {
        name: read_split(root, lists, images=settings.images, annotations=settings.annotations)
        for name, lists in sets.items()
        if lists is not None
    }
    return RawData(splits=splits, classes=None, form="xyxy")


def read_split(
    root: Path, image_sets: str, *, images: str = "JPEGImages", annotations: str = "Annotations"
) -> RawSplit:
    """Read the images of one or several lists.

    Args:
        root: the folder.
        image_sets: name of a list in ``ImageSets/Main``, or ``*`` for all XML files, either after a folder and a slash;
            or several joined by plus signs.
        images: name of the folder of the images.
        annotations: name of the folder of the XML files.

    Returns:
        The split, each image once. Missing files are in ``missing``.

    Raises:
        DataError: several images could belong to one XML file.
    """
    split = RawSplit()
    ambiguous: list[str] = []
    seen: set[tuple[str, str]] = set()
    places: dict[str, _Place] = {}
    for part in (part.strip() for part in image_sets.split("+")):
        prefix, _, image_set = part.rpartition("/")
        place = places.setdefault(prefix, _Place.of(root, prefix, images, annotations, split))
        if not place.is_complete:
            continue
        for stem in _all_stems(place, split) if image_set == "*" else _listed_stems(place, image_set, split):
            if (prefix, stem) not in seen:
                seen.add((prefix, stem))
                _read_image(root, place, stem, split, ambiguous)
    if ambiguous:
        raise DataError(
            f"{root}: {len(ambiguous)} XML files name none of several images that they could be for\n"
            f"{listing(ambiguous)}\nGive the full name of the image as <filename>, or remove the other images."
        )
    return split


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """The folders of one set of images, relative to the root, and the file names of its images by their stem."""

    lists: Path
    images: str
    annotations: str
    image_files: dict[str, list[str]]
    stems: tuple[str, ...]
    is_complete: bool

    @classmethod
    def of(cls, root: Path, prefix: str, images: str, annotations: str, split: RawSplit) -> _Place:
        images, annotations = (_folder(root, prefix, each) for each in (images, annotations))
        missing = [f"{folder}/" for folder in (annotations, images) if not (root / folder).is_dir()]
        split.missing += [each for each in missing if each not in split.missing]
        names = [] if missing else sorted(path.name for path in (root / annotations).iterdir())
        return cls(
            lists=root / prefix / "ImageSets" / "Main",
            images=images,
            annotations=annotations,
            image_files={} if missing else find_images(root / images),
            stems=tuple(name[:-4] for name in names if name.lower().endswith(".xml")),
            is_complete=not missing,
        )


def _folder(root: Path, prefix: str, name: str) -> str:
    """Return a folder relative to the root: the prefix is above it, or else below it."""
    above, below = (posixpath.normpath(posixpath.join(*parts)) for parts in ((prefix, name), (name, prefix)))
    return below if not (root / above).is_dir() and (root / below).is_dir() else above


def _all_stems(place: _Place, split: RawSplit) -> Sequence[str]:
    """Return the names of all XML files. Images without one are not annotated."""
    without = sorted(place.image_files.keys() - set(place.stems))
    if without:
        split.notes.append(f"{place.images}: {len(without)} images have no XML file and are left out")
    return place.stems


def _listed_stems(place: _Place, image_set: str, split: RawSplit) -> list[str]:
    """Return the names in a list, in order."""
    path = place.lists / f"{image_set}.txt"
    name = f"ImageSets/Main/{image_set}.txt"
    if not place.lists.is_dir():
        split.missing += [] if "ImageSets/Main/" in split.missing else ["ImageSets/Main/"]
        return []
    if not is_file(path):
        known = [file.stem for file in place.lists.glob("*.txt")]
        split.missing.append(f"{name}; {suggest(image_set, known) or 'there are no lists'}")
        return []
    found = [_stem(line.strip(), place.image_files) for line in read_text(path).splitlines() if line.strip()]
    repeated = len(found) - len(set(found))
    if repeated:
        split.notes.append(f"{name}: {repeated} lines repeat a name and are left out")
    return found


def _stem(line: str, image_files: Mapping[str, list[str]]) -> str:
    name_and_flag = _NAME_AND_FLAG.fullmatch(line)
    return line if name_and_flag is None or line in image_files else name_and_flag[1]


def _read_image(root: Path, place: _Place, stem: str, split: RawSplit, ambiguous: list[str]) -> None:
    candidates = place.image_files.get(stem, [])
    source = posixpath.normpath(f"{place.annotations}/{stem}.xml")
    missing = [] if is_file(root / source) else [source]
    missing += [] if candidates else [posixpath.normpath(f"{place.images}/{stem}.jpg")]
    split.missing += missing
    if missing:
        return
    try:
        tree = parse_xml(root / source)
    except (ElementTree.ParseError, ValueError, OSError, LookupError) as error:
        split.bad_images += 1
        split.faults.append(f"{source}: cannot be read as XML ({' '.join(str(error).split())})")
        return
    stated_name = (tree.findtext("filename") or "").strip()
    if len(candidates) > 1 and stated_name not in candidates:
        ambiguous.append(f"{source}: {', '.join(sorted(candidates))}")
        return
    file = posixpath.normpath(f"{place.images}/{stated_name if stated_name in candidates else candidates[0]}")
    width, height = (_whole(tree.findtext(f"size/{side}")) for side in ("width", "height"))
    row = len(split.images)
    # Several tools write a size of 0, which states nothing.
    split.images.append(RawImage(image_id=row, file=file, path=root / file, width=width, height=height))
    number = 0
    for item in tree.iter("object"):
        for bndbox in item.findall("bndbox") or [ElementTree.Element("bndbox")]:
            number += 1
            _add_box(item, bndbox, row=row, location=f"{source}: box {number}", split=split)


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
