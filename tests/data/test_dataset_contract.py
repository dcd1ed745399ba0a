"""The contract of data sets, run over every kind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distune.config.data import DigitsData, ShapesData, VocData
from distune.data.build import AnyDataSettings, build_splits
from distune.data.dataset import DetectionDataset, Subset
from support.datasets import coco_settings, make_coco, make_voc


def shapes(folder: Path) -> AnyDataSettings:
    return ShapesData(kind="shapes", num_train=8, num_search=4, num_test=0, image_size_px=64)


def digits(folder: Path) -> AnyDataSettings:
    return DigitsData(kind="digits", num_train=8, num_search=4, num_test=0, num_classes=3)


def voc(folder: Path) -> AnyDataSettings:
    return VocData(kind="voc", root=str(make_voc(folder, {"train": 8, "val": 4})), search_set="val")


def coco(folder: Path) -> AnyDataSettings:
    return coco_settings(make_coco(folder, {"train": 8, "val": 4}))


@pytest.fixture(params=[shapes, digits, voc, coco], ids=lambda make: str(make.__name__))
def make_settings(request: pytest.FixtureRequest) -> Callable[[Path], AnyDataSettings]:
    made: Callable[[Path], AnyDataSettings] = request.param
    return made


@pytest.fixture
def dataset(make_settings: Callable[[Path], AnyDataSettings], tmp_path: Path) -> DetectionDataset:
    return build_splits(make_settings(tmp_path)).train


class TestDatasetContract:
    def test_annotations_are_arrays_of_one_length_and_of_the_stated_types(self, dataset: DetectionDataset) -> None:
        for index in range(len(dataset)):
            image = dataset.annotations(index)
            count = len(image)
            assert image.boxes_N4.shape == (count, 4)
            assert image.boxes_N4.dtype == np.float32
            assert image.labels_N.shape == (count,)
            assert image.labels_N.dtype == np.int64
            assert image.areas_N.shape == (count,)
            assert image.areas_N.dtype == np.float32
            assert image.crowd_N.shape == image.difficult_N.shape == image.ignored_N.shape == (count,)
            assert image.crowd_N.dtype == image.difficult_N.dtype == image.ignored_N.dtype == np.bool_
            assert len(image.tags_N) == count

    def test_boxes_have_an_area_and_lie_within_their_image(self, dataset: DetectionDataset) -> None:
        for index in range(len(dataset)):
            image = dataset.annotations(index)
            assert (image.boxes_N4[:, :2] >= 0).all()
            assert (image.boxes_N4[:, 2:] <= [image.width, image.height]).all()
            assert (image.boxes_N4[:, 2:] > image.boxes_N4[:, :2]).all()
            assert (image.areas_N > 0).all()

    def test_labels_are_one_to_c_and_every_class_occurs(self, dataset: DetectionDataset) -> None:
        labels = {int(label) for index in range(len(dataset)) for label in dataset.annotations(index).labels_N}
        assert labels == set(range(1, len(dataset.classes) + 1))

    def test_images_have_the_size_that_their_annotations_state(self, dataset: DetectionDataset) -> None:
        for index in range(len(dataset)):
            image, pixels = dataset.annotations(index), dataset.image(index)
            assert pixels.shape == (3, image.height, image.width)
            assert pixels.dtype == torch.uint8

    def test_files_and_ids_are_distinct_and_files_are_relative(self, dataset: DetectionDataset) -> None:
        images = [dataset.annotations(index) for index in range(len(dataset))]
        assert len({image.file for image in images}) == len({image.image_id for image in images}) == len(dataset)
        assert not any(Path(image.file).is_absolute() for image in images)

    def test_asking_twice_gives_the_same(self, dataset: DetectionDataset) -> None:
        assert torch.equal(dataset.image(1), dataset.image(1))
        assert np.array_equal(dataset.annotations(1).boxes_N4, dataset.annotations(1).boxes_N4)

    def test_an_index_beyond_the_end_is_refused(self, dataset: DetectionDataset) -> None:
        with pytest.raises(IndexError):
            dataset.annotations(len(dataset))
        with pytest.raises(IndexError):
            dataset.image(len(dataset))

    def test_it_goes_to_another_process_unchanged(self, dataset: DetectionDataset) -> None:
        before = dataset.image(2)
        copy: DetectionDataset = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(copy.image(2), before)
        assert np.array_equal(copy.annotations(2).boxes_N4, dataset.annotations(2).boxes_N4)

    def test_valid_data_has_no_faults(self, dataset: DetectionDataset) -> None:
        assert dataset.faults == ()

    def test_a_subset_renumbers_the_images(self, dataset: DetectionDataset) -> None:
        subset: DetectionDataset = Subset(dataset, [5, 2], name="two")
        assert (subset.name, len(subset), subset.classes) == ("two", 2, dataset.classes)
        assert subset.annotations(0).file == dataset.annotations(5).file
        assert torch.equal(subset.image(1), dataset.image(2))

    def test_splits_share_classes_but_no_image(
        self, make_settings: Callable[[Path], AnyDataSettings], tmp_path: Path
    ) -> None:
        splits = build_splits(make_settings(tmp_path))
        assert splits.train.classes == splits.search.classes == splits.classes
        assert (len(splits.train), len(splits.search), splits.test) == (8, 4, None)
        train, search = (
            {split.annotations(index).file for index in range(len(split))} for split in (splits.train, splits.search)
        )
        assert not train & search
        assert splits.fingerprint == build_splits(make_settings(tmp_path)).fingerprint
