"""The content of a data set: images and boxes per class and split, sizes, copies, brightness; and what seems wrong.

Shape legend: ``N`` images or boxes of a split.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distune.config.image_size import resized_size
from distune.data.dataset import DetectionDataset, ImageError
from distune.data.splits import Splits

Numbers = NDArray[np.float64]

QUANTILES = (0.05, 0.5, 0.95)
"""The quantiles of sizes on a card."""

_BRIGHTNESS_IMAGES = 100
_DARK = 10.0
_FLAT = 2.0
_FEW_BOXES = 10
_FEW_IMAGES = 30
_SMALL_BOX_PX = 8.0
_MANY_EMPTY = 0.5
_SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitCard:
    """One split.

    Attributes:
        name: ``train``, ``search`` or ``test``.
        num_images: in it.
        num_empty: images without boxes.
        num_boxes: that count; crowd and difficult ones do not.
        num_ignored: crowd and difficult boxes.
        num_copies: images whose content another image of the split has as well.
        num_repeated_boxes: boxes with the class and the corners of another box of their image.
        boxes: of each class.
        images: with at least one box of each class.
        widths, heights: of the images, in pixels, at ``QUANTILES``.
        box_sides: square root of the area of the boxes, in pixels, at ``QUANTILES``.
        resized_box_sides: the same after the images are resized.
        resized_class_sides: median of that of each class with boxes.
        brightness: mean of the pixels of an image, 0 to 255, at ``QUANTILES``, over at most 100 images; empty where no
            image could be decoded.
        dark_or_flat: names of those images that are nearly black or have nearly one value.
    """

    name: str
    num_images: int
    num_empty: int
    num_boxes: int
    num_ignored: int
    num_copies: int
    num_repeated_boxes: int
    boxes: Mapping[str, int]
    images: Mapping[str, int]
    widths: Sequence[float]
    heights: Sequence[float]
    box_sides: Sequence[float]
    resized_box_sides: Sequence[float]
    resized_class_sides: Mapping[str, float]
    brightness: Sequence[float]
    dark_or_flat: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCard:
    """A data set.

    Attributes:
        classes: in the order of their labels.
        splits: ``train``, ``search``, and ``test`` where there is one.
        warnings: what seems wrong, a line each.
        notes: lines about what was read otherwise than it is written.
        faults: images and boxes that are skipped, a line each.
    """

    classes: tuple[str, ...]
    splits: tuple[SplitCard, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """A sentence that says if a study can be launched."""
        if self.warnings:
            return f"a study can be launched, but see to {_count(len(self.warnings), 'warning')} first"
        return "the data are ready for a study"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**dataclasses.asdict(self), "quantiles": list(QUANTILES), "verdict": self.verdict}


def make_data_card(splits: Splits, *, min_size_px: int, max_size_px: int) -> DataCard:
    """Summarize a data set.

    Args:
        splits: the data.
        min_size_px: the shorter side of a resized image.
        max_size_px: the longer side is at most this.

    Returns:
        The card.
    """
    datasets = [each for each in (splits.train, splits.search, splits.test) if each is not None]
    cards = tuple(_split_card(each, splits.classes, min_size_px, max_size_px) for each in datasets)
    return DataCard(
        classes=splits.classes,
        splits=cards,
        warnings=tuple(_warnings(cards, splits.classes)),
        notes=splits.notes,
        faults=splits.faults,
    )


def _split_card(dataset: DetectionDataset, classes: Sequence[str], min_size_px: int, max_size_px: int) -> SplitCard:
    boxes, images, digests = Counter[str](), Counter[str](), Counter[str]()
    sizes: list[tuple[int, int]] = []
    sides, resized_sides = [np.empty(0)], [np.empty(0)]
    num_empty = num_ignored = num_repeated = 0
    of_class: dict[str, list[float]] = {name: [] for name in classes}
    for image in map(dataset.annotations, range(len(dataset))):
        counted_N = ~image.ignored_N
        labels_N = image.labels_N[counted_N]
        boxes_N4 = image.boxes_N4[counted_N].astype(np.float64)
        names = [classes[label - 1] for label in labels_N.tolist()]
        boxes.update(names)
        images.update(set(names))
        digests[image.digest or image.file] += 1
        num_empty += len(image) == 0
        num_ignored += len(image) - len(names)
        num_repeated += len(names) - len({(label, *box) for label, box in zip(names, boxes_N4.tolist(), strict=True)})
        sizes.append((image.width, image.height))
        sides.append(np.sqrt((boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1)))
        height, _ = resized_size(image.height, image.width, min_size_px=min_size_px, max_size_px=max_size_px)
        resized_sides.append(sides[-1] * height / image.height)
        for name, side in zip(names, resized_sides[-1].tolist(), strict=True):
            of_class[name].append(side)
    sizes_N2 = np.array(sizes, dtype=np.float64).reshape(-1, 2)
    brightness, dark_or_flat = _brightness(dataset)
    return SplitCard(
        name=dataset.name,
        num_images=len(dataset),
        num_empty=num_empty,
        num_boxes=boxes.total(),
        num_ignored=num_ignored,
        num_copies=sum(count - 1 for count in digests.values()),
        num_repeated_boxes=num_repeated,
        boxes={name: boxes[name] for name in classes},
        images={name: images[name] for name in classes},
        widths=_quantiles(sizes_N2[:, 0]),
        heights=_quantiles(sizes_N2[:, 1]),
        box_sides=_quantiles(np.concatenate(sides)),
        resized_box_sides=_quantiles(np.concatenate(resized_sides)),
        resized_class_sides={name: round(float(np.median(each)), 1) for name, each in of_class.items() if each},
        brightness=_quantiles(np.array(brightness)),
        dark_or_flat=dark_or_flat,
    )


def _brightness(dataset: DetectionDataset) -> tuple[list[float], list[str]]:
    """Return the mean of each of at most 100 images, evenly spaced, and the names of dark and flat ones."""
    count = min(_BRIGHTNESS_IMAGES, len(dataset))
    means: list[float] = []
    dark_or_flat: list[str] = []
    for index in (position * len(dataset) // count for position in range(count)):
        try:
            pixels = dataset.image(index).float()
        except ImageError:
            continue  # it is reported where the images are checked
        means.append(float(pixels.mean()))
        if means[-1] < _DARK or float(pixels.std()) < _FLAT:
            dark_or_flat.append(dataset.annotations(index).file)
    return means, dark_or_flat


def _quantiles(values_N: Numbers) -> list[float]:
    return [round(float(value), 1) for value in np.quantile(values_N, QUANTILES)] if len(values_N) else []


def _warnings(cards: Sequence[SplitCard], classes: Sequence[str]) -> list[str]:
    train, *others = cards
    lines = []
    for name in classes:
        in_others = [card.name for card in others if card.boxes[name]]
        if not train.boxes[name] and in_others:
            lines.append(f"class {name} has boxes in split {' and '.join(in_others)}, but none in split train")
        elif not train.boxes[name]:
            lines.append(f"class {name} has no boxes")
        elif train.boxes[name] < _FEW_BOXES:
            lines.append(f"class {name} has only {_count(train.boxes[name], 'box', 'boxes')} in split train")
        without = [card.name for card in others if not card.boxes[name]]
        if train.boxes[name] and without:
            lines.append(f"class {name} has no boxes in split {' and '.join(without)}: its AP cannot be measured there")
    lines += [
        f"classes {one} and {other} differ in case, blanks or hyphens alone: they may be one"
        for one, other in itertools.combinations(classes, 2)
        if _plain(one) == _plain(other)
    ]
    for card in cards:
        lines += _split_warnings(card)
    return lines


def _split_warnings(card: SplitCard) -> list[str]:
    lines = []
    if card.name != "train" and card.num_images < _FEW_IMAGES:
        lines.append(f"split {card.name} has only {_count(card.num_images, 'image')}: AP on it varies much")
    if card.num_empty > _MANY_EMPTY * card.num_images:
        lines.append(f"split {card.name}: {card.num_empty} of {card.num_images} images have no boxes")
    if card.num_copies:
        lines.append(f"split {card.name}: copies of other images of the split: {card.num_copies}")
    if card.num_repeated_boxes:
        lines.append(f"split {card.name}: boxes that are given twice: {card.num_repeated_boxes}")
    if card.dark_or_flat:
        more = ", ..." if len(card.dark_or_flat) > _SHOWN else ""
        named = ", ".join(card.dark_or_flat[:_SHOWN])
        lines.append(f"split {card.name}: images that are black or have one color: {named}{more}")
    small = [f"{name} ({side:g} px)" for name, side in card.resized_class_sides.items() if side < _SMALL_BOX_PX]
    if small:
        lines.append(
            f"split {card.name}: half of the boxes of {', '.join(small)} or smaller after resizing, less than a cell "
            "of the finest feature map; raise data.min_size_px"
        )
    return lines


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
