"""Outlines and masks: COCO's formats, generated shapes, and their way through the stream."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distune.config.data import AugmentationSettings, CocoData, ShapesData
from distune.data.build import build_splits, build_stream
from distune.data.masks import draw_masks, read_segmentation
from distune.data.shapes.shapes_dataset import make_shapes
from distune.data.stream import TrainingStream
from distune.errors import DataError
from support.datasets import coco_settings, make_coco

WIDTH, HEIGHT = 64, 48


def outline_box(mask_HW: NDArray[Any]) -> list[int]:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def mask_of(segmentation: Any) -> NDArray[np.uint8]:
    outline = read_segmentation(segmentation, width=WIDTH, height=HEIGHT)
    assert outline is not None
    (mask_HW,) = draw_masks([outline], width=WIDTH, height=HEIGHT)
    return np.asarray(mask_HW, dtype=np.uint8)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [x1, y1, x2, y1, x2, y2, x1, y2]


class TestOutlines:
    def test_polygons_are_joined(self) -> None:
        mask = mask_of([rectangle(2, 3, 10, 9), rectangle(20, 30, 40, 40)])
        expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        expected[3:9, 2:10] = expected[30:40, 20:40] = 1
        assert np.array_equal(mask, expected)

    @settings(max_examples=20)
    @given(st.integers(0, 2**32 - 1))
    def test_rle_gives_the_pixels(self, seed: int) -> None:
        expected = np.random.default_rng(seed).integers(0, 2, size=(HEIGHT, WIDTH)).astype(np.uint8)
        # COCO counts down the columns, zeros first.
        flat = expected.flatten(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        segmentation = {"counts": counts, "size": [HEIGHT, WIDTH]}
        assert np.array_equal(mask_of(segmentation), expected)
        packed = read_segmentation(segmentation, width=WIDTH, height=HEIGHT)
        assert isinstance(packed, bytes)
        assert np.array_equal(mask_of({"counts": packed.decode(), "size": [HEIGHT, WIDTH]}), expected)

    @pytest.mark.parametrize(
        "segmentation",
        [
            None,
            [],
            "polygon",
            [[1, 2, 3, 4]],
            [[1, 2, 3, 4, 5, 6, 7]],
            [[1, 2, 3, 4, 5, float("nan")]],
            [[1, 2, 3, 4, 5, "6"]],
            [rectangle(0, 0, 4, 4), []],
            {"counts": [10], "size": [HEIGHT, WIDTH]},
            {"counts": [HEIGHT * WIDTH], "size": [WIDTH, HEIGHT]},
            {"counts": [-1, HEIGHT * WIDTH + 1], "size": [HEIGHT, WIDTH]},
            {"counts": "zzzzzzzz", "size": [HEIGHT, WIDTH]},
            {"counts": "", "size": [HEIGHT, WIDTH]},
            {"counts": "1", "size": [HEIGHT, WIDTH]},
            {"counts": "é", "size": [HEIGHT, WIDTH]},
            {"size": [HEIGHT, WIDTH]},
        ],
    )
    def test_invalid_segmentations(self, segmentation: Any) -> None:
        assert read_segmentation(segmentation, width=WIDTH, height=HEIGHT) is None

    def test_corners_far_outside_cost_no_time(self) -> None:
        mask = mask_of([[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]])
        assert mask.all()

    def test_no_object_gives_no_mask(self) -> None:
        assert draw_masks([], width=WIDTH, height=HEIGHT).shape == (0, HEIGHT, WIDTH)


class TestShapes:
    def test_a_mask_fills_its_box_and_no_more(self) -> None:
        dataset = make_shapes(ShapesData(kind="shapes", num_train=12, num_classes=6), "train")
        fractions: dict[int, list[float]] = {}
        for index in range(len(dataset)):
            image = dataset.annotations(index)
            assert image.draw_masks is not None
            masks_NHW = image.draw_masks(np.arange(len(image)))
            assert masks_NHW.shape == (len(image), 96, 96)
            assert masks_NHW.dtype == np.uint8
            for mask_HW, box_4, label in zip(masks_NHW, image.boxes_N4, image.labels_N, strict=True):
                assert np.abs(np.array(outline_box(mask_HW)) - box_4).max() < 2.5
                area = (box_4[2] - box_4[0]) * (box_4[3] - box_4[1])
                fractions.setdefault(int(label), []).append(float(mask_HW.sum() / area))
        means = {label: sum(values) / len(values) for label, values in fractions.items()}
        assert means[1] == pytest.approx(np.pi / 4, abs=0.05)  # a circle, and a ring without its hole
        assert means[6] == pytest.approx(np.pi / 4 * (1 - 0.55**2), abs=0.08)

    def test_masks_of_some_boxes_in_any_order(self) -> None:
        dataset = make_shapes(ShapesData(kind="shapes", num_train=5), "train")
        image = next(dataset.annotations(index) for index in range(5) if len(dataset.annotations(index)) > 2)
        assert image.draw_masks is not None
        every = image.draw_masks(np.arange(len(image)))
        assert np.array_equal(image.draw_masks(np.array([2, 0])), every[[2, 0]])


def with_polygons(folder: Path, *, skip: int = 0) -> CocoData:
    """A COCO folder whose training objects are outlined by the upper left triangle of their box."""
    make_coco(folder)
    content = json.loads((folder / "train.json").read_text())
    plain = [record for record in content["annotations"] if not record["iscrowd"]]
    for record in plain[skip:]:
        x, y, width, height = record["bbox"]
        record["segmentation"] = [[x, y, x + width, y, x, y + height]]
    (folder / "train.json").write_text(json.dumps(content))
    return coco_settings(folder)


class TestCoco:
    def test_masks_are_available_when_requested(self, tmp_path: Path) -> None:
        data = with_polygons(tmp_path)
        assert build_splits(data).train.annotations(0).draw_masks is None
        splits = build_splits(data, with_masks=True)
        assert splits.fingerprint == build_splits(data).fingerprint
        assert splits.search.annotations(0).draw_masks is None
        dataset = pickle.loads(pickle.dumps(splits.train))
        for index in range(len(dataset)):
            image = dataset.annotations(index)
            trained = np.flatnonzero(~image.ignored_N)
            masks_NHW = image.draw_masks(trained)
            assert masks_NHW.shape == (len(trained), image.height, image.width)
            for mask_HW, (x1, y1, x2, y2) in zip(masks_NHW, image.boxes_N4[trained], strict=True):
                assert mask_HW.sum() == pytest.approx((x2 - x1) * (y2 - y1) / 2, rel=0.25, abs=8)
                assert mask_HW[int(y1), int(x1)] == 1
                assert mask_HW[int(y2) - 1, int(x2) - 1] == 0

    def test_objects_without_a_segmentation_are_bad_and_many_of_them_stop(self, tmp_path: Path) -> None:
        one = with_polygons(tmp_path / "one", skip=1)
        splits = build_splits(one, with_masks=True)
        assert len(splits.faults) == 1
        assert "has no valid segmentation, which masks need" in splits.faults[0]
        assert len(splits.train.annotations(0)) == len(build_splits(one).train.annotations(0)) - 1
        with pytest.raises(DataError, match=r"(?s)split train: 2 of \d+ boxes.*has no valid segmentation"):
            build_splits(with_polygons(tmp_path / "two", skip=2), with_masks=True)


class TestStream:
    def stream(self, *, with_masks: bool = True, **settings: Any) -> TrainingStream:
        data = ShapesData(kind="shapes", num_train=6, num_search=1, **settings)
        return build_stream(make_shapes(data, "train"), data, batch_size=3, seed=0, with_masks=with_masks)

    def test_masks_are_loaded_only_when_asked_for_and_change_nothing_else(self) -> None:
        flips = AugmentationSettings(horizontal_flip=0.5, vertical_flip=0.5, color_jitter=0.2)
        plain = self.stream(with_masks=False, augmentation=flips).epoch(1)
        masked = self.stream(augmentation=flips).epoch(1)
        for one, other in zip(plain, masked, strict=True):
            assert all(map(torch.equal, one.images, other.images))
            for target, with_masks in zip(one.targets, other.targets, strict=True):
                assert with_masks.keys() - target.keys() == {"masks"}
                assert all(torch.equal(value, with_masks[name]) for name, value in target.items())

    def test_masks_are_flipped_and_resized_with_their_boxes(self) -> None:
        flips = AugmentationSettings(horizontal_flip=0.5, vertical_flip=0.5)
        for batch in self.stream(augmentation=flips, min_size_px=140, max_size_px=140).epoch(0):
            for image, target in zip(batch.images, batch.targets, strict=True):
                assert target["masks"].dtype == torch.uint8
                assert type(target["masks"]) is torch.Tensor
                assert target["masks"].shape == (len(target["boxes"]), *image.shape[1:])
                for mask_hw, box_4 in zip(target["masks"], target["boxes"], strict=True):
                    assert np.abs(np.array(outline_box(mask_hw.numpy())) - box_4.numpy()).max() < 4

    def test_masks_move_with_the_batch(self) -> None:
        batch = next(iter(self.stream().epoch(0)))
        moved = batch.to(torch.device("cpu"))
        assert all(torch.equal(a["masks"], b["masks"]) for a, b in zip(batch.targets, moved.targets, strict=True))
        assert "masks" in next(iter(self.stream().plain_batches([0, 1]))).targets[0]
