"""The stream: an epoch depends only on the seed and its number; corrupt images are skipped."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from distune.config.data import ShapesData
from distune.data.build import build_splits, build_stream
from distune.data.dataset import DetectionDataset, Subset
from distune.data.epoch_batches import epoch_order
from distune.data.shapes.shapes_dataset import make_shapes
from distune.data.stream import Batch, TrainingStream
from distune.errors import DataError
from distune.training.evaluation.predict_and_score import batches_of_images
from support.datasets import MemoryDataset, annotate, coco_settings, corrupt, make_coco

SHAPES = ShapesData.model_validate(
    {
        "kind": "shapes",
        "num_train": 11,
        "image_size_px": 48,
        "min_size_px": 64,
        "max_size_px": 64,
        "augmentation": {"horizontal_flip": 0.5, "vertical_flip": 0.5, "color_jitter": 0.3},
    }
)
SMALL = ShapesData(kind="shapes", min_size_px=32, max_size_px=32)


def stream(dataset: DetectionDataset | None = None, **values: object) -> TrainingStream:
    given = {"settings": SHAPES, "batch_size": 4, "seed": 3, **values}
    return build_stream(make_shapes(SHAPES, "train") if dataset is None else dataset, **given)  # type: ignore[arg-type]


def gray(count: int, *, bad: tuple[int, ...] = ()) -> MemoryDataset:
    """Images whose pixels all have the value of their index."""
    images = [annotate([(2, 2, 12, 12)], [1], index=index, size=(32, 32)) for index in range(count)]
    return MemoryDataset(images, corrupt=bad)


def indices(batches: list[Batch]) -> list[int]:
    return [int(target["image_index"]) for batch in batches for target in batch.targets]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first.images, second.images, strict=True))
        for target, other_target in zip(first.targets, second.targets, strict=True):
            assert target.keys() == other_target.keys()
            assert all(torch.equal(target[name], other_target[name]) for name in target)


def test_a_batch_has_images_and_targets_of_the_documented_types() -> None:
    batch = next(iter(stream().epoch(0)))
    assert len(batch) == len(batch.images) == len(batch.targets) == 4
    for image, target in zip(batch.images, batch.targets, strict=True):
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
        count = len(target["labels"])
        assert target["boxes"].shape == (count, 4)
        assert target["boxes"].dtype == torch.float32
        assert target["image_index"].shape == ()
        assert {target[name].dtype for name in ("labels", "box_index", "image_index")} == {torch.int64}


def test_targets_have_the_indices_of_image_and_boxes() -> None:
    dataset = make_shapes(SHAPES, "train")
    for batch in stream(dataset).plain_batches(range(11)):
        for target in batch.targets:
            image = dataset.annotations(int(target["image_index"]))
            origin = target["box_index"].numpy()
            assert np.array_equal(image.labels_N[origin], target["labels"].numpy())
            assert np.allclose(image.boxes_N4[origin] * 64 / 48, target["boxes"].numpy(), atol=1e-3)


def test_an_epoch_holds_each_image_once_and_drops_the_last_incomplete_batch() -> None:
    parts = stream()
    batches = list(parts.epoch(0))
    assert len(parts) == len(batches) == 2
    assert len(set(indices(batches))) == 8


def test_an_incomplete_batch_is_kept_when_it_is_the_only_one() -> None:
    parts = stream(gray(3), settings=SMALL)
    assert len(parts) == 1
    assert sorted(indices(list(parts.epoch(0)))) == [0, 1, 2]


def test_the_order_is_another_in_each_epoch_and_for_each_seed() -> None:
    orders = [epoch_order(20, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 6
    assert all(sorted(order) == list(range(20)) for order in orders)
    parts = stream()
    assert indices(list(parts.epoch(0))) == epoch_order(11, seed=3, epoch=0)[:8]


def test_an_epoch_does_not_depend_on_earlier_ones_or_on_global_random_numbers() -> None:
    fresh = list(stream().epoch(2))
    used = stream()
    for epoch in (0, 1):
        list(used.epoch(epoch))
    torch.manual_seed(99)
    assert_same(list(used.epoch(2)), fresh)


def test_augmentation_depends_on_seed_epoch_and_image_but_not_on_the_batch() -> None:
    def by_image(epoch: int, *, batch_size: int = 11, seed: int = 3) -> dict[int, torch.Tensor]:
        return {
            int(target["image_index"]): image
            for batch in stream(batch_size=batch_size, seed=seed).epoch(epoch)
            for image, target in zip(batch.images, batch.targets, strict=True)
        }

    base = by_image(0)
    assert len(base) == 11
    smaller = by_image(0, batch_size=1)
    assert all(torch.equal(base[index], smaller[index]) for index in range(11))
    for other in (by_image(1), by_image(0, seed=4)):
        assert sum(torch.equal(base[index], other[index]) for index in range(11)) < 3


def test_global_random_numbers_are_not_used() -> None:
    def states() -> tuple[bytes, object, str]:
        return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())  # noqa: NPY002

    before = states()
    parts = stream()
    for _ in parts.epoch(0):
        assert states() == before
    list(parts.plain_batches([1, 2]))
    assert states() == before


def test_plain_batches_are_resized_unchanged_and_in_the_order_given() -> None:
    parts = stream(gray(9), settings=SHAPES, batch_size=2)
    batches = list(parts.plain_batches([5, 0, 5, 8, 3]))
    assert indices(batches) == [5, 0, 5, 8, 3]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    values = [float(image.mean()) * 255 for batch in batches for image in batch.images]
    assert values == pytest.approx([5, 0, 5, 8, 3])
    assert list(parts.plain_batches([])) == []


def test_plain_batches_may_be_read_within_an_epoch() -> None:
    parts = stream()
    mixed = []
    for batch in parts.epoch(1):
        list(parts.plain_batches([0]))
        mixed.append(batch)
    assert_same(mixed, list(stream().epoch(1)))


def test_crowd_and_difficult_boxes_are_not_trained_on() -> None:
    boxes = [(0.0, 0.0, 9.0, 9.0), (10.0, 0.0, 19.0, 9.0), (0.0, 10.0, 9.0, 19.0)]
    marks = annotate(boxes, [1, 2, 1], crowd=[True, False, False], difficult=[False, False, True], size=(32, 32))
    only_crowd = annotate(boxes[:1], [1], crowd=[True], index=1, size=(32, 32))
    batch = next(stream(MemoryDataset([marks, only_crowd]), settings=SMALL).plain_batches([0, 1]))
    assert batch.targets[0]["labels"].tolist() == [2]
    assert batch.targets[0]["box_index"].tolist() == [1]
    assert batch.targets[1]["boxes"].shape == (0, 4)


def test_a_batch_moves_to_a_device_whole() -> None:
    moved = next(iter(stream().epoch(0))).to(torch.device("meta"))
    assert {image.device.type for image in moved.images} == {"meta"}
    assert {value.device.type for target in moved.targets for value in target.values()} == {"meta"}


def test_corrupt_images_are_skipped_and_named() -> None:
    parts = stream(gray(250, bad=(7, 200)), settings=SMALL)
    met = indices(list(parts.epoch(0)))
    assert set(parts.corrupt) <= {"7.png", "200.png"}
    assert not {7, 200} & set(met)
    assert len(met) == 248 - len(parts.corrupt)
    list(parts.epoch(1))
    list(parts.epoch(2))
    assert parts.corrupt == {f"{index}.png": "cannot be decoded (made so)" for index in (7, 200)}


def test_one_corrupt_image_never_stops_a_small_set() -> None:
    parts = stream(gray(6, bad=(1,)), settings=SMALL, batch_size=1)
    for epoch in range(3):
        assert sorted(indices(list(parts.epoch(epoch)))) == [0, 2, 3, 4, 5]


def test_more_than_one_percent_of_corrupt_images_stops_and_names_them() -> None:
    with pytest.raises(DataError, match=r"split memory: 2 of 50 images are corrupt") as error:
        list(stream(gray(50, bad=(11, 12)), settings=SMALL, batch_size=1).epoch(0))
    assert "11.png: cannot be decoded" in str(error.value)
    with pytest.raises(DataError, match="corrupt"):
        list(stream(gray(50, bad=(11, 12)), settings=SMALL).plain_batches([11, 12]))


def test_each_process_counts_corrupt_images_among_its_own() -> None:
    bad = tuple(epoch_order(300, seed=3, epoch=0)[:8:4])  # the first two of its first part
    assert not (set(bad) & set(epoch_order(300, seed=3, epoch=0)[1:4]))
    parts = stream(gray(300, bad=bad), settings=SMALL)
    parts.part = (0, 4)
    with pytest.raises(DataError, match=r"2 of 75 images are corrupt"):
        list(parts.epoch(0))
    parts.part = (1, 4)
    parts.corrupt.clear()
    assert len(list(parts.epoch(0))) == 75
    alone = stream(gray(300, bad=bad), settings=SMALL)
    assert sum(map(len, alone.epoch(0))) == 298


def test_each_process_that_evaluates_counts_corrupt_images_among_its_own() -> None:
    dataset = gray(300, bad=(0, 16))
    with pytest.raises(DataError, match="2 of 76 images are corrupt"):
        list(batches_of_images(dataset, batch_size=4, part=(0, 4)))
    assert sum(map(len, batches_of_images(dataset, batch_size=4))) == 298


def test_images_that_a_process_meets_in_later_epochs_count() -> None:
    parts = stream(gray(400, bad=(7, 80, 150)), settings=SMALL)
    parts.part = (0, 2)
    for epoch in range(12):  # the process is given all images in time, and less than 1% of them are corrupt
        list(parts.epoch(epoch))
    assert len(parts.corrupt) == 3


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="has no images"):
        stream(MemoryDataset([]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DetectionDataset:
    """Images in files, one of them corrupt."""
    root = make_coco(tmp_path_factory.mktemp("coco"), {"train": 8, "val": 3})
    corrupt(root / "train" / "000003.jpg")
    return build_splits(coco_settings(root)).train


@pytest.fixture(scope="module")
def workers(dataset: DetectionDataset) -> Iterator[TrainingStream]:
    """A stream with two worker processes, which end with it."""
    before = set(multiprocessing.active_children())
    parts = stream(dataset, batch_size=2, num_workers=2)
    yield parts
    parts.close()
    assert set(multiprocessing.active_children()) == before


class TestWorkers:
    """Worker processes change the speed and nothing else. They are slow to start, so one stream serves all tests."""

    def test_they_make_the_same_batches(self, dataset: DetectionDataset, workers: TrainingStream) -> None:
        alone = stream(dataset, batch_size=2)
        for epoch in (1, 0):
            assert_same(list(workers.epoch(epoch)), list(alone.epoch(epoch)))
        assert workers.corrupt == alone.corrupt
        assert list(workers.corrupt) == ["train/000003.jpg"]

    def test_an_epoch_left_early_does_not_change_the_next(
        self, dataset: DetectionDataset, workers: TrainingStream
    ) -> None:
        next(workers.epoch(0))
        assert_same(list(workers.epoch(4)), list(stream(dataset, batch_size=2).epoch(4)))

    def test_workers_do_not_use_global_random_numbers(self, workers: TrainingStream) -> None:
        before = torch.get_rng_state()
        list(workers.epoch(0))
        assert torch.equal(torch.get_rng_state(), before)

    def test_plain_batches_within_an_epoch(self, dataset: DetectionDataset, workers: TrainingStream) -> None:
        epoch = workers.epoch(0)
        first = next(epoch)
        alone = stream(dataset, batch_size=2)
        assert_same(list(workers.plain_batches([4, 0, 1])), list(alone.plain_batches([4, 0, 1])))
        assert_same([first, *epoch], list(alone.epoch(0)))

    def test_close_ends_them_and_a_new_epoch_starts_them_again(self, dataset: DetectionDataset) -> None:
        parts = stream(Subset(dataset, [0, 1]), batch_size=2, num_workers=1)
        before = len(multiprocessing.active_children())
        first = list(parts.epoch(0))
        assert len(multiprocessing.active_children()) == before + 1
        parts.close()
        assert len(multiprocessing.active_children()) == before
        assert_same(list(parts.epoch(0)), first)
        parts.close()


EVERYTHING = {
    "augmentation": {"photometric_distortion": 0.5, "zoom_out": 0.5, "iou_crop": True, "min_sizes_px": [32, 48]},
    "aspect_ratio_group_factor": 3,
    "repeat_threshold": 0.9,
}


def test_a_worker_makes_the_same_drawn_sizes_crops_groups_and_repeats(dataset: DetectionDataset) -> None:
    given = {"settings": ShapesData.model_validate({**SHAPES.model_dump(), **EVERYTHING}), "batch_size": 2}
    parts = stream(dataset, num_workers=1, **given)
    for epoch in (1, 0):
        assert_same(list(parts.epoch(epoch)), list(stream(dataset, **given).epoch(epoch)))
    parts.close()


def test_shapes_do_not_take_their_cache_to_other_processes(tmp_path: Path) -> None:
    dataset = make_shapes(SHAPES, "train")
    dataset.image(0)
    assert dataset.__getstate__()["_images"] == {}
    assert dataset.image(0) is dataset.image(0)


def test_epochs_requested_early_have_the_right_batches() -> None:
    parts = stream()
    first, second = parts.epoch(0), parts.epoch(1)
    assert_same(list(first), list(stream().epoch(0)))
    assert_same(list(second), list(stream().epoch(1)))


def test_copies_show_the_batches_of_the_first_epochs_again_in_another_order() -> None:
    plain = stream(batch_size=1)
    settings = SHAPES.model_copy(update={"augmentation": SHAPES.augmentation.model_copy(update={"copies": 2})})
    repeated = stream(settings=settings, batch_size=1)
    first = [list(repeated.epoch(number)) for number in range(4)]
    for number in (0, 1):
        assert_same(first[number], list(plain.epoch(number)))
        later, earlier = first[number + 2], {batch.key: batch for batch in first[number]}
        assert_same(later, [earlier[batch.key] for batch in later])
        assert indices(later) != indices(first[number])
    assert len({batch.key for batches in first for batch in batches}) == 2 * len(repeated)
    assert next(iter(plain.epoch(0))).key is None


def test_a_batch_that_lacks_an_image_has_another_key() -> None:
    settings = SMALL.model_copy(update={"augmentation": SMALL.augmentation.model_copy(update={"copies": 1})})
    keys = [next(iter(stream(gray(4, bad=bad), settings=settings, batch_size=4).epoch(0))).key for bad in ((), (2,))]
    assert keys[0] != keys[1]
