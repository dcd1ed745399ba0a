"""Settings that follow from measurements of images and boxes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.data.epoch_batches import EpochBatches
from distune.draft.measurements import Measurements, measure
from distune.draft.recommend import MEDIAN_BOX_PX, SMALLEST_BOX_PX, recommend
from distune.errors import DataError
from support.datasets import MemoryDataset, annotate


def measured(
    *,
    num_images: int = 400,
    short_side_px: int = 480,
    aspect_ratio: float = 1.5,
    box_sides: tuple[float, float, float] = (0.08, 0.1, 0.2),
) -> Measurements:
    return Measurements(
        num_images=num_images,
        num_boxes=1000,
        short_side_px=short_side_px,
        aspect_ratio=aspect_ratio,
        box_sides=box_sides,
    )


@given(
    num_images=st.integers(1, 200_000),
    short_side_px=st.integers(16, 5000),
    aspect_ratio=st.floats(1, 8),
    side=st.floats(0.002, 1),
    has_gpu=st.booleans(),
)
def test_recommendations_are_within_their_limits(
    num_images: int, short_side_px: int, aspect_ratio: float, side: float, has_gpu: bool
) -> None:
    given = measured(
        num_images=num_images,
        short_side_px=short_side_px,
        aspect_ratio=aspect_ratio,
        box_sides=(side / 2, side, min(1, 2 * side)),
    )
    found = recommend(given, has_gpu=has_gpu)
    assert 128 <= found.min_size_px.value <= (800 if has_gpu else 320)
    assert found.min_size_px.value % 32 == 0
    assert found.max_size_px.value >= found.min_size_px.value
    assert 6 <= found.epochs.value <= 60
    assert found.teacher_epochs.value == 2 * found.epochs.value
    assert 1 <= found.batch_size.value <= max(1, num_images // 4)
    assert found.grace_epochs.value < found.epochs.value
    assert found.startup_trials.value < found.num_trials.value
    assert 0.25 <= found.anchor_scale.value <= 1


def test_images_are_as_large_as_their_boxes_need() -> None:
    large, small = (recommend(measured(box_sides=(s / 2, s, 2 * s)), has_gpu=False) for s in (0.4, 0.1))
    assert large.min_size_px.value < small.min_size_px.value
    for side, found in ((0.4, large), (0.1, small)):
        assert side * found.min_size_px.value >= MEDIAN_BOX_PX
        assert side / 2 * found.min_size_px.value >= SMALLEST_BOX_PX
    assert large.anchor_scale.value > small.anchor_scale.value


def test_boxes_too_small_for_a_cpu_are_said() -> None:
    tiny = measured(box_sides=(0.01, 0.02, 0.04), short_side_px=2000)
    on_cpu, on_gpu = (recommend(tiny, has_gpu=has_gpu).min_size_px for has_gpu in (False, True))
    assert (on_cpu.value, on_gpu.value) == (320, 800)
    assert "800 would be better" in on_cpu.reason
    assert "would be" not in on_gpu.reason


def test_images_are_never_enlarged_by_more_than_a_step() -> None:
    assert recommend(measured(short_side_px=200, box_sides=(0.01, 0.02, 0.1)), has_gpu=True).min_size_px.value == 224


def test_few_images_train_for_more_epochs() -> None:
    few, many = (recommend(measured(num_images=count), has_gpu=False).epochs.value for count in (100, 2000))
    assert few > many


@pytest.mark.parametrize(("num_images", "batch_size"), [(1, 1), (7, 1), (10, 2), (18, 4), (403, 4)])
def test_the_stated_steps_are_those_that_are_taken(num_images: int, batch_size: int) -> None:
    found = recommend(measured(num_images=num_images), has_gpu=False)
    assert found.batch_size.value == batch_size
    batches = EpochBatches(num_images=num_images, batch_size=batch_size, seed=0)
    steps = int(found.epochs.value) * len(batches)
    assert found.epochs.reason == f"{steps} steps of {batch_size} of {num_images} images"


def test_the_measurements_are_relative_to_the_shorter_side() -> None:
    images = [annotate([(0, 0, 12, 12), (0, 0, 24, 24)], [1, 1], index=index) for index in range(4)]
    image = images[0]
    found = measure(MemoryDataset(images))
    assert found.short_side_px == min(image.width, image.height)
    assert found.aspect_ratio == max(image.width, image.height) / min(image.width, image.height)
    assert found.box_sides[0] == pytest.approx(12 / found.short_side_px)
    assert found.num_boxes == 8
    with pytest.raises(DataError, match="no boxes"):
        measure(MemoryDataset([annotate([], [])]))
