"""The splits of an experiment, their fingerprint, and the split that is held out of the training images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from distune.config.hashing import content_hash
from distune.data.dataset import DetectionDataset, Subset
from distune.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """The data of an experiment.

    Attributes:
        train, search, test: without common images. ``test`` is None where the experiment has none.
        classes: class names without background, the same for all splits.
        fingerprint: 16 hexadecimal digits, equal for equal data in whatever folder.
        faults: a line for each image or box that was skipped.
        notes: lines about what was read otherwise than it is written, such as turned images.
    """

    train: DetectionDataset
    search: DetectionDataset
    test: DetectionDataset | None
    classes: tuple[str, ...]
    fingerprint: str
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


def hold_out(dataset: DetectionDataset, *, fraction: float) -> tuple[Subset, Subset]:
    """Split a training set in two by a hash of the images' names, so that their order does not matter.

    Copies of an image stay together, so the held-out part may be smaller or larger than asked by a few images.

    Args:
        dataset: the training set.
        fraction: of the images that are held out, between 0 and 1.

    Returns:
        The rest, named ``train``, and the held-out images, named ``search``. Both have at least one image.

    Raises:
        DataError: there are fewer than two images.
    """
    num_images = len(dataset)
    if num_images < 2:
        raise DataError(
            f"{dataset.name}: has {num_images} image{'s' * (num_images != 1)}, of which none can be held out for "
            "scoring; name a search split or use more images"
        )
    groups: dict[str, list[int]] = {}
    digests: dict[str, bytes] = {}
    for index in range(num_images):
        image = dataset.annotations(index)
        content = image.digest or image.file
        groups.setdefault(content, []).append(index)
        of_name = hashlib.sha256(image.file.encode()).digest()
        digests[content] = min(of_name, digests.get(content, of_name))
    if len(groups) < 2:
        raise DataError(
            f"{dataset.name}: all {num_images} images are copies of one, so none can be held out for scoring"
        )
    num_held = min(max(1, round(fraction * num_images)), num_images - 1)
    held: set[int] = set()
    for content in sorted(groups, key=lambda content: digests[content])[: len(groups) - 1]:
        if len(held) >= num_held:
            break
        held |= set(groups[content])
    rest = [index for index in range(num_images) if index not in held]
    return Subset(dataset, rest, name="train"), Subset(dataset, sorted(held), name="search")


def fingerprint(splits: Mapping[str, DetectionDataset], classes: Sequence[str]) -> str:
    """Return a hash of the classes and of the names, sizes, boxes and file contents of all images of all splits."""
    digest = hashlib.sha256(content_hash({"classes": list(classes)}).encode())
    for name, dataset in splits.items():
        digest.update(f"{name} {len(dataset)}".encode())
        for index in range(len(dataset)):
            image = dataset.annotations(index)
            digest.update(f"{image.file} {image.width} {image.height} {len(image)} {image.digest}".encode())
            for values in (image.boxes_N4, image.labels_N, image.areas_N, image.crowd_N, image.difficult_N):
                digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]
