"""A data set of image files: what was read from annotation files, and the checked, flat table made of it."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distune.data import boxes
from distune.data.check import Findings
from distune.data.dataset import Annotations, ImageError
from distune.data.images import read_image
from distune.data.masks import OutlineRecord, draw_masks

_NO_TAGS: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawImage:
    """An image as an annotation file lists it. ``file`` is the name for people and hashes, ``path`` is where it is."""

    image_id: int
    file: str
    path: Path
    width: int
    height: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawBox:
    """A box as an annotation file states it, unchecked.

    Attributes:
        row: position of its image among the images of the split.
        place: how messages find it, such as ``Annotations/cells_1.xml: box 3``.
        class_name: empty where none is known.
        box: xyxy pixels.
        area: of the object's outline, None where unknown.
        outline: of the object, None where unknown or not asked for.
    """

    row: int
    place: str
    class_name: str
    box: tuple[float, float, float, float]
    area: float | None = None
    crowd: bool = False
    difficult: bool = False
    outline: OutlineRecord | None = None


@dataclasses.dataclass
class RawSplit:
    """All that the annotation files say about a split. Filled by ``voc`` and ``coco``.

    Attributes:
        images, boxes: those that could be read.
        missing: files and folders that should be there and are not.
        bad_images: images that were left out.
        bad_boxes: boxes that were left out before they could become a ``RawBox``.
        faults: a line for each of them, and for other oddities.
    """

    images: list[RawImage] = dataclasses.field(default_factory=list)
    boxes: list[RawBox] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    bad_images: int = 0
    bad_boxes: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)

    def count_classes(self) -> Counter[str]:
        """Boxes of each class that the annotations name."""
        return Counter(box.class_name for box in self.boxes)


class FileDataset:
    """Images in files, annotations in flat arrays: cheap to keep, to send to worker processes and to hash."""

    def __init__(
        self,
        name: str,
        raw: RawSplit,
        classes: tuple[str, ...],
        *,
        category_ids: tuple[int, ...] | None = None,
        with_masks: bool = False,
    ) -> None:
        """Check and clip all boxes. Bad ones are skipped and named in ``faults``.

        Args:
            name: of the split.
            raw: what was read.
            classes: class names; boxes of other classes are bad.
            category_ids: COCO's id of each class, to write detections in COCO's format; None is 1 to C.
            with_masks: whether masks can be drawn; boxes without an outline are bad then, crowd boxes excepted.
        """
        labels = {class_name: label for label, class_name in enumerate(classes, start=1)}
        row_N = np.array([box.row for box in raw.boxes], dtype=np.int64)
        label_N = np.array([labels.get(box.class_name, 0) for box in raw.boxes], dtype=np.int64)
        stated_N4 = np.array([box.box for box in raw.boxes], dtype=np.float64).reshape(-1, 4)
        sizes_I2 = np.array([(image.width, image.height) for image in raw.images], dtype=np.int64).reshape(-1, 2)
        boxes_N4, problem_N = boxes.sort_out(stated_N4, label_N, sizes_I2[row_N])
        if with_masks:
            bare_N = np.array([box.outline is None and not (box.crowd or box.difficult) for box in raw.boxes], np.bool_)
            problem_N[bare_N & (problem_N == 0)] = boxes.NO_OUTLINE
        bad = [_fault(raw.boxes[position], int(problem_N[position])) for position in np.flatnonzero(problem_N)]
        # Boxes of an image lie together, in the order of its annotations.
        kept_K = np.flatnonzero(problem_N == 0)
        kept_K = kept_K[np.argsort(row_N[kept_K], kind="stable")]
        kept = [raw.boxes[position] for position in kept_K]
        self.name = name
        self.classes = classes
        self.category_ids = tuple(range(1, len(classes) + 1)) if category_ids is None else category_ids
        self.findings = Findings(
            num_images=len(raw.images) + raw.bad_images,
            num_boxes=len(raw.boxes) + raw.bad_boxes,
            bad_images=raw.bad_images,
            bad_boxes=raw.bad_boxes + len(bad),
            faults=(*raw.faults, *bad),
        )
        self._images = raw.images
        self._starts = np.searchsorted(row_N[kept_K], np.arange(len(raw.images) + 1))
        self._boxes_K4 = boxes_N4[kept_K]
        self._labels_K = label_N[kept_K]
        self._areas_K = _areas(kept, self._boxes_K4)
        self._crowd_K = np.array([box.crowd for box in kept], dtype=np.bool_)
        self._difficult_K = np.array([box.difficult for box in kept], dtype=np.bool_)
        self._outlines_K = [box.outline for box in kept] if with_masks else None

    @property
    def faults(self) -> tuple[str, ...]:
        """A line for each bad box or file."""
        return self.findings.faults

    def __len__(self) -> int:
        return len(self._images)

    def annotations(self, index: int) -> Annotations:
        """The boxes of an image."""
        image = self._images[index]
        part = slice(int(self._starts[index]), int(self._starts[index + 1]))
        return Annotations(
            image_id=image.image_id,
            file=image.file,
            width=image.width,
            height=image.height,
            boxes_N4=self._boxes_K4[part],
            labels_N=self._labels_K[part],
            areas_N=self._areas_K[part],
            crowd_N=self._crowd_K[part],
            difficult_N=self._difficult_K[part],
            tags_N=(_NO_TAGS,) * (part.stop - part.start),
            draw_masks=self._drawing(image, part),
        )

    def _drawing(self, image: RawImage, part: slice) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None:
        if self._outlines_K is None:
            return None
        return functools.partial(_draw_some, self._outlines_K[part], width=image.width, height=image.height)

    def image(self, index: int) -> Tensor:
        """The pixels of an image, uint8 (3, H, W).

        Raises:
            ImageError: it cannot be decoded, or has another size than its annotations say.
        """
        image = self._images[index]
        pixels = read_image(image.path, file=image.file)
        height, width = pixels.shape[-2:]
        if (width, height) != (image.width, image.height):
            raise ImageError(
                image.file, f"is {width} x {height} pixels, but its annotations are for {image.width} x {image.height}"
            )
        return pixels


def _fault(box: RawBox, problem: int) -> str:
    return f"{box.place} ({box.class_name or 'no known class'}) {boxes.PROBLEMS[problem]}"


def _draw_some(
    outlines: list[OutlineRecord | None], indices: NDArray[np.int64], *, width: int, height: int
) -> NDArray[np.uint8]:
    known = [outline for index in indices if (outline := outlines[index]) is not None]
    assert len(known) == len(indices), "only crowd boxes may be without an outline, and nothing is trained on them"
    return draw_masks(known, width=width, height=height)


def _areas(kept: list[RawBox], boxes_K4: NDArray[np.float32]) -> NDArray[np.float32]:
    stated_K = np.array([np.nan if box.area is None else box.area for box in kept], dtype=np.float32)
    return np.where(stated_K > 0, stated_K, boxes.areas(boxes_K4)).astype(np.float32)
