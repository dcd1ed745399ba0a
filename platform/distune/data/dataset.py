"""The interface of data sets: annotations as arrays, images as tensors.

Shape legend: ``N`` boxes of an image, ``H`` ``W`` its height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distune.errors import DataError


class ImageError(DataError):
    """An image cannot be decoded, or does not fit its annotations.

    Args:
        file: name of the image within its data set.
        problem: of the image.
    """

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.file, self.problem))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """The boxes of one image.

    Attributes:
        image_id: COCO's id; the position in the split for other kinds of data.
        file: name of the image, relative to the root of the data, with forward slashes.
        width, height: of the image, in pixels.
        boxes_N4: xyxy pixels, float32, within the image and with an area. The upper left corner of the image is (0, 0)
            and its lower right corner is (width, height).
        labels_N: int64, 1 to C: ``classes[label - 1]`` of the data set. 0 is background and never occurs.
        areas_N: square pixels, float32: of the object where it is stated (COCO), else of the box.
        crowd_N: bool, COCO's ``iscrowd``: the box is around a group.
        difficult_N: bool, VOC's ``difficult``.
        tags_N: further properties of each box, such as ``blurred``.
        draw_masks: draws the masks of the boxes with given indices, uint8 (len(indices), H, W), 1 inside; None where
            the data has no masks, or was read without them.
        given_N4: the boxes as annotated, float64, also where they exceed the image; None where ``boxes_N4`` are these.
            Detections are scored against them, as by pycocotools.
        digest: of the content of the image file, equal for copies; empty for images that are not read from files.
    """

    image_id: int
    file: str
    width: int
    height: int
    boxes_N4: NDArray[np.float32]
    labels_N: NDArray[np.int64]
    areas_N: NDArray[np.float32]
    crowd_N: NDArray[np.bool_]
    difficult_N: NDArray[np.bool_]
    tags_N: tuple[frozenset[str], ...]
    draw_masks: Callable[[NDArray[np.int64]], NDArray[np.uint8]] | None = None
    given_N4: NDArray[np.float64] | None = None
    digest: str = ""

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def scored_N4(self) -> NDArray[np.float64]:
        """The boxes that detections are scored against, xyxy pixels."""
        return self.boxes_N4.astype(np.float64) if self.given_N4 is None else self.given_N4

    @property
    def ignored_N(self) -> NDArray[np.bool_]:
        """Crowd and difficult boxes: not used in training, and detections of them are not scored."""
        return self.crowd_N | self.difficult_N


class DetectionDataset(Protocol):
    """Images with boxes. Indices run from 0 to ``len(dataset) - 1``."""

    @property
    def name(self) -> str:
        """The name in messages, such as ``train``."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names without background; the label of ``classes[i]`` is ``i + 1``."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """A line for each box or file that was skipped, or that had another fault."""
        ...

    def __len__(self) -> int:
        """Return the number of images, with those without boxes."""
        ...

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image. Cheap: nothing is decoded."""
        ...

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image, uint8 (3, H, W) RGB. Raises ``ImageError`` when it cannot be decoded."""
        ...


class Subset:
    """Some images of a data set, in a given order.

    Args:
        dataset: with the images.
        indices: positions in ``dataset``.
        name: of the subset; None is that of ``dataset``.
    """

    def __init__(self, dataset: DetectionDataset, indices: Sequence[int], *, name: str | None = None) -> None:
        self.name = dataset.name if name is None else name
        self.classes = dataset.classes
        self.faults = dataset.faults
        self._dataset = dataset
        self._indices = tuple(int(index) for index in indices)

    def __len__(self) -> int:
        return len(self._indices)

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image."""
        return self._dataset.annotations(self._indices[index])

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image. Raises ``ImageError``."""
        return self._dataset.image(self._indices[index])
