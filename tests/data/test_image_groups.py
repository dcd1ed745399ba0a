"""Groups by aspect ratio and repeat factors, by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from distune.config.data import ShapesData
from distune.data.build import build_stream
from distune.data.image_groups import aspect_ratio_groups, class_repeats, image_repeats
from distune.data.stream import TrainingStream
from distune.data.stream_notes import stream_notes
from support.datasets import MemoryDataset, annotate

SIZES = [(40, 80), (50, 50), (80, 40), (60, 50), (30, 90), (50, 60)]


def of_sizes(sizes: list[tuple[int, int]]) -> MemoryDataset:
    return MemoryDataset(
        [annotate([(2, 2, 20, 20)], [1], index=index, size=size) for index, size in enumerate(sizes)], ("cat",)
    )


def rare() -> MemoryDataset:
    """Ten images: cats in all but one, a dog in one of them; an image whose only box is difficult."""
    boxes = [(2.0, 2.0, 20.0, 20.0), (5.0, 5.0, 30.0, 30.0)]
    images = [annotate(boxes, [1, 1], index=index) for index in range(8)]
    images.append(annotate(boxes, [1, 2], index=8))
    images.append(annotate(boxes[:1], [2], difficult=[True], index=9))
    return MemoryDataset(images, ("cat", "dog", "ant"))


def stream(dataset: MemoryDataset, **given: Any) -> TrainingStream:
    return build_stream(
        dataset, ShapesData.model_validate({"min_size_px": 32, "max_size_px": 64, **given}), batch_size=4, seed=0
    )


def test_groups_have_the_bounds_of_torchvision() -> None:
    assert aspect_ratio_groups(of_sizes(SIZES), factor=0).tolist() == [0, 1, 1, 1, 0, 0]
    # The bounds of factor 1 are 1/2, 1 and 2; a ratio on a bound is in the upper group.
    assert aspect_ratio_groups(of_sizes(SIZES), factor=1).tolist() == [1, 2, 3, 2, 0, 1]
    assert aspect_ratio_groups(of_sizes(SIZES), factor=3).max() <= 7


def test_grouped_batches_have_images_of_one_orientation_and_less_padding() -> None:
    dataset = of_sizes([(60, 40), (40, 60)] * 8)

    def mixed(given: TrainingStream) -> int:
        orientations = [{image.shape[1] > image.shape[2] for image in batch.images} for batch in given.epoch(0)]
        return sum(len(each) > 1 for each in orientations)

    assert mixed(stream(dataset)) >= 2
    assert mixed(stream(dataset, aspect_ratio_group_factor=0)) == 0
    assert len(stream(dataset, aspect_ratio_group_factor=0)) == len(stream(dataset)) == 4


def test_repeat_factors_by_hand() -> None:
    # Cats are in 9 of 10 images, dogs in 1 (the difficult one does not count), ants in none.
    assert class_repeats(rare(), threshold=0.4).tolist() == pytest.approx([1, 2, 1])
    assert class_repeats(rare(), threshold=1.0).tolist() == pytest.approx([np.sqrt(1 / 0.9), np.sqrt(10), 1])
    assert image_repeats(rare(), threshold=0.4).tolist() == pytest.approx([1] * 8 + [2, 1])


def test_a_rare_class_is_shown_more_often_each_time_augmented_otherwise() -> None:
    flips = {"augmentation": {"horizontal_flip": 0.0, "color_jitter": 0.5}}
    parts = stream(rare(), repeat_threshold=0.9, **flips)
    assert parts.num_presentations == 12
    assert len(parts) == 3  # 9 + 3 presentations instead of 10 images
    counts: Counter[int] = Counter()
    values: set[float] = set()
    for batch in parts.epoch(0):
        for image, target in zip(batch.images, batch.targets, strict=True):
            counts[int(target["image_index"])] += 1
            if int(target["image_index"]) == 8:
                values.add(float(image.mean()))
    assert counts[8] == 3
    assert len(values) > 1
    assert counts.total() == 12


def test_notes_say_what_the_settings_change() -> None:
    def notes(dataset: MemoryDataset, **given: Any) -> list[str]:
        return stream_notes(dataset, ShapesData.model_validate(given), batch_size=4)

    assert notes(rare()) == []
    assert notes(of_sizes(SIZES), aspect_ratio_group_factor=0) == [
        "batches: 2 groups of aspect ratios, of 3, 3 training images; at most 1 of 1 batches per epoch have images of "
        "several groups"
    ]
    assert "changes nothing" in notes(rare(), aspect_ratio_group_factor=3)[0]
    assert notes(rare(), repeat_threshold=0.4) == [
        "batches: images of 1 of 3 classes are repeated, up to 2.0 times (dog); an epoch has 11 images instead of 10"
    ]
    assert "none is repeated" in notes(rare(), repeat_threshold=0.05)[0]
