"""The images of a probe: those with many boxes large enough to become prototypes."""

from __future__ import annotations

from distune.config.data import ShapesData
from distune.training.probe.sample_images import choose_images, max_boxes_per_class
from support.datasets import Box, MemoryDataset, annotate

SETTINGS = ShapesData(kind="shapes", min_size_px=100, max_size_px=200)
LARGE: Box = (10, 10, 60, 60)
SMALL: Box = (10, 10, 15, 60)


def dataset() -> MemoryDataset:
    return MemoryDataset(
        [
            annotate([], []),
            annotate([SMALL, SMALL, SMALL], [1, 1, 1]),
            annotate([LARGE], [2]),
            annotate([LARGE, LARGE, SMALL], [1, 2, 2]),
            annotate([LARGE, LARGE], [2, 2], crowd=[True, False]),
            annotate([LARGE] * 30, [1] * 30),
        ]
    )


def choose(number: int, side: float = 10.0) -> list[int]:
    return choose_images(dataset(), number, settings=SETTINGS, min_box_side_px=side)


def test_images_with_most_large_boxes_are_chosen() -> None:
    assert choose(1) == [5]
    assert choose(2) == [3, 5]
    assert choose(4) == [2, 3, 4, 5]
    assert choose(5) == [1, 2, 3, 4, 5], "the image without boxes comes last"
    assert choose(99) == list(range(6))


def test_a_side_is_measured_on_the_resized_image() -> None:
    boxes = MemoryDataset([annotate([LARGE], [1]), annotate([(0, 0, 240, 240)], [1], size=(1000, 1000))])
    assert choose_images(boxes, 1, settings=SETTINGS, min_box_side_px=30) == [0], "240 px of 1000 are 24 of 100"
    assert max_boxes_per_class(boxes, [0, 1], settings=SETTINGS, min_box_side_px=30) == 1
    assert max_boxes_per_class(boxes, [0, 1], settings=SETTINGS, min_box_side_px=20) == 2


def test_the_most_frequent_class_is_counted() -> None:
    assert max_boxes_per_class(dataset(), [2, 3, 4], settings=SETTINGS, min_box_side_px=10) == 3
    assert max_boxes_per_class(dataset(), [0], settings=SETTINGS, min_box_side_px=10) == 0
    assert max_boxes_per_class(dataset(), [], settings=SETTINGS, min_box_side_px=10) == 0
