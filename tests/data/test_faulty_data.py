"""Data that would put boxes beside the objects, or show black images, stop with a reason or are read right.

Each image has bright objects on a dark ground, so that a test can compare the pixels below the boxes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from distune.config.data import CocoData, VocData
from distune.data.build import build_splits
from distune.data.dataset import DetectionDataset
from distune.data.splits import Splits
from distune.errors import DataError

Box = tuple[int, int, int, int]

SIZE = (128, 96)
ORIENTATION = 0x0112
_STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}

_STORED_IN_TIFF_AS = {
    **_STORED_AS,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    7: Image.Transpose.TRANSVERSE,
}


def paint(seed: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray[Any, Any], list[Box]]:
    """A dark image with two bright boxes, one left and one right, uint8 (H, W)."""
    generator = np.random.default_rng(seed)
    width, height = size
    pixels = generator.integers(0, 40, (height, width)).astype(np.uint8)
    boxes = []
    for left in (4, width // 2 + 2):
        x, y = left + int(generator.integers(0, 8)), int(generator.integers(4, height // 3))
        box = (x, y, x + int(generator.integers(16, width // 4)), y + int(generator.integers(12, height // 2)))
        pixels[box[1] : box[3], box[0] : box[2]] = 220
        boxes.append(box)
    return pixels, boxes


class Folder:
    """A data set of 9 training and 3 search images that tests damage before it is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.boxes: dict[str, list[Box]] = {}
        self.images: dict[str, Image.Image] = {}
        for split, seeds in {"train": range(9), "val": range(100, 103)}.items():
            for seed in seeds:
                pixels, boxes = paint(seed)
                self.images[f"{split}/im{seed:03d}"] = Image.fromarray(pixels).convert("RGB")
                self.boxes[f"{split}/im{seed:03d}"] = boxes

    def turned(self, orientation: int) -> None:
        """Store all images turned, with the EXIF orientation that shows them upright."""
        for key, image in self.images.items():
            stored = image.transpose(_STORED_AS[orientation])
            stored.getexif()[ORIENTATION] = orientation
            self.images[key] = stored

    def write_voc(self, *, stated: Callable[[Image.Image], tuple[int, int]] = lambda image: image.size) -> None:
        for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for key, image in self.images.items():
            split, stem = key.split("/")
            image.save(self.root / "JPEGImages" / f"{stem}.png", exif=image.getexif())
            tree = ElementTree.Element("annotation")
            ElementTree.SubElement(tree, "filename").text = f"{stem}.png"
            size = ElementTree.SubElement(tree, "size")
            for side, value in zip(("width", "height"), stated(image), strict=True):
                ElementTree.SubElement(size, side).text = str(value)
            for number, box in enumerate(self.boxes[key]):
                item = ElementTree.SubElement(tree, "object")
                ElementTree.SubElement(item, "name").text = ("cat", "dog")[number]
                place = ElementTree.SubElement(item, "bndbox")
                for corner, value in zip(
                    ("xmin", "ymin", "xmax", "ymax"), (box[0] + 1, box[1] + 1, *box[2:]), strict=True
                ):
                    ElementTree.SubElement(place, corner).text = str(value)
            ElementTree.ElementTree(tree).write(self.root / "Annotations" / f"{stem}.xml")
            with (self.root / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
                file.write(f"{stem}\n")

    def write_coco(self, *, with_size: bool = True) -> None:
        categories = [
            {"id": 1, "name": "cat", "supercategory": "pet"},
            {"id": 2, "name": "dog", "supercategory": "pet"},
        ]
        for split in ("train", "val"):
            content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": categories}
            for key, image in self.images.items():
                if not key.startswith(split):
                    continue
                (self.root / split).mkdir(parents=True, exist_ok=True)
                image.save(self.root / f"{key}.png", exif=image.getexif())
                number = len(content["images"]) + 1
                record = {"id": number, "file_name": f"{key.split('/')[1]}.png"}
                content["images"].append(
                    record | (dict(zip(("width", "height"), SIZE, strict=True)) if with_size else {})
                )
                for label, (x1, y1, x2, y2) in enumerate(self.boxes[key], start=1):
                    box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                    content["annotations"].append(
                        {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": label, **box}
                    )
            (self.root / f"{split}.json").write_text(json.dumps(content))

    def edit(self, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
        path = self.root / f"{split}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def edit_xml(self, change: Callable[[ElementTree.Element], object], pattern: str = "*.xml") -> None:
        for path in sorted((self.root / "Annotations").glob(pattern)):
            tree = ElementTree.parse(path)
            change(tree.getroot())
            tree.write(path)

    def read_voc(self, **settings: Any) -> Splits:
        values = {"kind": "voc", "root": str(self.root), "search_set": "val", "min_size_px": 96, "max_size_px": 128}
        return build_splits(VocData.model_validate({**values, **settings}))

    def read_coco(self, **settings: Any) -> Splits:
        def part(name: str) -> dict[str, str]:
            return {"images": name, "annotations": f"{name}.json"}

        values = {"kind": "coco", "root": str(self.root), "train": part("train"), "search": part("val")}
        return build_splits(CocoData.model_validate({**values, "min_size_px": 96, "max_size_px": 128, **settings}))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def brightness(dataset: DetectionDataset) -> tuple[float, float]:
    """The mean pixel inside of all boxes, and outside."""
    inside, outside = [], []
    for index in range(len(dataset)):
        pixels = dataset.image(index).float().mean(dim=0).numpy()
        is_inside = np.zeros(pixels.shape, dtype=bool)
        for x1, y1, x2, y2 in dataset.annotations(index).boxes_N4.round().astype(int):
            is_inside[y1:y2, x1:x2] = True
        inside.append(pixels[is_inside].mean())
        outside.append(pixels[~is_inside].mean())
    return float(np.mean(inside)), float(np.mean(outside))


def assert_boxes_lie_on_the_objects(splits: Splits) -> None:
    for dataset in (splits.train, splits.search):
        inside, outside = brightness(dataset)
        assert inside > 200
        assert outside < 60


# Sizes and orientation


@pytest.mark.parametrize("orientation", sorted(_STORED_AS))
def test_boxes_are_in_the_frame_that_viewers_show(folder: Folder, orientation: int) -> None:
    folder.turned(orientation)
    folder.write_voc(stated=lambda image: SIZE)
    splits = folder.read_voc()
    assert splits.train.annotations(0).width == SIZE[0]
    assert "9 images are turned as their EXIF orientation says" in splits.notes[0]
    assert_boxes_lie_on_the_objects(splits)


@pytest.mark.parametrize("orientation", [3, 6])
def test_coco_follows_the_same_rule_also_without_stated_sizes(folder: Folder, orientation: int) -> None:
    folder.turned(orientation)
    folder.write_coco(with_size=orientation == 3)
    assert_boxes_lie_on_the_objects(folder.read_coco())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("with_size", [True, False])
def test_tiff_files_are_turned_once(folder: Folder, orientation: int, compression: str, *, with_size: bool) -> None:
    folder.write_coco(with_size=with_size)
    for key, image in folder.images.items():
        turn = _STORED_IN_TIFF_AS.get(orientation)
        stored = image if turn is None else image.transpose(turn)
        stored.save(folder.root / f"{key}.tif", compression=compression, tiffinfo={ORIENTATION: orientation})
    for split in ("train", "val"):
        file = folder.root / f"{split}.json"
        file.write_text(file.read_text().replace(".png", ".tif"))
    splits = folder.read_coco()
    first = splits.train.annotations(0)
    assert (first.width, first.height) == SIZE
    assert splits.faults == ()
    assert_boxes_lie_on_the_objects(splits)


def test_annotations_that_state_the_stored_size_are_in_the_stored_frame(folder: Folder) -> None:
    for key, image in folder.images.items():  # upright as stored; a tool has set the orientation by mistake
        image.getexif()[ORIENTATION] = 6
        folder.images[key] = image
    folder.images["train/im000"].getexif()[ORIENTATION] = 3  # keeps its size, so the others tell
    folder.write_voc(stated=lambda image: SIZE)
    splits = folder.read_voc()
    assert splits.notes == ()
    assert_boxes_lie_on_the_objects(splits)


def test_images_that_were_scaled_after_annotation_stop(folder: Folder) -> None:
    folder.write_voc(stated=lambda image: (SIZE[0] // 2, SIZE[1] // 2))
    with pytest.raises(
        DataError, match=r"9 of 9 images have another size.*\n.*has 128 x 96 .* are for 64 x 48"
    ) as error:
        folder.read_voc()
    assert "scaled by 2 after annotation" in str(error.value)


def test_images_that_were_turned_or_cut_after_annotation_stop(folder: Folder) -> None:
    folder.write_voc(stated=lambda image: SIZE[::-1])
    with pytest.raises(DataError, match="Width and height are exchanged"):
        folder.read_voc()
    other = Folder(folder.root / "cut")
    other.write_voc(stated=lambda image: (200, 96))
    with pytest.raises(DataError, match="Use the images that were annotated"):
        other.read_voc()


def test_an_image_that_would_vanish_when_resized_is_left_out(folder: Folder) -> None:
    folder.images["train/im000"] = Image.new("RGB", (1600, 8))
    folder.boxes["train/im000"] = [(10, 1, 60, 7)]
    folder.write_voc()
    splits = folder.read_voc()
    assert splits.faults == ("JPEGImages/im000.png: is too thin: 1600 x 8 pixels become 128 x 0",)
    assert len(splits.train) == 8


# Forms of boxes


def in_form(convert: Callable[[list[float]], list[float]]) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for record in content["annotations"]:
            record["bbox"] = convert(record["bbox"])

    return change


@pytest.mark.parametrize("with_area", [True, False])
@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]], "As xmin, ymin, xmax, ymax in pixels"),
        (lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]], "As center x, center y, width, height in pixels"),
        (lambda b: [b[0] / 128, b[1] / 96, b[2] / 128, b[3] / 96], "As x, y, width, height as fractions"),
        (
            lambda b: [(b[0] + b[2] / 2) / 128, (b[1] + b[3] / 2) / 96, b[2] / 128, b[3] / 96],
            "As center x, center y, width, height as fractions",
        ),
    ],
)
def test_boxes_of_coco_in_another_form_are_named(
    folder: Folder, convert: Callable[[list[float]], list[float]], words: str, with_area: bool
) -> None:
    for boxes in folder.boxes.values():
        boxes[1] = (SIZE[0] - 30, SIZE[1] - 40, SIZE[0] - 2, SIZE[1] - 3)
    folder.write_coco()
    for split in ("train", "val"):
        folder.edit(in_form(convert), split)
        if not with_area:
            folder.edit(lambda content: [record.pop("area") for record in content["annotations"]], split)
    with pytest.raises(DataError, match="split train:") as error:
        folder.read_coco()
    assert words in str(error.value)
    assert re.search(r"\n  train\.json: annotation \d+: \[", str(error.value))


