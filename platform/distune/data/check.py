"""How bad data may be before a study stops, and what is said then. Pure functions over counts, and a decode check."""

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
"""More than this share of bad images or boxes stops."""

SHOWN = 10
"""Messages name this many examples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What reading the annotations of a split found.

    Attributes:
        num_images, num_boxes: how many were listed, bad ones included.
        bad_images, bad_boxes: how many of them are skipped.
        faults: a line for each fault; also faults for which nothing is skipped.
    """

    num_images: int
    num_boxes: int
    bad_images: int
    bad_boxes: int
    faults: tuple[str, ...]


def is_too_many(num_bad: int, num_all: int) -> bool:
    """Whether bad ones are more than 1% and more than one: a single bad image never stops a small set."""
    return num_bad > 1 and num_bad > TOLERATED_SHARE * num_all


def stop_if_damaged(name: str, findings: Findings) -> None:
    """Raise ``DataError`` with examples when more than 1% of a split's images or boxes are bad."""
    for kind, bad, total in (
        ("images", findings.bad_images, findings.num_images),
        ("boxes", findings.bad_boxes, findings.num_boxes),
    ):
        if is_too_many(bad, total):
            raise DataError(
                f"{name}: {bad} of {total} {kind} are bad ({bad / total:.1%}); at most {TOLERATED_SHARE:.0%} may be\n"
                f"{listing(findings.faults)}\nRepair them, or take their images out of the split."
            )


def stop_if_corrupt(name: str, corrupt: Mapping[str, str], num_images: int) -> None:
    """Raise ``DataError`` with examples when more than 1% of a split's images cannot be decoded.

    Args:
        name: of the split.
        corrupt: name of each image that cannot be decoded, and why.
        num_images: of the split.
    """
    if is_too_many(len(corrupt), num_images):
        lines = [f"{file}: {problem}" for file, problem in corrupt.items()]
        raise DataError(
            f"{name}: {len(corrupt)} of {num_images} images are corrupt; at most {TOLERATED_SHARE:.0%} may be\n"
            f"{listing(lines)}\nReplace these files, or take them out of the split."
        )


def listing(lines: Sequence[str]) -> str:
    """The first ten lines, indented, and how many more there are."""
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*(f"  {line}" for line in lines[:SHOWN]), *more])


def check_splits(splits: Splits, *, limit: int = 2000, workers: int = 4) -> list[str]:
    """Decode images of all splits, at most ``limit`` of each, before anything is trained.

    Returns:
        A line for each corrupt image.

    Raises:
        DataError: more than 1% of the images looked at in a split, and more than one, are corrupt.
    """
    lines: list[str] = []
    for dataset in (splits.train, splits.search, splits.test):
        if dataset is not None:
            corrupt = check_images(dataset, limit=limit, workers=workers)
            stop_if_corrupt(f"split {dataset.name}", corrupt, min(limit, len(dataset)))
            lines += [f"{file}: {problem}" for file, problem in corrupt.items()]
    return lines


def check_images(dataset: DetectionDataset, *, limit: int = 2000, workers: int = 4) -> dict[str, str]:
    """Decode images, evenly spaced over the data set, and name those that are corrupt.

    Args:
        dataset: any.
        limit: how many images are decoded at most.
        workers: threads.

    Returns:
        Name of each corrupt image, and why, in the order of the data set.
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
