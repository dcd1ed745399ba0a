"""Reading VOC folders: what boxes mean, what is skipped and named, what stops."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from distune.config.data import VocData
from distune.data.build import build_splits
from distune.data.check import check_splits
from distune.data.dataset import DetectionDataset
from distune.data.splits import Splits
from distune.errors import DataError
from support.datasets import VocObject, corrupt, make_voc, write_voc_image, write_voc_list

GOOD = VocObject("cat", (11, 11, 30, 30))


def build(root: Path, **settings: object) -> Splits:
    return build_splits(VocData.model_validate({"kind": "voc", "root": str(root), "search_set": "val", **settings}))


def with_objects(folder: Path, objects: list[VocObject], **image: object) -> Path:
    """A sound set, and one more training image, the first, with the given objects."""
    make_voc(folder, {"train": 6, "val": 3})
    write_voc_image(folder, "added", objects, **image)  # type: ignore[arg-type]
    write_voc_list(folder, "train", ["added", *(f"train_{number:03d}" for number in range(6))])
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "Annotations" / "added.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_inclusive_corners_from_one_become_edges_from_zero(tmp_path: Path) -> None:
    image = build(with_objects(tmp_path, [VocObject("cat", (1, 1, 64, 48)), GOOD])).train.annotations(0)
    assert image.boxes_N4.tolist() == [[0, 0, 64, 48], [10, 10, 30, 30]]
    assert image.areas_N.tolist() == [64 * 48, 400]


def test_boxes_across_the_border_are_clipped_and_no_fault(tmp_path: Path) -> None:
    splits = build(with_objects(tmp_path, [VocObject("cat", (0, -3, 70, 20))]))
    assert splits.train.annotations(0).boxes_N4.tolist() == [[0, 0, 64, 20]]
    assert splits.faults == ()


def test_a_box_without_area_is_named_and_skipped(tmp_path: Path) -> None:
    splits = build(with_objects(tmp_path, [GOOD, VocObject("dog", (5, 5, 5, 5))]))
    assert splits.faults == ("Annotations/added.xml: box 2 (dog) has no area",)
    assert splits.train.annotations(0).labels_N.tolist() == [1]


def test_difficult_is_read(tmp_path: Path) -> None:
    image = build(with_objects(tmp_path, [GOOD, VocObject("dog", (1, 1, 9, 9), difficult=True)])).train.annotations(0)
    assert image.difficult_N.tolist() == image.ignored_N.tolist() == [False, True]
    assert not image.crowd_N.any()


def test_a_missing_coordinate_is_a_fault_of_the_box(tmp_path: Path) -> None:
    with_objects(tmp_path, [GOOD, VocObject("dog", (7, 1, 9, 9))])
    edit(tmp_path, "<xmin>7</xmin>", "<xmin>left</xmin>")
    assert build(tmp_path).faults == (
        "Annotations/added.xml: box 2 (dog) has a coordinate that is not a finite number",
    )


def test_a_size_of_zero_states_nothing_and_one_wrong_size_costs_its_image(tmp_path: Path) -> None:
    zero = build(with_objects(tmp_path / "zero", [GOOD], stated_size=(0, 0)))
    assert (zero.train.annotations(0).width, zero.train.annotations(0).height) == (64, 48)
    assert zero.faults == ()
    wrong = build(with_objects(tmp_path / "wrong", [GOOD], stated_size=(48, 64)))
    assert wrong.faults == ("JPEGImages/added.jpg: has 64 x 48 pixels, but its annotations are for 48 x 64",)
    assert len(wrong.train) == len(zero.train) - 1


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".bmp"])
def test_images_of_other_kinds_are_found(tmp_path: Path, suffix: str) -> None:
    splits = build(with_objects(tmp_path, [GOOD], suffix=suffix))
    assert splits.train.annotations(0).file == f"JPEGImages/added{suffix}"
    assert splits.train.image(0).shape == (3, 48, 64)


def test_lists_are_joined_by_plus_and_hold_an_image_once(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 3, "more": 2, "val": 2})
    write_voc_list(tmp_path, "again", ["train_002", "more_000  1"])
    splits = build(tmp_path, train_set="train + more+again")
    names = [Path(splits.train.annotations(index).file).stem for index in range(len(splits.train))]
    assert names == ["train_000", "train_001", "train_002", "more_000", "more_001"]


def test_both_years_train_and_one_tests(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOC2007", {"trainval": 3, "test": 2})
    make_voc(tmp_path / "VOC2012", {"trainval": 4}, seed=1)
    years = {"train_set": "VOC2007/trainval+VOC2012/trainval", "test_set": "VOC2007/test"}
    splits = build(tmp_path, **years, search_set=None)
    assert splits.test is not None

    def folders(dataset: DetectionDataset) -> set[str]:
        return {dataset.annotations(index).file.split("/")[0] for index in range(len(dataset))}

    assert len(splits.train) + len(splits.search) == 7
    assert folders(splits.train) == {"VOC2007", "VOC2012"}
    assert len(splits.test) == 2
    assert folders(splits.test) == {"VOC2007"}


def test_classes_are_collected_sorted_from_all_splits(tmp_path: Path) -> None:
    with_objects(tmp_path, [GOOD])
    write_voc_image(tmp_path, "rare", [VocObject("ant", (1, 1, 9, 9))])
    write_voc_list(tmp_path, "val", ["rare"])
    assert build(tmp_path).classes == ("ant", "cat", "dog")


def test_a_class_list_sets_the_order_of_the_labels(tmp_path: Path) -> None:
    splits = build(with_objects(tmp_path, [GOOD]), classes=["dog", "cat", "unicorn"])
    assert splits.classes == ("dog", "cat", "unicorn")
    assert splits.train.annotations(0).labels_N.tolist() == [2]


def test_a_class_list_with_a_misspelled_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'dgo; did you mean "dog"\?\nThe data have cat \(\d+ boxes\), dog') as error:
        build(make_voc(tmp_path), classes=["cat", "dgo"])
    assert "data.classes lists classes that the data do not have" in str(error.value)


def test_boxes_of_classes_that_are_not_listed_are_left_out_with_a_note(tmp_path: Path) -> None:
    with_objects(tmp_path, [*([GOOD] * 300), VocObject("zebra", (1, 1, 9, 9))])
    with pytest.raises(DataError, match="zebrra"):
        build(tmp_path, classes=["cat", "dog", "zebrra"])
    splits = build(tmp_path, classes=["dog", "cat"])
    assert splits.faults == ()
    assert splits.classes == ("dog", "cat")
    assert splits.notes == ("boxes of classes that data.classes does not list are left out: zebra (1)",)
    assert splits.train.annotations(0).labels_N.tolist() == [2] * 300


def test_an_object_without_a_name_is_a_fault_and_no_class(tmp_path: Path) -> None:
    splits = build(with_objects(tmp_path, [*([GOOD] * 100), VocObject("", (1, 1, 9, 9))]))
    assert splits.classes == ("cat", "dog")
    assert "box 101 (no known class)" in splits.faults[0]


def test_all_missing_files_are_listed_at_once(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 14, "val": 3})
    (tmp_path / "Annotations" / "train_000.xml").unlink()
    (tmp_path / "JPEGImages" / "val_001.jpg").unlink()
    with pytest.raises(DataError) as error:
        build(tmp_path, test_set="tset")
    message = str(error.value)
    assert "3 files or folders are missing" in message
    assert str(tmp_path) in message
    assert "Annotations/train_000.xml" in message
    assert "JPEGImages/val_001.jpg" in message
    assert "ImageSets/Main/tset.txt; known are train, val" in message
    for number in range(1, 14):
        (tmp_path / "JPEGImages" / f"train_{number:03d}.jpg").unlink()
    with pytest.raises(DataError, match=r"15 files or folders are missing(\n  .*){10}\n  \.\.\. and 5 more"):
        build(tmp_path)


def test_a_missing_root_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no such folder.*--set data\.root"):
        build(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"data\.root is missing"):
        build_splits(VocData(kind="voc"))
    with pytest.raises(DataError, match=r"(?s)2 files or folders.*Annotations/.*JPEGImages/.*distune init"):
        build(tmp_path)


def test_a_split_without_boxes_stops(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_voc_image(tmp_path, split, [])
        write_voc_list(tmp_path, split, [split])
    with pytest.raises(DataError, match="split train: no boxes in 1 images"):
        build(tmp_path)


def test_more_than_one_percent_of_bad_boxes_stops(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split train: 3 of \d+ boxes are bad") as error:
        build(with_objects(tmp_path, [GOOD, *[VocObject("cat", (9, 9, 9, 9))] * 3]))
    assert "Annotations/added.xml: box 4 (cat) has no area" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"<annotation><object>",
        b"",
        b'<!DOCTYPE annotation [<!ENTITY a "aaaa">]><annotation><filename>&a;</filename></annotation>',
        b"\xff\xfe\x00",
    ],
    ids=["truncated", "empty", "entities", "binary"],
)
def test_an_unreadable_xml_is_a_fault_of_its_image(tmp_path: Path, content: bytes) -> None:
    with_objects(tmp_path, [GOOD])
    (tmp_path / "Annotations" / "added.xml").write_bytes(content)
    splits = build(tmp_path)
    assert len(splits.train) == 6
    assert splits.faults[0].startswith("Annotations/added.xml: cannot be read as XML (")


def test_a_file_that_is_no_image_is_a_fault_and_skipped(tmp_path: Path) -> None:
    with_objects(tmp_path, [GOOD])
    (tmp_path / "JPEGImages" / "added.jpg").write_bytes(b"no image")
    splits = build(tmp_path)
    assert len(splits.train) == 6
    assert splits.faults[0].startswith("JPEGImages/added.jpg: cannot be decoded (")
    assert str(tmp_path) not in splits.faults[0]


def test_a_truncated_image_is_found_by_decoding(tmp_path: Path) -> None:
    corrupt(with_objects(tmp_path, [GOOD]) / "JPEGImages" / "added.jpg")
    splits = build(tmp_path)
    assert splits.faults == ()
    lines = check_splits(splits)
    assert len(lines) == 1
    assert lines[0].startswith("JPEGImages/added.jpg: cannot be decoded (")
    with pytest.raises(DataError, match="added"):
        splits.train.image(0)


def test_a_gray_image_becomes_rgb(tmp_path: Path) -> None:
    gray = np.full((48, 64), 77, dtype=np.uint8)
    assert (build(with_objects(tmp_path, [GOOD], pixels=gray, suffix=".png")).train.image(0) == 77).all()


@pytest.fixture
def bccd() -> Path:
    folder = os.environ.get("DISTUNE_BCCD")
    if not folder:
        pytest.skip("DISTUNE_BCCD does not name the folder of the BCCD images")
    return Path(folder)


def test_bccd_reads_with_its_two_known_faults(bccd: Path) -> None:
    splits = build(bccd, test_set="test")
    assert splits.test is not None
    assert [len(splits.train), len(splits.search), len(splits.test)] == [205, 87, 72]
    assert splits.classes == ("Platelets", "RBC", "WBC")
    assert sorted(splits.faults) == [
        "Annotations/BloodImage_00338.xml: box 13 (RBC) has no area",
        "Annotations/BloodImage_00343.xml: box 4 (RBC) has no area",
    ]
    counts = np.zeros(4, dtype=np.int64)
    for split in (splits.train, splits.search, splits.test):
        for index in range(len(split)):
            counts += np.bincount(split.annotations(index).labels_N, minlength=4)
    assert counts.tolist() == [0, 361, 4155 - 2, 372]
    assert check_splits(splits, limit=20) == []