def test_areas_tell_the_form_where_all_boxes_lie_in_their_images(folder: Folder) -> None:
    for key in folder.boxes:
        folder.boxes[key] = [(2, 2, 30, 25), (10, 20, 40, 44)]
    folder.write_coco()
    for split in ("train", "val"):
        folder.edit(in_form(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]), split)
    with pytest.raises(DataError, match="the stated areas are those of other boxes than x, y, width, height") as error:
        folder.read_coco()
    assert "As xmin, ymin, xmax, ymax in pixels, 18 of 18 fit" in str(error.value)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda x1, y1, x2, y2: (x1 / 128, y1 / 96, x2 / 128, y2 / 96), "as fractions of the image"),
        (lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1), "As x, y, width, height in pixels"),
    ],
)
def test_boxes_of_voc_in_another_form_are_named(
    folder: Folder, convert: Callable[[float, float, float, float], tuple[float, ...]], words: str
) -> None:
    folder.write_voc()

    def change(tree: ElementTree.Element) -> None:
        for place in tree.iter("bndbox"):
            values = convert(*(float(str(place.findtext(corner))) for corner in ("xmin", "ymin", "xmax", "ymax")))
            for corner, value in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True):
                place.find(corner).text = str(value)  # type: ignore[union-attr]

    folder.edit_xml(change)
    with pytest.raises(DataError, match="split train:") as error:
        folder.read_voc()
    assert words in str(error.value)


