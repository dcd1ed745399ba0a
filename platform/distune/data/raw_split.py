"""The content of annotation files about a split, unchecked. The readers of ``distune.data.formats`` fill it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from distune.data.masks import Segmentation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """An image in an annotation file.

    Attributes:
        image_id: COCO's id; the position in its split for other formats.
        file: its name in messages and hashes, relative to the root of the data.
        path: the file.
        width, height: in pixels.
    """

    image_id: int
    file: str
    path: Path
    width: int
    height: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawBox:
    """A box in an annotation file, unchecked.

    Attributes:
        row: position of its image among the images of the split.
        location: as named in messages, such as ``Annotations/cells_1.xml: box 3``.
        class_name: empty where it is unknown.
        box: xyxy pixels.
        area: of the object in square pixels; None where it is unknown.
        crowd: COCO's ``iscrowd``.
        difficult: VOC's ``difficult``.
        segmentation: of the object; None where it is unknown or not needed.
    """

    row: int
    location: str
    class_name: str
    box: tuple[float, float, float, float]
    area: float | None = None
    crowd: bool = False
    difficult: bool = False
    segmentation: Segmentation | None = None


@dataclasses.dataclass
class RawSplit:
    """The images and boxes of a split.

    Attributes:
        images, boxes: those that could be read.
        missing: files and folders that do not exist.
        bad_images: number of images that were skipped.
        bad_boxes: number of boxes that were skipped and are not in ``boxes``.
        faults: a line for each of them, and for other faults.
    """

    images: list[RawImage] = dataclasses.field(default_factory=list)
    boxes: list[RawBox] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    bad_images: int = 0
    bad_boxes: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)

    def count_classes(self) -> Counter[str]:
        """Return the number of boxes of each class."""
        return Counter(box.class_name for box in self.boxes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawData:
    """The splits of a data set.

    Attributes:
        splits: ``train``, and ``search`` and ``test`` where the settings name them.
        classes: in the order of their labels; None where the format has no list of classes.
    """

    splits: dict[str, RawSplit]
    classes: tuple[str, ...] | None
