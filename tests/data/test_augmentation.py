"""Crops, canvases and drawn sizes: each setting changes batches, boxes follow the pixels, and every epoch repeats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from distune.config.data import AugmentationSettings, ShapesData
from distune.data.build import build_stream
from distune.data.shapes.shapes_dataset import make_shapes
from distune.data.stream import Batch, TrainingStream
from support.datasets import MemoryDataset, annotate

SSD = {"photometric_distortion": 0.5, "zoom_out": 0.5, "iou_crop": True}
EACH: list[dict[str, Any]] = [
    {"photometric_distortion": 0.5},
    {"zoom_out": 0.5},
    {"iou_crop": True},
    {"min_sizes_px": [40, 48, 56]},
    {"scale_jitter": [0.5, 2.0]},
    {"scale_jitter": [0.5, 2.0], "crop_size_px": 48},
]
GEOMETRIC = [each for each in EACH if "photometric_distortion" not in each]
DATASET = make_shapes(ShapesData(num_train=8, num_search=1, image_size_px=64), "train")


def stream(given: dict[str, Any], *, seed: int = 0, with_masks: bool = False, **data: Any) -> TrainingStream:
    values = {"min_size_px": 64, "max_size_px": 64, "augmentation": {"horizontal_flip": 0.0, **given}, **data}
    settings = ShapesData.model_validate(values)
    return build_stream(DATASET, settings, batch_size=4, seed=seed, with_masks=with_masks)


def images_of(batches: Iterator[Batch]) -> list[torch.Tensor]:
    return [image for batch in batches for image in batch.images]


def is_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("given", EACH, ids=str)
def test_each_setting_changes_batches_and_every_epoch_can_be_repeated(given: dict[str, Any]) -> None:
    plain, first = images_of(stream({}).epoch(0)), images_of(stream(given).epoch(0))
    assert not is_same(plain, first)
    used = stream(given)
    second = images_of(used.epoch(1))
    assert not is_same(first, second)
    assert is_same(images_of(used.epoch(0)), first)
    assert not is_same(images_of(stream(given, seed=1).epoch(0)), first)
    plain_images = images_of(stream(given).plain_batches(range(8)))
    assert is_same(plain_images, images_of(stream({}).plain_batches(range(8)))), "evaluation and feature passes"


@pytest.mark.parametrize("given", GEOMETRIC, ids=str)
def test_boxes_masks_labels_and_indices_stay_together(given: dict[str, Any]) -> None:
    num_boxes = 0
    for epoch in range(6):
        for batch in stream(given, with_masks=True).epoch(epoch):
            for image, target in zip(batch.images, batch.targets, strict=True):
                origin = DATASET.annotations(int(target["image_index"]))
                boxes_n4 = target["boxes"]
                assert len(boxes_n4) == len(target["labels"]) == len(target["box_index"]) == len(target["masks"])
                assert torch.equal(target["labels"], torch.from_numpy(origin.labels_N)[target["box_index"]])
                assert target["masks"].shape[1:] == image.shape[1:]
                assert (boxes_n4[:, 2:] - boxes_n4[:, :2] >= 1).all()
                assert (boxes_n4 >= 0).all()
                assert (boxes_n4[:, 2:] <= torch.tensor([image.shape[2], image.shape[1]])).all()
                num_boxes += len(boxes_n4)
    assert num_boxes > 50


def bright_square(side: int = 60) -> MemoryDataset:
    """A gray image with a white square, which is its object."""

    class Square(MemoryDataset):
        def image(self, index: int) -> torch.Tensor:
            pixels = torch.full((3, side, side), 100, dtype=torch.uint8)
            pixels[:, 20:40, 20:40] = 255
            return pixels

    return Square([annotate([(20, 20, 40, 40)], [1], index=index, size=(side, side)) for index in range(12)])


@pytest.mark.parametrize("given", GEOMETRIC, ids=str)
def test_a_box_lies_on_its_object(given: dict[str, Any]) -> None:
    settings = ShapesData.model_validate({"min_size_px": 64, "max_size_px": 64, "augmentation": given})
    found = 0
    for batch in build_stream(bright_square(), settings, batch_size=4, seed=0).epoch(0):
        for image, target in zip(batch.images, batch.targets, strict=True):
            rows, columns = np.nonzero(image[0].numpy() > 0.8)
            for box in target["boxes"].tolist():
                extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert np.abs(np.array(extent) - box).max() <= 2
                found += 1
    assert found >= 8


def test_drawn_sizes_are_those_of_the_list() -> None:
    shapes = {tuple(image.shape[1:]) for epoch in range(3) for image in images_of(stream(EACH[3]).epoch(epoch))}
    assert shapes == {(40, 40), (48, 48), (56, 56)}
    assert not stream({}).draws_sizes
    assert stream(EACH[3]).draws_sizes


def test_scale_jitter_gives_squares_with_the_mean_color_around_small_images() -> None:
    batches = stream({"scale_jitter": [0.1, 0.2], "crop_size_px": 96})
    images = images_of(batches.epoch(0))
    assert {tuple(image.shape) for image in images} == {(3, 96, 96)}
    mean = torch.tensor([123.0, 117.0, 104.0]).round() / 255
    for image in images:
        padding = (image - mean[:, None, None]).abs().amax(dim=0) < 1e-6
        assert 0.95 < float(padding.float().mean()) < 1
    assert {tuple(image.shape) for image in images_of(stream({"scale_jitter": [0.5, 2.0]}).epoch(0))} == {(3, 64, 64)}
    assert batches.draws_sizes


def test_zoom_out_makes_objects_smaller_and_a_crop_larger() -> None:
    def mean_side(given: dict[str, Any]) -> float:
        targets = [target for epoch in range(4) for batch in stream(given).epoch(epoch) for target in batch.targets]
        boxes_n4 = torch.cat([target["boxes"] for target in targets])
        return float((boxes_n4[:, 2:] - boxes_n4[:, :2]).mean())

    plain = mean_side({})
    assert mean_side({"zoom_out": 1.0}) < 0.7 * plain
    assert mean_side({"iou_crop": True}) > 1.05 * plain


def test_an_image_without_boxes_passes_all_of_them() -> None:
    empty = MemoryDataset([annotate([], [], index=index, size=(50, 40)) for index in range(4)])
    for given in (SSD, *EACH):
        settings = ShapesData.model_validate({"min_size_px": 64, "max_size_px": 64, "augmentation": given})
        for batch in build_stream(empty, settings, batch_size=2, seed=0).epoch(0):
            assert all(target["boxes"].shape == (0, 4) for target in batch.targets)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_sizes_px": [64], "scale_jitter": [0.5, 2.0]}, "both draw the size of an image"),
        ({"scale_jitter": [2.0, 0.5]}, "must have the lower factor first"),
        ({"crop_size_px": 64}, "no effect without scale_jitter"),
        ({"min_sizes_px": []}, "at least 1 item"),
        ({"scale_jitter": [0.5]}, "at least 2 items"),
        ({"zoom_out": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_contradict_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AugmentationSettings.model_validate(given)
