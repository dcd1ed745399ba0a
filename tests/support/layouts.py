"""Writes the same annotated images in the layouts that annotation tools and services produce."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from support.datasets import VocObject, write_image, write_voc_list

Box = tuple[int, int, int, int]
CLASSES = ("cat", "dog", "emu")


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image of 80 x 60 pixels with its split and its boxes, xyxy pixels."""

    stem: str
    split: str
    boxes: Sequence[tuple[str, Box]]

    size = (80, 60)

    @property
    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        generator = np.random.default_rng(list(f"{self.split}{self.stem}".encode()))
        return generator.integers(0, 255, (self.size[1], self.size[0], 3), dtype=np.uint8)


def make_scenes(splits: dict[str, int], *, seed: int = 0) -> list[Scene]:
    """Return images with one to three boxes each; the classes take turns."""
    generator = np.random.default_rng(seed)
    scenes = []
    for split, count in splits.items():
        for number in range(count):
            boxes = []
            for position in range(1 + number % 3):
                x, y = generator.integers(0, 50), generator.integers(0, 30)
                width, height = generator.integers(8, 30), generator.integers(8, 30)
                name = CLASSES[(number + position) % len(CLASSES)]
                boxes.append((name, (int(x), int(y), int(x + width), int(y + height))))
            scenes.append(Scene(f"{split}_{number:03d}", split, boxes))
    return scenes


def voc_with_lists(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "JPEGImages", scene)
        _write_xml(folder / "Annotations", scene)
    for split in {scene.split for scene in scenes}:
        write_voc_list(folder, split, [scene.stem for scene in scenes if scene.split == split])


def voc_devkit(folder: Path, scenes: Sequence[Scene]) -> None:
    for year, part in (("VOC2007", scenes[::2]), ("VOC2012", scenes[1::2])):
        voc_with_lists(folder / "VOCdevkit" / year, part)


def voc_without_lists(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "JPEGImages", scene)
        _write_xml(folder / "Annotations", scene)


def labelimg_flat(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder, scene)
        _write_xml(folder, scene)


def labelimg_two_folders(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "images", scene)
        _write_xml(folder / "annotations", scene)


def voc_by_split_above(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / scene.split, scene)
        _write_xml(folder / scene.split, scene)


def voc_by_split_below(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "images" / scene.split, scene)
        _write_xml(folder / "xml" / scene.split, scene)


def yolo(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "images" / scene.split, scene)
        _write_labels(folder / "labels" / scene.split, scene)
    lines = [f"{key}: images/{key}" for key in ("train", "val", "test") if any(s.split == key for s in scenes)]
    names = [f"  {number}: {name}" for number, name in enumerate(CLASSES)]
    (folder / "data.yaml").write_text("\n".join(["path: /not/on/this/machine", *lines, "names:", *names]))


def yolo_service(folder: Path, scenes: Sequence[Scene]) -> None:
    """With a folder for each split, and paths that start from a folder which does not exist."""
    for scene in scenes:
        _write(folder / scene.split / "images", scene)
        _write_labels(folder / scene.split / "labels", scene)
    lines = [f"{key}: ../{key}/images" for key in ("train", "val", "test") if any(s.split == key for s in scenes)]
    (folder / "data.yaml").write_text("\n".join([*lines, f"nc: {len(CLASSES)}", f"names: {list(CLASSES)}"]))


def yolo_flat(folder: Path, scenes: Sequence[Scene]) -> None:
    """Labels beside the images, and names in classes.txt, as LabelImg writes them."""
    for scene in scenes:
        _write(folder, scene)
        _write_labels(folder, scene)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def coco(folder: Path, scenes: Sequence[Scene]) -> None:
    for split in {scene.split for scene in scenes}:
        part = [scene for scene in scenes if scene.split == split]
        for scene in part:
            _write(folder / f"{split}2017", scene)
        _write_json(folder / "annotations" / f"instances_{split}2017.json", _coco(part))


def coco_service(folder: Path, scenes: Sequence[Scene]) -> None:
    for split in {scene.split for scene in scenes}:
        part = [scene for scene in scenes if scene.split == split]
        for scene in part:
            _write(folder / split, scene)
        content = _coco(part)
        content["categories"] = [
            {"id": 0, "name": "animals", "supercategory": "none"},
            *({**each, "supercategory": "animals"} for each in content["categories"]),
        ]
        _write_json(folder / split / "_annotations.coco.json", content)


def coco_single(folder: Path, scenes: Sequence[Scene]) -> None:
    for scene in scenes:
        _write(folder / "images", scene)
    _write_json(folder / "result.json", _coco(scenes))


