"""The data card: figures of each split, and what it warns of. Sheets of images with boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torchvision.transforms.v2.functional import to_pil_image

from distune.config.data import VocData
from distune.data.box_sheet import draw_sheet
from distune.data.build import build_splits
from distune.data.data_card import DataCard, make_data_card
from distune.data.dataset import ImageError
from distune.data.splits import Splits
from distune.reports.data_card_tables import data_card_lines, data_card_tables
from support.datasets import MemoryDataset, VocObject, annotate, corrupt, make_voc, write_voc_image, write_voc_list

SIZES = {"min_size_px": 96, "max_size_px": 128}


def read(folder: Path) -> Splits:
    return build_splits(VocData(root=str(folder), search_set="val"))


def card_of(folder: Path) -> DataCard:
    return make_data_card(read(folder), **SIZES)


def add(folder: Path, split: str, stem: str, objects: list[VocObject], *, value: int | None = None) -> None:
    """Add an image to a split; ``value`` paints it in one gray."""
    pixels = None if value is None else np.full((48, 64, 3), value, dtype=np.uint8)
    write_voc_image(folder, stem, objects, pixels=pixels)
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    write_voc_list(folder, split, [*path.read_text().split(), stem])


def test_the_figures_are_those_of_the_files(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_voc_image(tmp_path, split, [VocObject("cat", (1, 1, 16, 16)), VocObject("dog", (1, 1, 9, 4))])
        write_voc_image(tmp_path, f"{split}_empty", [])
        difficult = [VocObject("cat", (1, 1, 32, 32), difficult=True), VocObject("cat", (5, 5, 36, 36))]
        write_voc_image(tmp_path, f"{split}_difficult", difficult)
        write_voc_list(tmp_path, split, [split, f"{split}_empty", f"{split}_difficult"])
    train = card_of(tmp_path).splits[0]
    assert (train.name, train.num_images, train.num_empty, train.num_boxes, train.num_ignored) == ("train", 3, 1, 3, 1)
    assert train.boxes == {"cat": 2, "dog": 1}
    assert train.images == {"cat": 2, "dog": 1}
    assert train.widths == [64, 64, 64]
    assert train.box_sides[1] == 16
    assert train.resized_box_sides[1] == 32  # from 48 to 96 px
    assert 0 < train.brightness[1] < 255


def test_sound_data_have_no_warnings(tmp_path: Path) -> None:
    card = card_of(make_voc(tmp_path, {"train": 60, "val": 40}))
    assert card.warnings == ()
    assert card.verdict == "the data are ready for a study"
    assert json.loads(json.dumps(card.to_dict()))["splits"][0]["num_images"] == 60


@pytest.mark.parametrize(
    ("split", "objects", "value", "warning"),
    [
        ("val", [VocObject("zebra", (1, 1, 9, 9))], None, "class zebra has boxes in split search, but none"),
        ("train", [VocObject("zebra", (1, 1, 9, 9))], None, "class zebra has only 1 box in split train"),
        ("train", [VocObject("zebra", (1, 1, 9, 9))], None, "class zebra has no boxes in split search: its AP cannot"),
        ("train", [VocObject("Cat", (1, 1, 9, 9))] * 12, None, "classes Cat and cat differ in case"),
        ("train", [VocObject("cat", (1, 1, 9, 9))] * 2, None, "split train: boxes that are given twice: 1"),
        ("val", [VocObject("cat", (1, 1, 9, 9))], 0, "split search: images that are black or have one"),
        ("train", [VocObject("cat", (1, 1, 9, 9))], 200, "split train: images that are black or have one color"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_a_warning(
    split: str, objects: list[VocObject], value: int | None, warning: str, tmp_path: Path
) -> None:
    add(make_voc(tmp_path, {"train": 60, "val": 40}), split, "new", objects, value=value)
    card = card_of(tmp_path)
    assert any(line.startswith(warning) for line in card.warnings), card.warnings
    assert card.verdict.startswith("a study can be launched, but see to")


def test_copies_few_images_empty_images_and_small_boxes_are_warnings(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": 4, "val": 3})
    original = (tmp_path / "JPEGImages" / "train_000.jpg").read_bytes()
    for number in range(6):
        add(tmp_path, "train", f"empty_{number}", [], value=100 + number)
    add(tmp_path, "train", "copy", [VocObject("cat", (1, 1, 9, 9))])
    (tmp_path / "JPEGImages" / "copy.jpg").write_bytes(original)
    lines = make_data_card(read(tmp_path), min_size_px=12, max_size_px=16).warnings
    assert "split train: 6 of 11 images have no boxes" in lines
    assert "split train: copies of other images of the split: 1" in lines
    assert "split search has only 3 images: AP on it varies much" in lines
    assert any("half of the boxes of" in line for line in lines)


def test_the_text_has_faults_first(tmp_path: Path) -> None:
    add(make_voc(tmp_path, {"train": 120, "val": 40}), "train", "new", [VocObject("cat", (5, 5, 5, 5))])
    card = card_of(tmp_path)
    lines = data_card_lines(card)
    assert lines[0] == "skipped: Annotations/new.xml: box 1 (cat) has no area"
    tables = list(data_card_tables(card))
    assert [column.header for column in tables[0].columns] == ["5% / 50% / 95%", "train", "search"]
    assert list(tables[1].columns[0].cells) == ["cat", "dog"]


def test_a_sheet_shows_boxes_where_they_are() -> None:
    images = [annotate([(10, 10, 40, 30)], [1], index=index) for index in range(5)]
    dataset = MemoryDataset(images)
    plain, with_boxes = (
        draw_sheet(MemoryDataset([annotate([], [], index=0)]), tile_px=100),
        draw_sheet(dataset, tile_px=100),
    )
    assert with_boxes.shape[0] == 3
    assert with_boxes.shape[2] > 3 * plain.shape[2] - 20
    image = images[0]
    scale = 100 / max(image.width, image.height)
    corner = with_boxes[:, 2 + round(30 * scale), 2 + round(25 * scale)]  # in the middle of the lower edge
    assert corner.tolist() == [255, 107, 107]
    to_pil_image(with_boxes)


def test_a_sheet_leaves_out_corrupt_images(tmp_path: Path) -> None:
    splits = read(make_voc(tmp_path, {"train": 4, "val": 3}))
    paths = sorted((tmp_path / "JPEGImages").glob("train_*"))
    corrupt(paths[0])
    assert draw_sheet(splits.train).shape[0] == 3
    for path in paths[1:]:
        corrupt(path)
    with pytest.raises(ImageError):
        draw_sheet(splits.train)
