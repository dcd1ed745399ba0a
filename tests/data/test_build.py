"""Splits: held-out images, images in common, and the fingerprint."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.config.data import DigitsData, ShapesData, VocData
from distune.data.build import build_splits, check_classes
from distune.data.dataset import DetectionDataset, Subset
from distune.data.splits import hold_out
from distune.errors import DataError
from support.datasets import MemoryDataset, annotate, coco_settings, make_coco, make_voc, write_image, write_voc_list


def files(dataset: DetectionDataset) -> list[str]:
    return [dataset.annotations(index).file for index in range(len(dataset))]


def voc(root: Path, **settings: object) -> VocData:
    return VocData.model_validate({"kind": "voc", "root": str(root), **settings})


@given(num_images=st.integers(2, 40), fraction=st.floats(0.01, 0.99), order=st.randoms(use_true_random=False))
def test_holding_out_divides_the_images_whatever_their_order(num_images: int, fraction: float, order: object) -> None:
    images = [annotate([(0, 0, 9, 9)], [1], index=index) for index in range(num_images)]
    rest, held = hold_out(MemoryDataset(images), fraction=fraction)
    assert sorted(files(rest) + files(held)) == sorted(image.file for image in images)
    assert len(held) == min(max(1, round(fraction * num_images)), num_images - 1)
    shuffled = list(images)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(files(hold_out(MemoryDataset(shuffled), fraction=fraction)[1])) == set(files(held))


def test_holding_out_keeps_the_order_of_the_images() -> None:
    images = [annotate([(0, 0, 9, 9)], [1], index=index) for index in range(30)]
    rest, held = hold_out(MemoryDataset(images), fraction=0.4)
    for part in (rest, held):
        ids = [part.annotations(index).image_id for index in range(len(part))]
        assert ids == sorted(ids)
    assert files(held) != [image.file for image in images[:12]]


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="has 1 image, of which none can be held out"):
        hold_out(MemoryDataset([annotate([], [])]), fraction=0.5)


def test_a_missing_search_split_is_taken_from_the_training_split(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 20})
    splits = build_splits(voc(tmp_path, search_share=0.3))
    assert (len(splits.train), len(splits.search), splits.test) == (14, 6, None)
    assert (splits.train.name, splits.search.name) == ("train", "search")
    assert isinstance(splits.train, Subset)
    coco = build_splits(coco_settings(make_coco(tmp_path / "coco", {"train": 10}), search=None))
    assert (len(coco.train), len(coco.search)) == (8, 2)


def test_splits_with_a_common_image_are_refused(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 4, "val": 3})
    write_voc_list(tmp_path, "all", ["val_001", "train_000"])
    with pytest.raises(
        DataError, match=r"1 images are both in split train and in split search.*\n  JPEGImages/train_000.jpg"
    ):
        build_splits(voc(tmp_path, search_set="all"))
    with pytest.raises(DataError, match="in split search and in split test"):
        build_splits(voc(tmp_path, search_set="val", test_set="val"))


def test_a_search_split_without_boxes_is_refused(tmp_path: Path) -> None:
    make_coco(tmp_path)
    text = (tmp_path / "val.json").read_text()
    (tmp_path / "val.json").write_text(text.replace('"iscrowd": 0', '"iscrowd": 1'))
    with pytest.raises(DataError, match="split search: no boxes in 3 images"):
        build_splits(coco_settings(tmp_path))


def test_the_fingerprint_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    make_voc(tmp_path / "here", {"train": 5, "val": 3})
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (build_splits(voc(tmp_path / name, search_set="val")).fingerprint for name in ("here", "there"))
    assert here == there


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("Annotations/train_000.xml", "<difficult>0", "<difficult>1"),
        ("Annotations/val_001.xml", "<xmin>", "<xmin>1"),
        ("ImageSets/Main/train.txt", "train_003\n", ""),
        ("Annotations/train_000.xml", "<name>cat", "<name>dog"),
    ],
)
def test_the_fingerprint_depends_on_the_annotations(tmp_path: Path, file: str, old: str, new: str) -> None:
    settings = voc(make_voc(tmp_path, {"train": 5, "val": 3}), search_set="val")
    before = build_splits(settings).fingerprint
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace(old, new, 1))
    try:
        assert build_splits(settings).fingerprint != before
    except DataError as error:  # the change made a box bad
        pytest.fail(str(error))


def test_the_fingerprint_depends_on_the_pixels(tmp_path: Path) -> None:
    settings = voc(make_voc(tmp_path, {"train": 5, "val": 3}), search_set="val")
    before = build_splits(settings).fingerprint
    path = tmp_path / "JPEGImages" / "train_002.jpg"
    write_image(path, np.full((48, 64, 3), 90, dtype=np.uint8))
    assert build_splits(settings).fingerprint != before


def test_the_fingerprint_depends_on_how_the_data_is_split_and_named(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 10, "val": 3})
    kinds: list[dict[str, object]] = [{}, {"search_share": 0.5}, {"search_set": "val"}, {"classes": ["dog", "cat"]}]
    assert len({build_splits(voc(tmp_path, **kind)).fingerprint for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("kind", [ShapesData, DigitsData])
def test_the_fingerprint_of_generated_data_depends_only_on_settings_that_change_an_image(
    kind: type[ShapesData | DigitsData],
) -> None:
    def of(**settings: object) -> str:
        return build_splits(kind.model_validate(settings)).fingerprint

    base = of()
    assert of(max_size_px=200, augmentation={"vertical_flip": 0.5}) == base
    changes: list[dict[str, object]] = [
        {"seed": 1},
        {"num_train": 399},
        {"num_classes": 3},
        {"blurred_share": 0.3},
        {"image_size_px": 72},
    ]
    assert len({base, *(of(**change) for change in changes)}) == len(changes) + 1


@pytest.mark.parametrize("kind", [ShapesData, DigitsData])
def test_generated_data_without_test_images_has_no_test_split(kind: type[ShapesData | DigitsData]) -> None:
    assert build_splits(kind(num_test=0)).test is None
    test = build_splits(kind(num_test=7)).test
    assert test is not None
    assert len(test) == 7


@pytest.mark.parametrize(
    ("classes", "counts", "fits"),
    [
        (["a", "b"], {"a": 5, "b": 5}, True),
        (["a", "b", "c"], {"a": 5, "b": 5}, True),
        (["a", "b"], {"a": 500, "b": 500, "c": 1}, True),
        (["a", "b"], {"a": 500, "b": 500, "": 1}, True),
        (["a", "b", "d"], {"a": 500, "b": 500, "c": 1}, False),
        (["a", "b", "d"], {"a": 500, "b": 500, "": 1}, True),
        (["a", "b"], {"a": 50, "b": 50, "c": 2}, False),
    ],
)
def test_class_lists_are_checked(classes: list[str], counts: dict[str, int], fits: bool) -> None:
    if fits:
        check_classes(classes, counts, source="here")
    else:
        with pytest.raises(DataError, match="here: the list of classes does not fit the annotations"):
            check_classes(classes, counts, source="here")
