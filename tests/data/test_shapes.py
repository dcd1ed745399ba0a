"""Generated shapes: reproducible, exactly boxed, tagged as often as asked."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
import torch

from distune.config.data import ShapesData
from distune.data.dataset import Annotations, DetectionDataset
from distune.data.generated.occlusion import cover_half
from distune.data.shapes import painting
from distune.data.shapes.outlines import SHAPE_NAMES, draw_mask, make_outline
from distune.data.shapes.shapes_dataset import make_shapes


def settings(**values: object) -> ShapesData:
    return ShapesData.model_validate({"kind": "shapes", "num_train": 300, **values})


def annotations_of(dataset: DetectionDataset) -> list[Annotations]:
    return [dataset.annotations(index) for index in range(len(dataset))]


def test_an_image_follows_from_seed_split_and_index_alone() -> None:
    one, other = make_shapes(settings(), "train"), make_shapes(settings(num_train=5), "train")
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - to see that it does not matter
    late = one.image(4)
    assert torch.equal(late, other.image(4))
    for different in (
        one.image(3),
        make_shapes(settings(), "search").image(4),
        make_shapes(settings(seed=1), "train").image(4),
    ):
        assert not torch.equal(late, different)


def test_images_are_generated_once() -> None:
    dataset = make_shapes(settings(), "train")
    assert dataset.image(0) is dataset.image(0)


@pytest.mark.parametrize("shape", SHAPE_NAMES)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_the_box_is_tight_around_the_drawn_shape(shape: str, angle: float) -> None:
    outline = make_outline(shape, side_px=30.3, angle=angle, stretch=0.8).moved_by(np.array([10.2, 7.7]))
    mask_HW, left, top = draw_mask(outline, margin_px=3)
    rows, columns = np.flatnonzero(mask_HW.max(axis=1) > 0), np.flatnonzero(mask_HW.max(axis=0) > 0)
    drawn = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
    x1, y1, x2, y2 = outline.box_4
    # Whole pixels can only be outside of the box by a part of one; the thin tip of a star may be lost.
    assert np.abs(np.array(drawn) - [x1, y1, x2, y2]).max() < 1.5
    assert max(x2 - x1, y2 - y1) == pytest.approx(30.3)


@pytest.mark.parametrize("shape", SHAPE_NAMES)
def test_the_mask_covers_the_area_of_the_outline(shape: str) -> None:
    outline = make_outline(shape, side_px=40.0, angle=0.3, stretch=1.0)

    def area(corners_P2: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
        x_P, y_P = corners_P2.T
        return abs(float(np.dot(x_P, np.roll(y_P, 1)) - np.dot(y_P, np.roll(x_P, 1)))) / 2

    expected = area(outline.corners_P2) - (0.0 if outline.hole_P2 is None else area(outline.hole_P2))
    assert draw_mask(outline, margin_px=1)[0].sum() == pytest.approx(expected, rel=0.04)


def test_all_shapes_are_distinct() -> None:
    masks = []
    for shape in SHAPE_NAMES:
        mask_HW = draw_mask(make_outline(shape, side_px=40.0, angle=0.0, stretch=1.0), margin_px=0)[0]
        padded = np.zeros((44, 44))
        padded[: mask_HW.shape[0], : mask_HW.shape[1]] = mask_HW
        masks.append(padded)
    for first in range(len(masks)):
        for second in range(first):
            common = np.minimum(masks[first], masks[second]).sum()
            assert common / np.maximum(masks[first], masks[second]).sum() < 0.9


def test_an_unknown_shape_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known are circle"):
        make_outline("blob", side_px=10.0, angle=0.0, stretch=1.0)


def test_objects_hardly_overlap_and_there_are_one_to_the_maximum() -> None:
    counts: Counter[int] = Counter()
    for image in annotations_of(make_shapes(settings(max_objects=4), "train")):
        counts[len(image)] += 1
        for first in range(len(image)):
            for second in range(first):
                low = np.maximum(image.boxes_N4[first, :2], image.boxes_N4[second, :2])
                high = np.minimum(image.boxes_N4[first, 2:], image.boxes_N4[second, 2:])
                smaller = min(image.areas_N[first], image.areas_N[second])
                assert (high - low).clip(min=0).prod() <= 0.11 * smaller
    assert set(counts) == {1, 2, 3, 4}


@pytest.mark.parametrize("tag", ["blurred", "occluded", "small"])
def test_tags_are_as_frequent_as_asked(tag: str) -> None:
    def fraction(value: float) -> float:
        dataset = make_shapes(settings(max_objects=3, **{f"{tag}_share": value}), "train")
        tags = [tag in tags for image in annotations_of(dataset) for tags in image.tags_N]
        return float(np.mean(tags))

    assert fraction(0.0) == 0.0
    assert fraction(1.0) == 1.0
    assert fraction(0.3) == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("size_px", [96, 192])
def test_small_objects_are_small_and_sizes_grow_with_the_image(size_px: int) -> None:
    unit = size_px / 96
    for image in annotations_of(make_shapes(settings(image_size_px=size_px), "train")):
        sides = (image.boxes_N4[:, 2:] - image.boxes_N4[:, :2]).max(axis=1)
        for side, tags in zip(sides, image.tags_N, strict=True):
            low, high = (10, 14) if "small" in tags else (18, 40)
            assert low * unit - 0.01 <= side <= high * unit + 0.01


def painted(*, blurred: bool = False) -> tuple[painting.Picture, painting.Picture]:
    """A picture with one square, and its background."""
    outline = make_outline("square", side_px=32.0, angle=0.0, stretch=1.0).moved_by(np.array([30.0, 30.0]))
    background = painting.paint_background(np.random.default_rng(3), size_px=96, clutter=0.5)
    picture = background.copy()
    painting.paint_object(np.random.default_rng(5), picture, outline, blurred=blurred, min_blur_px=1.0, clutter=0.5)
    return picture, background


def test_painting_changes_the_object_and_nothing_else() -> None:
    picture, background = painted()
    changed = np.abs(picture - background).max(axis=2) > 0
    assert changed[31:61, 31:61].all()
    changed[29:63, 29:63] = False
    assert not changed.any()


def test_blur_softens_the_edge() -> None:
    def steepest(picture: painting.Picture, background: painting.Picture) -> float:
        return float(np.abs(np.diff((picture - background)[46], axis=0)).max())

    assert steepest(*painted(blurred=True)) < 0.6 * steepest(*painted())


def test_clutter_makes_backgrounds_busy() -> None:
    def business(clutter: float) -> float:
        return float(
            painting.paint_background(np.random.default_rng(3), size_px=96, clutter=clutter).std(axis=(0, 1)).max()
        )

    assert business(0.0) < 0.1
    assert 5.0 < business(0.4) < business(1.0)


def test_covering_hides_about_half_of_the_object_and_nothing_else() -> None:
    picture, background = painted()
    outline = make_outline("square", side_px=32.0, angle=0.0, stretch=1.0).moved_by(np.array([30.0, 30.0]))
    before = picture.copy()
    cover_half(np.random.default_rng(0), picture, background, outline.box_4)
    changed = np.abs(picture - before).max(axis=2) > 0
    assert 0.4 < changed[30:62, 30:62].mean() < 0.6
    changed[28:64, 28:64] = False
    assert not changed.any()


def test_an_image_takes_a_few_milliseconds() -> None:
    dataset = make_shapes(settings(), "train")
    dataset.image(0)
    times = []
    for index in range(1, 40):
        start = time.thread_time()
        dataset.image(index)
        times.append(time.thread_time() - start)
    assert np.median(times) < 0.012
