"""The content of annotation files about a split, unchecked. The readers of ``distune.data.formats`` fill it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from distune.data.masks import Segmentation

Coordinates = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """An image in an annotation file.

    Attributes:
        image_id: COCO's id; the position in its split for other formats.
        file: its name in messages and hashes, relative to the root of the data.
        path: the file.
        width, height: in pixels, as the annotations state them; 0 where they state none. ``resolve_images`` replaces
            them by those of the image as it is shown.
        is_turned: whether the image is turned as its EXIF orientation says; set by ``resolve_images``.
        digest: of the content of the file; set by ``resolve_images``.
    """

    image_id: int
    file: str
    path: Path
    width: int = 0
    height: int = 0
    is_turned: bool = False
    digest: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawBox:
    """A box in an annotation file, unchecked.

    Attributes:
        row: position of its image among the images of the split.
        location: as named in messages, such as ``Annotations/cells_1.xml: box 3``.
        class_name: empty where it is unknown.
        box: xyxy, in pixels, or in fractions of the image where the form of the data is relative, until
            ``relative_boxes`` brings them to pixels.
        given: the four numbers in the file, in its own form.
        area: of the object in square pixels; None where it is unknown.
        crowd: COCO's ``iscrowd``.
        difficult: VOC's ``difficult``.
        segmentation: of the object; None where it is unknown or not needed.
    """

    row: int
    location: str
    class_name: str
    box: Coordinates
    given: Coordinates
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
        faults: a line for each of them.
        notes: lines about what was read otherwise than it is written, without loss.
    """

    images: list[RawImage] = dataclasses.field(default_factory=list)
    boxes: list[RawBox] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    bad_images: int = 0
    bad_boxes: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def count_classes(self) -> Counter[str]:
        """Return the number of boxes of each class."""
        return Counter(box.class_name for box in self.boxes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawData:
    """The splits of a data set.

    Attributes:
        splits: ``train``, and ``search`` and ``test`` where the settings name them.
        classes: in the order of their labels; None where the format has no list of classes.
        form: of the boxes in the files, a name in ``distune.data.box_forms.FORMS``.
        notes: about the data set as a whole.
    """

    splits: dict[str, RawSplit]
    classes: tuple[str, ...] | None
    form: str
    notes: tuple[str, ...] = ()
