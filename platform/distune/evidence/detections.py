"""Detections of one detector on one split, with the ground truth, as plain arrays in a file.

Shape legend: ``I`` images, ``D`` detections and ``N`` ground-truth boxes of the whole split.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distune.bounded_read import read_bounded

_ARRAYS = ("images_D", "boxes_D4", "labels_D", "scores_D")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """The detections of one detector.

    Attributes:
        images_D: int64, index of the image in the split, ascending.
        boxes_D4: float32, xyxy pixels of the original image.
        labels_D: int64, 1 is the first class.
        scores_D: float32, from 0 to 1.
    """

    images_D: NDArray[np.int64]
    boxes_D4: NDArray[np.float32]
    labels_D: NDArray[np.int64]
    scores_D: NDArray[np.float32]

    def of_image(self, index: int) -> Detections:
        """Return the detections of one image."""
        chosen = slice(*np.searchsorted(self.images_D, [index, index + 1]))
        return Detections(**{name: getattr(self, name)[chosen] for name in _ARRAYS})

    def with_score(self, minimum: float) -> Detections:
        """Return the detections of at least a score."""
        kept_D = self.scores_D >= minimum
        return Detections(**{name: getattr(self, name)[kept_D] for name in _ARRAYS})

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file; ``read_detections`` reads it back."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: getattr(self, name) for name in _ARRAYS})
        return buffer.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
    """The boxes of one split.

    Attributes:
        classes: their names; the label of ``classes[i]`` is ``i + 1``.
        num_images: I.
        images_N: int64, index of the image in the split, ascending.
        boxes_N4: float64, xyxy pixels of the original image.
        labels_N: int64.
        areas_N: float64, square pixels: of the object where it is stated, else of the box.
        ignored_N: bool, crowd and difficult boxes: detections of them are not scored.
    """

    classes: tuple[str, ...]
    num_images: int
    images_N: NDArray[np.int64]
    boxes_N4: NDArray[np.float64]
    labels_N: NDArray[np.int64]
    areas_N: NDArray[np.float64]
    ignored_N: NDArray[np.bool_]

    @property
    def num_images_with_boxes(self) -> int:
        """Number of images with a box that is not ignored."""
        return len(np.unique(self.images_N[~self.ignored_N]))

    def positions_in(self, index: int) -> slice:
        """Return the positions of the boxes of one image."""
        return slice(*np.searchsorted(self.images_N, [index, index + 1]))


def read_detections(path: Path) -> Detections | None:
    """Read detections from a file, without pickle.

    Args:
        path: an ``.npz`` file from ``Detections.to_bytes``.

    Returns:
        The detections; None if the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(read_bounded(path)), allow_pickle=False) as arrays:
            return Detections(**{name: arrays[name] for name in _ARRAYS})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
