"""Matches of detections with ground-truth boxes, from which a detector is scored on any resample of the images.

Shape legend: ``I`` images, ``N`` detections of a class over all images, ``T`` overlap thresholds.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distune.bounded_read import read_bounded
from distune.errors import StudyError

VOC_PART = "VOC"
"""The part of a table for the VOC metrics; all others are for COCO metrics."""

_METRIC_PARTS: dict[str, tuple[str, int | None]] = {
    "AP": ("all", None),
    "AP50": ("all", 0),
    "AP75": ("all", 5),
    "AP_small": ("small", None),
    "AP_medium": ("medium", None),
    "AP_large": ("large", None),
    "VOC_AP50": (VOC_PART, 0),
    "VOC07_AP50": (VOC_PART, 0),
}
"""Metric to its part of a table, and the index of the threshold; None is the mean over all thresholds."""

METRICS = tuple(_METRIC_PARTS)


ImageMask = NDArray[np.bool_]
"""Images that count, shape (I,)."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClassMatches:
    """The detections of one class, the highest score first, and its number of ground-truth boxes.

    Attributes:
        images_N: int32, index of each detection's image in the table.
        hits_TN: bool, whether the detection is a true positive at that overlap.
        ignored_TN: bool, whether it counts as neither true nor false positive. Never together with a hit.
        truths_I: int32, ground-truth boxes in each image.
    """

    images_N: NDArray[np.int32]
    hits_TN: NDArray[np.bool_]
    ignored_TN: NDArray[np.bool_]
    truths_I: NDArray[np.int32]

    def at(self, threshold: int) -> ClassMatches:
        """Return the matches at one threshold."""
        chosen = slice(threshold, threshold + 1)
        return dataclasses.replace(self, hits_TN=self.hits_TN[chosen], ignored_TN=self.ignored_TN[chosen])

    def of_images(self, is_kept_I: ImageMask) -> ClassMatches:
        """Return the matches in some of the images."""
        is_kept_N = is_kept_I[self.images_N]
        rows_I = np.cumsum(is_kept_I, dtype=np.int32) - 1
        return ClassMatches(
            images_N=rows_I[self.images_N[is_kept_N]],
            hits_TN=self.hits_TN[:, is_kept_N],
            ignored_TN=self.ignored_TN[:, is_kept_N],
            truths_I=self.truths_I[is_kept_I],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class MatchTable:
    """The matches of one detector on one split.

    Attributes:
        image_ids_I: int64, the images, in ascending order.
        parts: name of a part, such as ``all`` or ``small``, to one entry per class.
    """

    image_ids_I: NDArray[np.int64]
    parts: Mapping[str, tuple[ClassMatches, ...]]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.image_ids_I)

    def of_metric(self, metric: str) -> tuple[ClassMatches, ...]:
        """Return the entries of a metric. Raises ``KeyError`` for an unknown metric or part."""
        part, threshold = _METRIC_PARTS[metric]
        entries = self.parts[part]
        return entries if threshold is None else tuple(entry.at(threshold) for entry in entries)

    def num_images_with_boxes(self, metric: str) -> int:
        """Return how many images have a ground-truth box that counts for a metric."""
        entries = self.of_metric(metric)
        return int(np.any([entry.truths_I > 0 for entry in entries], axis=0).sum()) if entries else 0

    def of_images(self, is_kept_I: ImageMask) -> MatchTable:
        """Return the table of some of the images, shape (I,), True for those that stay."""
        parts = {name: tuple(entry.of_images(is_kept_I) for entry in entries) for name, entries in self.parts.items()}
        return MatchTable(self.image_ids_I[is_kept_I], parts)

    def to_bytes(self) -> bytes:
        """Return the content of an ``.npz`` file; ``read_matches`` reads it back."""
        sizes = {name: len(entries) for name, entries in self.parts.items()}
        arrays: dict[str, NDArray[np.generic]] = {"image_ids": self.image_ids_I, "parts": np.array(json.dumps(sizes))}
        for name, entries in self.parts.items():
            for index, entry in enumerate(entries):
                arrays[f"{name}/{index}/images"] = entry.images_N
                arrays[f"{name}/{index}/hits"] = entry.hits_TN
                arrays[f"{name}/{index}/ignored"] = entry.ignored_TN
                arrays[f"{name}/{index}/truths"] = entry.truths_I
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


def half_of_images(num_images: int) -> ImageMask:
    """Return a random half of the images, always the same one: True for those that choose, False for the others."""
    mask_I = np.zeros(num_images, dtype=np.bool_)
    mask_I[np.random.default_rng(0).permutation(num_images)[: num_images // 2]] = True
    return mask_I


def read_matches(path: Path) -> MatchTable:
    """Read a table from a file, without pickle.

    Args:
        path: an ``.npz`` file from ``MatchTable.to_bytes``.

    Returns:
        The table.

    Raises:
        StudyError: the file is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(read_bounded(path)), allow_pickle=False) as arrays:
            sizes: dict[str, int] = json.loads(str(arrays["parts"]))
            parts = {
                name: tuple(
                    ClassMatches(
                        images_N=arrays[f"{name}/{index}/images"],
                        hits_TN=arrays[f"{name}/{index}/hits"],
                        ignored_TN=arrays[f"{name}/{index}/ignored"],
                        truths_I=arrays[f"{name}/{index}/truths"],
                    )
                    for index in range(size)
                )
                for name, size in sizes.items()
            }
            return MatchTable(arrays["image_ids"], parts)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise StudyError(f"{path}: not a table of matches: {error}; remove it and run distune confirm again") from None