def cvat(folder: Path, scenes: Sequence[Scene], *, with_subsets: bool = True) -> None:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "job"), "labels")
    for name in CLASSES:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    for number, scene in enumerate(scenes):
        _write(folder / "images" / (scene.split if with_subsets else ""), scene)
        attributes = {"id": str(number), "name": f"{scene.stem}.png", "width": "80", "height": "60"}
        attributes |= {"subset": scene.split} if with_subsets else {}
        image = ElementTree.SubElement(root, "image", attributes)
        for name, box in scene.boxes:
            corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.2f}" for value in box), strict=True))
            ElementTree.SubElement(image, "box", {"label": name, "occluded": "0", **corners, "z_order": "0"})
    ElementTree.ElementTree(root).write(folder / "annotations.xml")


def cvat_without_subsets(folder: Path, scenes: Sequence[Scene]) -> None:
    cvat(folder, scenes, with_subsets=False)


def label_studio(folder: Path, scenes: Sequence[Scene]) -> None:
    tasks = []
    for number, scene in enumerate(scenes, start=1):
        _write(folder / "images", scene)
        regions = [
            {"type": "rectanglelabels", "original_width": 80, "original_height": 60, "value": value}
            for value in _percentages(scene)
        ]
        address = f"/data/upload/3/{number:08x}-{scene.stem}.png"
        tasks.append({"id": number, "data": {"image": address}, "annotations": [{"result": regions}]})
    _write_json(folder / "project-3.json", tasks)


def label_studio_minimal(folder: Path, scenes: Sequence[Scene]) -> None:
    tasks = []
    for number, scene in enumerate(scenes, start=1):
        _write(folder / "pictures", scene)
        regions = [{**value, "original_width": 80, "original_height": 60} for value in _percentages(scene)]
        address = f"/data/local-files/?d=pictures/{scene.stem}.png"
        tasks.append({"id": number, "image": address, "label": regions, "annotation_id": number})
    _write_json(folder / "export.json", tasks)


LAYOUTS: dict[str, Callable[[Path, Sequence[Scene]], None]] = {
    layout.__name__: layout
    for layout in (
        voc_with_lists,
        voc_devkit,
        voc_without_lists,
        labelimg_flat,
        labelimg_two_folders,
        voc_by_split_above,
        voc_by_split_below,
        yolo,
        yolo_service,
        yolo_flat,
        coco,
        coco_service,
        coco_single,
        cvat,
        cvat_without_subsets,
        label_studio,
        label_studio_minimal,
    )
}
"""Name of each layout to what writes it."""

WITHOUT_SPLITS = (
    "voc_without_lists",
    "labelimg_flat",
    "labelimg_two_folders",
    "yolo_flat",
    "coco_single",
    "cvat_without_subsets",
    "label_studio",
    "label_studio_minimal",
)


def _write(folder: Path, scene: Scene) -> None:
    write_image(folder / f"{scene.stem}.png", scene.pixels)


def _write_xml(folder: Path, scene: Scene) -> None:
    """Write VOC's XML; its corners count from 1 and are inclusive."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{scene.stem}.png"
    size = ElementTree.SubElement(root, "size")
    for key, value in (("width", 80), ("height", 60), ("depth", 3)):
        ElementTree.SubElement(size, key).text = str(value)
    for name, (x1, y1, x2, y2) in scene.boxes:
        item = VocObject(name, (x1 + 1, y1 + 1, x2, y2))
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = item.name
        bndbox = ElementTree.SubElement(node, "bndbox")
        for key, corner in zip(("xmin", "ymin", "xmax", "ymax"), item.box, strict=True):
            ElementTree.SubElement(bndbox, key).text = str(corner)
    folder.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(folder / f"{scene.stem}.xml")


def _write_labels(folder: Path, scene: Scene) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{CLASSES.index(name)} {(x1 + x2) / 160:.9f} {(y1 + y2) / 120:.9f} {(x2 - x1) / 80:.9f} {(y2 - y1) / 60:.9f}\n"
        for name, (x1, y1, x2, y2) in scene.boxes
    ]
    (folder / f"{scene.stem}.txt").write_text("".join(lines))


def _coco(scenes: Sequence[Scene]) -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{scene.stem}.png", "width": 80, "height": 60}
            for number, scene in enumerate(scenes)
        ],
        "annotations": [
            {
                "id": 10 * number + position,
                "image_id": number,
                "category_id": 1 + CLASSES.index(name),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            for number, scene in enumerate(scenes)
            for position, (name, (x1, y1, x2, y2)) in enumerate(scene.boxes)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
    }


def _percentages(scene: Scene) -> list[dict[str, Any]]:
    return [
        {
            "x": 100 * x1 / 80,
            "y": 100 * y1 / 60,
            "width": 100 * (x2 - x1) / 80,
            "height": 100 * (y2 - y1) / 60,
            "rotation": 0,
            "rectanglelabels": [name],
        }
        for name, (x1, y1, x2, y2) in scene.boxes
    ]


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