def test_boxes_across_the_border_and_small_areas_are_no_other_form(folder: Folder) -> None:
    for boxes in folder.boxes.values():
        boxes[1] = (100, 60, 140, 99)
    folder.write_coco()

    def shrink(content: dict[str, Any]) -> None:
        for record in content["annotations"]:
            record["area"] *= 0.5

    folder.edit(shrink)
    folder.edit(shrink, "val")
    assert folder.read_coco().faults == ()


# Copies and common images


def test_several_entries_of_a_file_are_joined(folder: Folder) -> None:
    folder.write_coco()

    def one_entry_per_box(content: dict[str, Any]) -> None:
        old = {record["id"]: record for record in content["images"]}
        content["images"] = []
        for record in content["annotations"]:
            content["images"].append({**old[record["image_id"]], "id": record["id"]})
            record["image_id"] = record["id"]

    folder.edit(one_entry_per_box)
    splits = folder.read_coco()
    assert len(splits.train) == 9
    assert [len(splits.train.annotations(index)) for index in range(9)] == [2] * 9
    assert "9 images have several entries, which were joined: image ids 1 and 2 (train/im000.png)" in splits.notes[0]


def test_the_same_entry_thrice_gives_its_boxes_once(folder: Folder) -> None:
    folder.write_coco()

    def repeat(content: dict[str, Any]) -> None:
        own = [record for record in content["annotations"] if record["image_id"] == 1]
        for number in (1001, 1002):
            content["images"].append({**content["images"][0], "id": number})
            content["annotations"] += [
                {**record, "id": number * 10 + record["id"], "image_id": number} for record in own
            ]

    folder.edit(repeat)
    splits = folder.read_coco(search=None, search_share=0.1)
    assert len(splits.train) + len(splits.search) == 9
    first = next(d for d in (splits.train, splits.search) for i in range(len(d)) if d.annotations(i).image_id == 1)
    assert len(first.annotations(0)) == 2


