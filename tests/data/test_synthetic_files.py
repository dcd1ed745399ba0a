"""Synthetic data is read by the readers of its format, like data of users."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter

from distune.config.data import FileDataSettings
from distune.data.build import build_splits
from distune.data.synthetic_files import NUM_BOXES, write_synthetic_data
from distune.errors import UsageError

ADAPTER: TypeAdapter[FileDataSettings] = TypeAdapter(Annotated[FileDataSettings, Field(discriminator="kind")])
COCO = {"kind": "coco", "train": {"images": "train2017", "annotations": "annotations/instances_train2017.json"}}
HELD_OUT = {"test": {"images": "val2017", "annotations": "annotations/instances_val2017.json"}, "search_share": 0.25}
YEARS = {
    "kind": "voc",
    "train_set": "VOC2007/trainval+VOC2012/trainval",
    "search_set": "VOC2007/val",
    "test_set": "VOC2007/test",
}


@pytest.mark.parametrize(
    ("values", "counts", "num_classes"),
    [
        ({**COCO, **HELD_OUT}, (6, 2, 8), 80),
        ({**COCO, **HELD_OUT, "classes": ["cat", "dog"]}, (6, 2, 8), 2),
        ({**YEARS}, (16, 8, 8), 20),
        ({"kind": "voc", "train_set": "train/*", "search_set": "valid/*"}, (8, 8, 0), 20),
    ],
)
def test_readers_find_images_and_boxes(
    tmp_path: Path, values: dict[str, Any], counts: tuple[int, int, int], num_classes: int
) -> None:
    settings = ADAPTER.validate_python({**values, "root": str(tmp_path)})
    write_synthetic_data(settings, tmp_path, num_images=8)
    splits = build_splits(settings)
    assert (len(splits.train), len(splits.search), len(splits.test or ())) == counts
    assert len(splits.classes) == num_classes
    assert splits.faults == ()
    assert all(len(splits.train.annotations(index)) == NUM_BOXES for index in range(len(splits.train)))
    height, width = splits.train.image(0).shape[1:]
    assert (width, height) == (splits.train.annotations(0).width, splits.train.annotations(0).height)


def test_coco_has_masks_for_mask_r_cnn(tmp_path: Path) -> None:
    settings = ADAPTER.validate_python({**COCO, **HELD_OUT, "root": str(tmp_path)})
    write_synthetic_data(settings, tmp_path, num_images=8)
    train = build_splits(settings, with_masks=True).train
    assert train.annotations(0).draw_masks is not None


def test_class_names_are_those_of_pretrained_detectors(tmp_path: Path) -> None:
    settings = ADAPTER.validate_python({**YEARS, "root": str(tmp_path)})
    write_synthetic_data(settings, tmp_path, num_images=8)
    assert set(build_splits(settings).classes) >= {"aeroplane", "tvmonitor"}


def test_other_formats_are_refused(tmp_path: Path) -> None:
    settings = ADAPTER.validate_python({"kind": "yolo", "train": "images/train"})
    with pytest.raises(UsageError, match=r"data\.kind = yolo: .* set data\.root"):
        write_synthetic_data(settings, tmp_path, num_images=8)
