"""The splits of an experiment, their fingerprint, and the split that is held out of the training images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from distune.config.hashing import content_hash
from distune.data.dataset import DetectionDataset, Subset
from distune.data.images import ValueRange
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
        value_range: what becomes 0 and 255 in gray images of more than 8 bits; None where there are none.
    """

    train: DetectionDataset
    search: DetectionDataset
    test: DetectionDataset | None
    classes: tuple[str, ...]
    fingerprint: str
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    value_range: ValueRange | None = None


def hold_out(dataset: DetectionDataset, fractions: Mapping[str, float], *, seed: int = 0) -> dict[str, Subset]:
    """Divide a training set by a hash of the images' names, so that their order does not matter.

    Copies of an image stay together, so a held-out part may be smaller or larger than asked by a few images.

    Args:
        dataset: the training set.
        fractions: name of each held-out part to its fraction of the images, between 0 and 1.
        seed: another one gives other parts.

    Returns:
        The rest, named ``train``, and the held-out parts. All have at least one image.

    Raises:
        DataError: there are too few images.
    """
    num_images, num_parts = len(dataset), len(fractions) + 1
    purpose = f"{' and '.join(fractions)} images can be held out; name such splits or use more images"
    if num_images < num_parts:
        raise DataError(f"{dataset.name}: has {num_images} image{'s' * (num_images != 1)}, too few: no {purpose}")
    groups: dict[str, list[int]] = {}
    digests: dict[str, bytes] = {}
    for index in range(num_images):
        image = dataset.annotations(index)
        content = image.digest or image.file
        groups.setdefault(content, []).append(index)
        of_name = hashlib.sha256((f"{seed} {image.file}" if seed else image.file).encode()).digest()
        digests[content] = min(of_name, digests.get(content, of_name))
    if len(groups) < num_parts:
        different = "copies of one" if len(groups) == 1 else f"copies of {len(groups)}"
        raise DataError(f"{dataset.name}: all {num_images} images are {different}, too few: no {purpose}")
    order = sorted(groups, key=lambda content: digests[content])
    parts: dict[str, Subset] = {}
    held: set[int] = set()
    for name, fraction in fractions.items():
        num_left_to_others = num_parts - 1 - len(parts)
        num_wanted = min(max(1, round(fraction * num_images)), num_images - len(held) - num_left_to_others)
        part: set[int] = set()
        while len(part) < num_wanted and len(order) > num_left_to_others:
            part |= set(groups[order.pop(0)])
        held |= part
        parts[name] = Subset(dataset, sorted(part), name=name)
    rest = [index for index in range(num_images) if index not in held]
    return {"train": Subset(dataset, rest, name="train"), **parts}


def leave_out_empty(dataset: DetectionDataset) -> tuple[DetectionDataset, list[str]]:
    """Return a training set without the images that have no boxes to train on, and a note on them if there are any."""
    images = range(len(dataset))
    kept = [index for index in images if not dataset.annotations(index).ignored_N.all()]
    num_left_out = len(dataset) - len(kept)
    if num_left_out == 0:
        return dataset, []
    note = f"split {dataset.name}: {num_left_out} of {len(dataset)} images without boxes are left out"
    return Subset(dataset, kept), [f"{note} (data.keep_empty_images)"]


def take_share(dataset: DetectionDataset, share: float, *, seed: int = 0) -> DetectionDataset:
    """Return a fraction of a training set, chosen as by ``hold_out``, so that a smaller one is part of a larger one.

    Args:
        dataset: the training set.
        share: fraction of its images, above 0 and below 1.
        seed: see ``hold_out``.

    Returns:
        At least one image.

    Raises:
        DataError: there are too few images to leave any out.
    """
    try:
        return hold_out(dataset, {"unused": 1 - share}, seed=seed)["train"]
    except DataError:
        raise DataError(
            f"data.train_share = {share:g}: split {dataset.name} has too few different images to leave any out; set "
            "it to 1, or use more images"
        ) from None


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