def test_copies_are_not_held_out_from_each_other(folder: Folder) -> None:
    for number in range(9):
        folder.images[f"train/copy{number}"] = folder.images[f"train/im{number:03d}"]
        folder.boxes[f"train/copy{number}"] = folder.boxes[f"train/im{number:03d}"]
    folder.write_voc()
    splits = folder.read_voc(search_set=None, search_share=0.3)
    digests = [{d.annotations(i).digest for i in range(len(d))} for d in (splits.train, splits.search)]
    assert not digests[0] & digests[1]
    assert len(digests[0] | digests[1]) == 9
    assert (len(splits.train), len(splits.search)) == (12, 6)


@pytest.mark.parametrize("way", ["dot", "link", "folder", "copy"])
def test_splits_with_the_same_images_under_other_names_are_refused(folder: Folder, way: str) -> None:
    folder.write_coco()
    images = {"dot": "./train", "link": "linked", "folder": ".", "copy": "val"}[way]
    if way == "link":
        (folder.root / "linked").symlink_to(folder.root / "train")
    shutil.copy(folder.root / "train.json", folder.root / "val.json")
    if way == "folder":
        folder.edit(lambda content: [r.update(file_name=f"train/{r['file_name']}") for r in content["images"]], "val")
    if way == "copy":
        for number in range(9):
            shutil.copy(folder.root / f"train/im{number:03d}.png", folder.root / f"val/renamed{number}.png")
        folder.edit(
            lambda content: [r.update(file_name=f"renamed{i}.png") for i, r in enumerate(content["images"])], "val"
        )
    with pytest.raises(
        DataError, match=r"9 images are both in split train and in split search.*\n  train/im000\.png = "
    ):
        folder.read_coco(search={"images": images, "annotations": "val.json"})


