"""Reading COCO's json: what boxes mean, what is skipped and named, what stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distune.data.build import build_splits
from distune.data.check import check_splits
from distune.data.splits import Splits
from distune.errors import DataError
from support.datasets import coco_settings, corrupt, make_coco


def build(root: Path) -> Splits:
    return build_splits(coco_settings(root))


def edit(root: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> Path:
    """Change the json of a split in place."""
    path = root / f"{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return root


def test_category_ids_with_gaps_become_labels(tmp_path: Path) -> None:
    make_coco(tmp_path, classes=("zebra", "ant", "moth"))
    edit(tmp_path, lambda content: content["categories"].reverse())
    dataset = build(tmp_path).train
    assert dataset.classes == ("zebra", "ant", "moth")
    assert dataset.annotations(0).labels_N.tolist() == [1, 2, 3]


def test_boxes_are_corners_and_areas_are_kept(tmp_path: Path) -> None:
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["annotations"][0].update(bbox=[2, 3, 10.5, 20], area=7.5))
    edit(tmp_path, lambda content: content["annotations"][1].pop("area"))
    image = build(tmp_path).train.annotations(0)
    assert image.boxes_N4[0].tolist() == [2, 3, 12.5, 23]
    assert image.areas_N[0] == 7.5
    x1, y1, x2, y2 = image.boxes_N4[1]
    assert image.areas_N[1] == (x2 - x1) * (y2 - y1)


def test_crowd_boxes_are_marked_and_images_without_boxes_are_kept(tmp_path: Path) -> None:
    train = build(make_coco(tmp_path)).train
    assert train.annotations(1).crowd_N[-1]
    assert train.annotations(1).crowd_N.sum() == 1
    assert train.annotations(1).ignored_N[-1]
    assert len(train) == 6
    assert train.annotations(5).boxes_N4.shape == (0, 4)
    assert train.annotations(5).image_id == 125


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [5, 5, 0, 9]}, r"\(cat\) has no area"),
        ({"bbox": [5, 5, 9, -1]}, r"\(cat\) has no area"),
        ({"bbox": [64, 5, 9, 9]}, r"\(cat\) is outside of the image"),
        ({"bbox": [5, 5, float("nan"), 9]}, "not a finite number"),
        ({"bbox": [5, 5, 9]}, "not a finite number"),
        ({"bbox": None}, "not a finite number"),
        ({"category_id": 99}, r"\(no known class\) is of a class that is not in the list"),
        ({"image_id": 4711}, "is of image 4711, which is not in images"),
    ],
)
def test_a_bad_box_is_named_and_skipped(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    make_coco(tmp_path)
    before = sum(len(build(tmp_path).train.annotations(index)) for index in range(6))
    edit(tmp_path, lambda content: content["annotations"][0].update(change))
    splits = build(tmp_path)
    assert len(splits.faults) == 1
    assert splits.faults[0].startswith("train.json: annotation 1000 ")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(splits.faults[0])
    assert sum(len(splits.train.annotations(index)) for index in range(6)) == before - 1


def test_more_than_one_percent_of_bad_boxes_stops(tmp_path: Path) -> None:
    def flatten(content: dict[str, Any]) -> None:
        for record in content["annotations"][:2]:
            record["bbox"][2] = 0

    with pytest.raises(DataError, match=r"split train: 2 of \d+ boxes are bad"):
        build(edit(make_coco(tmp_path), flatten))


def test_missing_files_of_all_splits_are_listed_at_once(tmp_path: Path) -> None:
    make_coco(tmp_path)
    (tmp_path / "train" / "000001.jpg").unlink()
    (tmp_path / "val.json").unlink()
    with pytest.raises(DataError) as error:
        build(tmp_path)
    assert "2 files or folders are missing" in str(error.value)
    assert "train/000001.jpg" in str(error.value)
    assert "val.json" in str(error.value)


def test_images_in_folders_below_are_found(tmp_path: Path) -> None:
    make_coco(tmp_path)
    (tmp_path / "train" / "deep").mkdir()
    (tmp_path / "train" / "000001.jpg").rename(tmp_path / "train" / "deep" / "a.jpg")
    edit(tmp_path, lambda content: content["images"][1].update(file_name="deep/a.jpg"))
    train = build(tmp_path).train
    assert train.annotations(1).file == "train/deep/a.jpg"
    assert train.image(1).shape == (3, 48, 64)


def test_an_image_without_a_size_is_measured(tmp_path: Path) -> None:
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["images"][0].update(width=0))
    assert build(tmp_path).train.annotations(0).width == 64
    (tmp_path / "train" / "000000.jpg").write_bytes(b"no image")
    splits = build(tmp_path)
    assert len(splits.train) == 5
    assert len(splits.faults) == 1
    assert splits.faults[0].startswith("train/000000.jpg: cannot be decoded")


def test_an_image_of_another_size_than_stated_is_left_out(tmp_path: Path) -> None:
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["images"][0].update(width=640, height=480))
    corrupt(tmp_path / "val" / "000001.jpg")
    splits = build(tmp_path)
    assert splits.faults == ("train/000000.jpg: has 64 x 48 pixels, but its annotations are for 640 x 480",)
    assert len(splits.train) == 5
    assert check_splits(splits)[0].startswith("val/000001.jpg: cannot be decoded")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must contain the lists images"),
        ("{}", "images, annotations, categories must be a list"),
        ('{"images": [], "categories": []}', "test set without labels"),
        ('{"images": [{}], "annotations": [], "categories": []}', "must have a whole number as id and a file_name"),
        ('{"images": [], "annotations": [], "categories": [{"id": "x"}]}', "must have a whole number as id and a name"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', "twice"),
        (
            '{"annotations": [], "categories": [], "images": '
            '[{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}',
            "twice",
        ),
    ],
)
def test_a_json_file_of_another_kind_is_refused(tmp_path: Path, text: str, words: str) -> None:
    make_coco(tmp_path)
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        build(tmp_path)
    assert str(tmp_path / "train.json") in str(error.value)


def test_splits_with_other_class_names_are_refused(tmp_path: Path) -> None:
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["categories"][0].update(name="lynx"), split="val")
    with pytest.raises(DataError, match=r"do not list: lynx \(\d+\)\n  listed: cat, dog\nGive all splits"):
        build(tmp_path)


def test_classes_agree_by_name_when_ids_differ_between_splits(tmp_path: Path) -> None:
    def renumber(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
        for record in content["annotations"]:
            record["category_id"] = {3: 2, 7: 1}[record["category_id"]]

    make_coco(tmp_path)
    before = build(tmp_path).search.annotations(0).labels_N.tolist()
    assert build(edit(tmp_path, renumber, split="val")).search.annotations(0).labels_N.tolist() == before


@pytest.mark.parametrize("change", [{"area": 1e308}, {"area": None, "bbox": [0, 0, 1e200, 1e200]}])
def test_numbers_beyond_single_precision_are_the_largest(tmp_path: Path, change: dict[str, Any]) -> None:
    make_coco(tmp_path)
    edit(tmp_path, lambda content: content["annotations"][0].update(change))
    dataset = build(tmp_path).train
    largest = max(float(dataset.annotations(index).areas_N.max(initial=0)) for index in range(len(dataset)))
    assert 1e38 < largest < float("inf")
