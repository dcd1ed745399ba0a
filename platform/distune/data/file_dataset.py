"""A data set of image files, with its checked annotations in flat arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distune.data import boxes
from distune.data.check import Findings
from distune.data.dataset import Annotations, ImageError
from distune.data.images import ValueRange, read_image
from distune.data.masks import Segmentation, draw_masks
from distune.data.raw_split import RawBox, RawImage, RawSplit

_NO_TAGS: frozenset[str] = frozenset()


class FileDataset:
    """Images in files, with annotations in flat arrays: small, and cheap to pickle and to hash.

    Bad boxes are skipped and listed in ``faults``.

    Args:
        name: of the split.
        raw: the annotations as they were read.
        classes: names of the classes; boxes of other classes are bad.
        value_range: what becomes 0 and 255 in gray images of more than 8 bits; None where there are none.
        with_masks: whether masks can be drawn. Boxes without a segmentation are bad then, except crowd boxes.

    Attributes:
        name: of the split.
        classes: names of the classes.
        findings: numbers of images, boxes and bad ones, and the faults.
    """

    def __init__(
        self,
        name: str,
        raw: RawSplit,
        classes: tuple[str, ...],
        *,
        value_range: ValueRange | None = None,
        with_masks: bool = False,
    ) -> None:
        labels = {class_name: label for label, class_name in enumerate(classes, start=1)}
        row_N = np.array([box.row for box in raw.boxes], dtype=np.int64)
        label_N = np.array([labels.get(box.class_name, 0) for box in raw.boxes], dtype=np.int64)
        stated_N4 = np.array([box.box for box in raw.boxes], dtype=np.float64).reshape(-1, 4)
        sizes_I2 = np.array([(image.width, image.height) for image in raw.images], dtype=np.int64).reshape(-1, 2)
        boxes_N4, problem_N = boxes.check_boxes(stated_N4, label_N, sizes_I2[row_N])
        if with_masks:
            without_N = np.array(
                [box.segmentation is None and not (box.crowd or box.difficult) for box in raw.boxes], np.bool_
            )
            problem_N[without_N & (problem_N == 0)] = boxes.NO_SEGMENTATION
        bad = [_fault(raw.boxes[position], int(problem_N[position])) for position in np.flatnonzero(problem_N)]
        # The boxes of an image are adjacent, in the order of its annotations.
        kept_K = np.flatnonzero(problem_N == 0)
        kept_K = kept_K[np.argsort(row_N[kept_K], kind="stable")]
        kept = [raw.boxes[position] for position in kept_K]
        self.name = name
        self.classes = classes
        self.findings = Findings(
            num_images=len(raw.images) + raw.bad_images,
            num_boxes=len(raw.boxes) + raw.bad_boxes,
            bad_images=raw.bad_images,
            bad_boxes=raw.bad_boxes + len(bad),
            faults=(*raw.faults, *bad),
        )
        self._images = raw.images
        self._value_range = value_range
        self._starts = np.searchsorted(row_N[kept_K], np.arange(len(raw.images) + 1))
        self._boxes_K4 = boxes_N4[kept_K]
        self._labels_K = label_N[kept_K]
        self._given_K4 = stated_N4[kept_K]
        self._areas_K = _areas(kept, self._given_K4)
        self._crowd_K = np.array([box.crowd for box in kept], dtype=np.bool_)
        self._difficult_K = np.array([box.difficult for box in kept], dtype=np.bool_)
        self._segmentations_K = [box.segmentation for box in kept] if with_masks else None

    @property
    def faults(self) -> tuple[str, ...]:
        """A line for each bad box or file."""
        return self.findings.faults

    def __len__(self) -> int:
        return len(self._images)

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image."""
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
            given_N4=self._given_K4[part],
            digest=image.digest,
        )

    def _drawing(self, image: RawImage, part: slice) -> Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None:
        if self._segmentations_K is None:
            return None
        return functools.partial(_draw_some, self._segmentations_K[part], width=image.width, height=image.height)

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image, uint8 (3, H, W).

        Args:
            index: of the image.

        Returns:
            RGB values.

        Raises:
            ImageError: it cannot be decoded, or its size is not that of its annotations.
        """
        image = self._images[index]
        pixels = read_image(image.path, file=image.file, is_turned=image.is_turned, value_range=self._value_range)
        height, width = pixels.shape[-2:]
        if (width, height) != (image.width, image.height):
            raise ImageError(
                image.file, f"has {width} x {height} pixels, but its annotations are for {image.width} x {image.height}"
            )
        return pixels


def _fault(box: RawBox, problem: int) -> str:
    return f"{box.location} ({box.class_name or 'no known class'}) {boxes.PROBLEMS[problem]}"


def _draw_some(
    segmentations: list[Segmentation | None], indices: NDArray[np.int64], *, width: int, height: int
) -> NDArray[np.uint8]:
    known = [each for index in indices if (each := segmentations[index]) is not None]
    assert len(known) == len(indices), "only crowd boxes have no segmentation, and they are not trained on"
    return draw_masks(known, width=width, height=height)


def _areas(kept: list[RawBox], given_K4: NDArray[np.float64]) -> NDArray[np.float32]:
    stated_K = np.array([np.nan if box.area is None else box.area for box in kept], dtype=np.float64)
    sides_K2 = given_K4[:, 2:] - given_K4[:, :2]
    with np.errstate(over="ignore"):  # damaged files have numbers of any size
        areas_K = np.where(np.isfinite(stated_K), stated_K, sides_K2.prod(axis=1))
    return np.minimum(areas_K, np.finfo(np.float32).max).astype(np.float32)
