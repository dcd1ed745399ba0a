"""Digits on photographs: reproducible, exactly boxed, tagged as often as asked, no source shared between splits."""

from __future__ import annotations

import itertools
import time
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images

from distune.config.data import AugmentationSettings, DigitsData
from distune.data.dataset import DetectionDataset
from distune.data.digits.digits_dataset import make_digits
from distune.data.digits.layout import DigitObject, draw_digit
from distune.data.digits.painting import cut_background, paint_digit
from distune.data.digits.sources import DIGIT_NAMES, digit_images, photo_regions
from distune.data.generated.generated_dataset import SplitName

SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def settings(**values: object) -> DigitsData:
    return DigitsData.model_validate({"kind": "digits", "num_train": 200, **values})


def all_tags(dataset: DetectionDataset) -> list[frozenset[str]]:
    return [tags for index in range(len(dataset)) for tags in dataset.annotations(index).tags_N]


class TestSources:
    @pytest.mark.parametrize("digit", range(10))
    def test_each_image_of_a_digit_is_in_one_split(self, digit: int) -> None:
        images, labels = load_digits(return_X_y=True)
        parts = [digit_images(digit, split) for split in SPLITS]
        joined = np.concatenate(parts).reshape(-1, 64) * 16
        assert np.array_equal(joined, images[labels == digit])
        assert min(map(len, parts)) > 40

    def test_splits_have_different_images(self) -> None:
        known = [{image.tobytes() for digit in range(10) for image in digit_images(digit, split)} for split in SPLITS]
        assert all(one.isdisjoint(other) for one, other in itertools.combinations(known, 2))

    def test_each_column_of_a_photograph_is_in_one_split(self) -> None:
        regions = [photo_regions(split) for split in SPLITS]
        for photo, *parts in zip(load_sample_images().images, *regions, strict=True):
            assert np.array_equal(np.concatenate(parts, axis=1), photo)

    def test_there_is_a_name_for_each_digit(self) -> None:
        assert len(set(DIGIT_NAMES)) == 10
        assert make_digits(settings(num_classes=3), "train").classes == ("zero", "one", "two")


def test_an_image_follows_from_seed_split_and_index_alone() -> None:
    one, other = make_digits(settings(), "train"), make_digits(settings(num_train=5), "train")
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - to see that it does not matter
    late = one.image(4)
    assert torch.equal(late, other.image(4))
    for different in (
        one.image(3),
        make_digits(settings(), "search").image(4),
        make_digits(settings(seed=1), "train").image(4),
    ):
        assert not torch.equal(late, different)


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("side_px", [10.4, 35.0])
def test_a_drawn_digit_fills_its_box_and_is_the_digit_of_the_data(digit: int, side_px: float) -> None:
    image_88 = digit_images(digit, "train")[0]
    mask_HW = draw_digit(image_88, side_px=side_px)
    assert max(mask_HW.shape) == round(side_px)
    assert mask_HW.min() >= 0
    assert mask_HW.max() <= 1
    for edge in (mask_HW[0], mask_HW[-1], mask_HW[:, 0], mask_HW[:, -1]):
        assert edge.max() > 0.25, "ink reaches each side of the box"
    ink = draw_digit(image_88, side_px=80.0)
    assert ink.mean() == pytest.approx(mask_HW.mean(), abs=0.06)


def test_masks_are_the_ink_within_the_boxes() -> None:
    dataset = make_digits(settings(small_share=0.0), "train")
    for index in range(20):
        image = dataset.annotations(index)
        assert image.draw_masks is not None
        masks_NSS = image.draw_masks(np.arange(len(image)))
        for mask_SS, (x1, y1, x2, y2) in zip(masks_NSS, image.boxes_N4.astype(int), strict=True):
            inside = mask_SS[y1:y2, x1:x2]
            assert mask_SS.sum() == inside.sum()
            assert 0.15 < inside.mean() < 0.9


@pytest.mark.parametrize("tag", ["blurred", "occluded", "small"])
def test_tags_are_as_frequent_as_asked(tag: str) -> None:
    def fraction(value: float) -> float:
        dataset = make_digits(settings(**{f"{tag}_share": value}), "train")
        return float(np.mean([tag in tags for tags in all_tags(dataset)]))

    assert fraction(0.0) == 0.0
    assert fraction(1.0) == 1.0
    assert fraction(0.3) == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("size_px", [64, 128])
def test_sizes_grow_with_the_image(size_px: int) -> None:
    dataset = make_digits(settings(image_size_px=size_px), "train")
    for index in range(len(dataset)):
        image = dataset.annotations(index)
        sides = (image.boxes_N4[:, 2:] - image.boxes_N4[:, :2]).max(axis=1) / size_px
        for side, tags in zip(sides, image.tags_N, strict=True):
            low, high = (0.14, 0.18) if "small" in tags else (0.25, 0.55)
            assert low - 0.5 / size_px <= side <= high + 0.5 / size_px


def test_a_digit_changes_its_box_and_nothing_else_and_is_visible() -> None:
    background = cut_background(np.random.default_rng(0), photo_regions("train"), size_px=64)
    mask_HW = draw_digit(digit_images(0, "train")[0], side_px=30.0)
    item = DigitObject(label=1, mask_HW=mask_HW, corner_2=np.array([20, 10]), tags=frozenset())
    picture = background.copy()
    paint_digit(np.random.default_rng(1), picture, item, min_blur_px=1.0)
    changed = np.abs(picture - background).max(axis=2)
    x1, y1, x2, y2 = item.box_4.astype(int)
    assert changed[y1:y2, x1:x2][mask_HW > 0.99].mean() > 40
    changed[y1:y2, x1:x2] = 0
    assert changed.max() == 0


def test_blur_reaches_beyond_the_box_also_at_the_border() -> None:
    background = np.full((64, 64, 3), 90.0, dtype=np.float32)
    mask_HW = draw_digit(digit_images(8, "train")[0], side_px=30.0)
    for tags in (frozenset[str](), frozenset({"blurred"})):
        picture = background.copy()
        item = DigitObject(label=1, mask_HW=mask_HW, corner_2=np.array([0, 0]), tags=tags)
        paint_digit(np.random.default_rng(1), picture, item, min_blur_px=1.0)
        height, width = mask_HW.shape
        assert (np.abs(picture[:height, width] - 90).max() > 1) == bool(tags)


def test_digits_are_not_mirrored_unless_asked() -> None:
    assert DigitsData().augmentation.horizontal_flip == 0.0
    assert settings(augmentation={"color_jitter": 0.2}).augmentation.horizontal_flip == 0.0
    assert settings(augmentation={"horizontal_flip": 0.5}).augmentation.horizontal_flip == 0.5
    given = AugmentationSettings(horizontal_flip=0.3)
    assert DigitsData(augmentation=given).augmentation == given
    assert DigitsData.model_validate(DigitsData(augmentation=given).model_dump()).augmentation == given


def test_an_image_takes_a_few_milliseconds() -> None:
    dataset = make_digits(settings(), "train")
    dataset.image(0)
    times = []
    for index in range(1, 40):
        start = time.thread_time()
        dataset.image(index)
        times.append(time.thread_time() - start)
    assert np.median(times) < 0.012