# Pixels


@pytest.mark.parametrize(
    "convert",
    [
        lambda pixels: Image.fromarray(pixels.astype(np.uint16) * 16),
        lambda pixels: Image.fromarray(pixels.astype(np.uint16) + 7240),
        lambda pixels: Image.fromarray(pixels.astype(np.int32)),
        lambda pixels: Image.fromarray((pixels / 255).astype(np.float32)),
        lambda pixels: Image.fromarray((pixels / 100).astype(np.float32)),
    ],
    ids=["12 bits", "thermal", "32-bit integers", "fractions", "small floats"],
)
def test_images_of_more_than_8_bits_are_scaled_by_what_they_hold(
    folder: Folder, convert: Callable[[np.ndarray[Any, Any]], Image.Image]
) -> None:
    folder.write_voc()
    for path in sorted((folder.root / "JPEGImages").iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        path.unlink()
        convert(pixels).save(path.with_suffix(".tif"))
    folder.edit_xml(lambda tree: setattr(tree.find("filename"), "text", ""))
    splits = folder.read_voc()
    assert "images of more than 8 bits: pixel values" in splits.notes[-1]
    assert_boxes_lie_on_the_objects(splits)


def test_pixels_that_are_not_numbers_are_a_fault(folder: Folder) -> None:
    folder.write_voc()
    for path in sorted((folder.root / "JPEGImages").glob("im00?.png")):
        pixels = np.full(SIZE[::-1], np.nan, dtype=np.float32)
        path.unlink()
        Image.fromarray(pixels).save(path.with_suffix(".tif"))
    with pytest.raises(DataError, match="9 of 9 images are bad") as error:
        folder.read_voc()
    assert "has pixels that are not finite numbers" in str(error.value)


# Lists and entries


def test_names_with_blanks(folder: Folder) -> None:
    renamed = {"train/im000": "train/scan", "train/im001": "train/scan (1)", "train/im002": "train/my scan 1"}
    for old, new in renamed.items():
        folder.images[new], folder.boxes[new] = folder.images.pop(old), folder.boxes.pop(old)
    folder.write_voc()
    path = folder.root / "ImageSets/Main/train.txt"
    path.write_text(path.read_text().replace("im003\n", "im003  -1\n") + "scan\n")
    splits = folder.read_voc()
    stems = {Path(splits.train.annotations(index).file).stem for index in range(len(splits.train))}
    assert stems == {"scan", "scan (1)", "my scan 1", *(f"im00{number}" for number in range(3, 9))}
    assert splits.notes == ("ImageSets/Main/train.txt: 1 lines repeat a name and are left out",)


def test_a_list_in_utf_16(folder: Folder) -> None:
    folder.write_voc()
    path = folder.root / "ImageSets/Main/train.txt"
    path.write_text(path.read_text(), encoding="utf-16")
    assert len(folder.read_voc().train) == 9


def test_every_box_of_an_object_counts(folder: Folder) -> None:
    folder.write_voc()

    def merge(tree: ElementTree.Element) -> None:
        first, second = tree.findall("object")
        first.append(second.find("bndbox"))  # type: ignore[arg-type]
        tree.remove(second)

    folder.edit_xml(merge)
    splits = folder.read_voc()
    assert [len(splits.train.annotations(index)) for index in range(9)] == [2] * 9
    assert_boxes_lie_on_the_objects(splits)


def test_two_images_of_one_name_are_refused_unless_one_is_named(folder: Folder) -> None:
    folder.write_voc()
    for stem in ("im000", "im001"):
        Image.fromarray(paint(77)[0]).save(folder.root / "JPEGImages" / f"{stem}.bmp")
    assert len(folder.read_voc().train) == 9
    folder.edit_xml(lambda tree: setattr(tree.find("filename"), "text", "im000"))
    with pytest.raises(DataError, match=r"2 XML files name none.*\n  Annotations/im000.xml: im000.bmp, im000.png"):
        folder.read_voc()


@pytest.mark.parametrize("text", ["1", "True", "true", "yes"])
def test_flags_as_text(folder: Folder, text: str) -> None:
    folder.write_voc()
    folder.edit_xml(lambda tree: setattr(ElementTree.SubElement(tree.findall("object")[0], "difficult"), "text", text))
    assert folder.read_voc().train.annotations(0).difficult_N.tolist() == [True, False]
    other = Folder(folder.root / "coco")
    other.write_coco()
    for split in ("train", "val"):
        other.edit(lambda content: content["annotations"][0].update(iscrowd=text), split)
    assert other.read_coco().train.annotations(0).crowd_N.tolist() == [True, False]


def test_a_flag_that_cannot_be_read_is_a_fault_of_its_box(folder: Folder) -> None:
    folder.write_coco()
    folder.edit(lambda content: content["annotations"][0].update(iscrowd=[1]))
    assert folder.read_coco().faults == ("train.json: annotation 1 iscrowd must be 0 or 1, but is [1]",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": [1]}, r"annotation 1 image_id must be a whole number, but is \[1\]"),
        ({"image_id": "1"}, 'annotation 1 image_id must be a whole number, but is "1"'),
        ({"image_id": {"a": 1}}, "annotation 1 image_id must be a whole number"),
        ({"bbox": [1, 1, 10**400, 5]}, r"annotation 1 \(cat\) has a coordinate that is not a finite number"),
        ({"area": 10**400}, None),
        ({"category_id": [1]}, "is of a class that is not in the list"),
    ],
)
def test_odd_types_in_json_are_faults_that_name_the_entry(
    folder: Folder, change: dict[str, Any], words: str | None
) -> None:
    folder.write_coco()
    folder.edit(lambda content: content["annotations"][0].update(change))
    faults = folder.read_coco().faults
    assert len(faults) == (words is not None)
    if words is not None:
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(faults[0])


def test_a_root_category_without_boxes_is_left_out(folder: Folder) -> None:
    folder.write_coco()
    for split in ("train", "val"):
        folder.edit(lambda content: content["categories"].insert(0, {"id": 0, "name": "pet"}), split)
    splits = folder.read_coco()
    assert splits.classes == ("cat", "dog")
    assert splits.notes == ("category 0 (pet) has no boxes and is the supercategory of others; it is left out",)


def test_a_root_category_may_have_the_name_of_a_class(folder: Folder) -> None:
    folder.write_coco()
    for split in ("train", "val"):
        folder.edit(lambda content: content["categories"].insert(0, {"id": 0, "name": "cat"}), split)
        folder.edit(lambda content: content["categories"][1].update(supercategory="cat"), split)
    assert folder.read_coco().classes == ("cat", "dog")


def test_a_class_without_boxes_stays(folder: Folder) -> None:
    folder.write_coco()
    folder.edit(lambda content: content["categories"].append({"id": 9, "name": "bird", "supercategory": "bird"}))
    folder.edit(lambda content: content["categories"].append({"id": 9, "name": "bird"}), "val")
    assert folder.read_coco().classes == ("cat", "dog", "bird")
