"""Splits: held-out images, images in common, and the fingerprint."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distune.config.data import DigitsData, ShapesData, VocData
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset, Subset
from distune.data.splits import hold_out, take_share
from distune.errors import DataError
from support.datasets import MemoryDataset, annotate, coco_settings, make_coco, make_voc, write_image, write_voc_list


def files(dataset: DetectionDataset) -> list[str]:
    return [dataset.annotations(index).file for index in range(len(dataset))]


def voc(root: Path, **settings: object) -> VocData:
    return VocData.model_validate({"kind": "voc", "root": str(root), **settings})


@given(
    num_images=st.integers(3, 40),
    search=st.floats(0.01, 0.5),
    test=st.floats(0.01, 0.49),
    seed=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
)
def test_holding_out_divides_the_images_whatever_their_order(
    num_images: int, search: float, test: float, seed: int, order: Random
) -> None:
    images = [annotate([(0, 0, 9, 9)], [1], index=index) for index in range(num_images)]
    parts = hold_out(MemoryDataset(images), {"search": search, "test": test}, seed=seed)
    assert sorted(name for part in parts.values() for name in files(part)) == sorted(image.file for image in images)
    assert len(parts["search"]) == min(max(1, round(search * num_images)), num_images - 2)
    assert min(map(len, parts.values())) >= 1
    shuffled = list(images)
    order.shuffle(shuffled)
    again = hold_out(MemoryDataset(shuffled), {"search": search, "test": test}, seed=seed)
    assert {name: set(files(part)) for name, part in parts.items()} == {
        name: set(files(part)) for name, part in again.items()
    }


def test_a_share_of_the_training_images_is_part_of_a_larger_one(tmp_path: Path) -> None:
    make_coco(tmp_path)
    whole, half, few = (build_splits(coco_settings(tmp_path, train_share=share)) for share in (1.0, 0.5, 0.2))
    num_images = len(whole.train)
    assert (len(half.train), len(few.train)) == (round(0.5 * num_images), round(0.2 * num_images))
    assert set(files(few.train)) < set(files(half.train)) < set(files(whole.train))
    assert files(half.search) == files(whole.search)
    assert f"split train: {len(half.train)} of {num_images} images are used (data.train_share)" in half.notes
    assert len({each.fingerprint for each in (whole, half, few)}) == 3


def test_a_share_of_too_few_images_is_refused_with_the_setting() -> None:
    one = MemoryDataset([annotate([(0, 0, 9, 9)], [1], index=0)])
    with pytest.raises(DataError, match=r"data\.train_share = 0\.5: .*set it to 1"):
        take_share(one, 0.5)


def test_holding_out_keeps_the_order_of_the_images_and_depends_on_the_seed() -> None:
    images = [annotate([(0, 0, 9, 9)], [1], index=index) for index in range(30)]
    parts = hold_out(MemoryDataset(images), {"search": 0.4})
    for part in parts.values():
        ids = [part.annotations(index).image_id for index in range(len(part))]
        assert ids == sorted(ids)
    assert files(parts["search"]) != [image.file for image in images[:12]]
    assert files(parts["search"]) != files(hold_out(MemoryDataset(images), {"search": 0.4}, seed=1)["search"])
    with_test = hold_out(MemoryDataset(images), {"search": 0.4, "test": 0.2})
    assert files(with_test["search"]) == files(parts["search"])


def test_too_few_images_cannot_be_divided() -> None:
    one, two = [annotate([], [])], [annotate([], [], index=index) for index in range(2)]
    with pytest.raises(DataError, match="has 1 image, too few: no search images can be held out"):
        hold_out(MemoryDataset(one), {"search": 0.5})
    with pytest.raises(DataError, match="has 2 images, too few: no search and test images"):
        hold_out(MemoryDataset(two), {"search": 0.5, "test": 0.1})


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


def test_images_without_boxes_are_left_out_of_the_training_split_alone(tmp_path: Path) -> None:
    make_coco(tmp_path, {"train": 6, "val": 3})  # the last image of each split has no box
    kept = build_splits(coco_settings(tmp_path))
    dropped = build_splits(coco_settings(tmp_path, keep_empty_images=False))
    assert [len(kept.train), len(dropped.train)] == [6, 5]
    assert [len(kept.search), len(dropped.search)] == [3, 3]
    assert dropped.train.name == "train"
    note = "split train: 1 of 6 images without boxes are left out (data.keep_empty_images)"
    assert [line for line in dropped.notes if line not in kept.notes] == [note]
    assert dropped.fingerprint != kept.fingerprint
    none_empty = make_voc(tmp_path / "voc", {"train": 5, "val": 3})
    both = [build_splits(voc(none_empty, search_set="val", keep_empty_images=keep)) for keep in (True, False)]
    assert both[0].fingerprint == both[1].fingerprint
    assert both[0].notes == both[1].notes


def test_held_out_images_do_not_depend_on_whether_empty_ones_are_trained_on(tmp_path: Path) -> None:
    make_coco(tmp_path, {"train": 12})
    held = [build_splits(coco_settings(tmp_path, search=None, keep_empty_images=keep)).search for keep in (True, False)]
    names = [[split.annotations(index).file for index in range(len(split))] for split in held]
    assert names[0] == names[1]


def test_an_image_that_scale_jitter_would_shrink_to_nothing_is_skipped(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 5, "val": 3})
    write_image(tmp_path / "JPEGImages" / "train_001.jpg", np.zeros((4, 400, 3), dtype=np.uint8))
    text = (tmp_path / "Annotations" / "train_001.xml").read_text()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>4</ymax></bndbox>"
    text = re.sub("<bndbox>.*?</bndbox>", box, re.sub("<size>.*</size>", "", text))
    (tmp_path / "Annotations" / "train_001.xml").write_text(text)
    sizes = {"min_size_px": 320, "max_size_px": 320, "search_set": "val"}
    assert build_splits(voc(tmp_path, **sizes)).faults == ()
    jitter = {"augmentation": {"scale_jitter": [0.1, 2.0]}}
    faults = build_splits(voc(tmp_path, **sizes, **jitter)).faults
    assert faults == ("JPEGImages/train_001.jpg: is too thin: 400 x 4 pixels become 32 x 0",)


@pytest.mark.parametrize("kind", [ShapesData, DigitsData])
def test_the_fingerprint_of_generated_data_depends_only_on_settings_that_change_an_image(
    kind: type[ShapesData | DigitsData],
) -> None:
    def of(**settings: object) -> str:
        return build_splits(kind.model_validate(settings)).fingerprint

    base = of()
    assert of(max_size_px=200, augmentation={"vertical_flip": 0.5}) == base
    assert of(aspect_ratio_group_factor=0, repeat_threshold=0.5) == base
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
