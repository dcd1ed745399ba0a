"""Stops when too many images or boxes are bad, and decodes images to find corrupt ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from distune.data.dataset import DetectionDataset, ImageError
from distune.errors import DataError

if TYPE_CHECKING:
    from distune.data.splits import Splits

TOLERATED_SHARE = 0.01
"""Largest accepted fraction of bad images or boxes."""

SHOWN = 10
"""Number of examples in messages."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Numbers of images and boxes in the annotations of a split, and the bad ones.

    Attributes:
        num_images, num_boxes: with bad ones.
        bad_images, bad_boxes: those that are skipped.
        faults: a line for each fault, also where nothing is skipped.
    """

    num_images: int
    num_boxes: int
    bad_images: int
    bad_boxes: int
    faults: tuple[str, ...]


def is_too_many(num_bad: int, num_all: int) -> bool:
    """Return whether more than 1% and more than one are bad: a single bad image never stops a small data set."""
    return num_bad > 1 and num_bad > TOLERATED_SHARE * num_all


def stop_if_damaged(name: str, findings: Findings) -> None:
    """Raise ``DataError``, with examples, when more than 1% of the images or boxes of a split are bad."""
    for kind, bad, total in (
        ("images", findings.bad_images, findings.num_images),
        ("boxes", findings.bad_boxes, findings.num_boxes),
    ):
        if is_too_many(bad, total):
            raise DataError(
                f"{name}: {bad} of {total} {kind} are bad ({bad / total:.1%}); at most {TOLERATED_SHARE:.0%} may be\n"
                f"{listing(findings.faults)}\nFix them, or remove their images from the split."
            )


def stop_if_corrupt(name: str, corrupt: Mapping[str, str], num_images: int) -> None:
    """Stop when more than 1% of the images of a split cannot be decoded.

    Args:
        name: of the split.
        corrupt: name of each image that cannot be decoded, with the reason.
        num_images: of the split.

    Raises:
        DataError: with examples.
    """
    if is_too_many(len(corrupt), num_images):
        lines = [f"{file}: {problem}" for file, problem in corrupt.items()]
        raise DataError(
            f"{name}: {len(corrupt)} of {num_images} images are corrupt; at most {TOLERATED_SHARE:.0%} may be\n"
            f"{listing(lines)}\nReplace these files, or remove them from the split."
        )


def listing(lines: Sequence[str]) -> str:
    """Return the first ten lines, indented, and the number of further ones."""
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*(f"  {line}" for line in lines[:SHOWN]), *more])


def check_splits(splits: Splits, *, limit: int = 2000, workers: int = 4) -> list[str]:
    """Decode images of all splits, before training.

    Args:
        splits: the data.
        limit: largest number of images per split.
        workers: threads.

    Returns:
        A line for each corrupt image.

    Raises:
        DataError: more than 1% of the decoded images of a split, and more than one, are corrupt.
    """
    lines: list[str] = []
    for dataset in (splits.train, splits.search, splits.test):
        if dataset is not None:
            corrupt = check_images(dataset, limit=limit, workers=workers)
            stop_if_corrupt(f"split {dataset.name}", corrupt, min(limit, len(dataset)))
            lines += [f"{file}: {problem}" for file, problem in corrupt.items()]
    return lines


def check_images(dataset: DetectionDataset, *, limit: int = 2000, workers: int = 4) -> dict[str, str]:
    """Decode images, evenly spaced over a data set, and find those that are corrupt.

    Args:
        dataset: with the images.
        limit: largest number of images.
        workers: threads.

    Returns:
        Name of each corrupt image, with the reason, in the order of the data set.
    """
    count = min(limit, len(dataset))
    indices = [position * len(dataset) // count for position in range(count)]

    def problem(index: int) -> ImageError | None:
        try:
            dataset.image(index)
        except ImageError as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return {error.file: error.problem for error in pool.map(problem, indices) if error is not None}
