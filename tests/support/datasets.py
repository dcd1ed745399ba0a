"""Makes small data sets on disk and in memory for tests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distune.config.data import CocoData, CocoSplitSettings
from distune.data.dataset import Annotations, ImageError

Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class VocObject:
    """An object in VOC's coordinates: xmin, ymin, xmax, ymax count from 1 and are inclusive."""

    name: str
    box: Box
    difficult: bool = False


def make_voc(
    folder: Path,
    splits: Mapping[str, int] | None = None,
    *,
    classes: Sequence[str] = ("cat", "dog"),
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
) -> Path:
    """Make a VOC folder of images with 1 to 3 filled boxes in the color of their class.

    Args:
        folder: created where it is missing.
        splits: list in ImageSets/Main to number of images; 6 ``train`` and 3 ``val`` when None.
        classes: the first images of a split have one box of each class, so that every class has boxes.
        size: width and height.
        seed: of the boxes and the noise.
    """
    generator = np.random.default_rng(seed)
    for split, count in (splits or {"train": 6, "val": 3}).items():
        stems = [f"{split}_{number:03d}" for number in range(count)]
        for number, stem in enumerate(stems):
            labels = _labels(generator, number, len(classes))
            boxes = [_random_box(generator, size) for _ in labels]
            objects = [
                VocObject(classes[label], (x1 + 1, y1 + 1, x2, y2))
                for label, (x1, y1, x2, y2) in zip(labels, boxes, strict=True)
            ]
            write_voc_image(folder, stem, objects, pixels=_paint(generator, size, boxes, labels))
        write_voc_list(folder, split, stems)
    return folder


def write_voc_image(
    folder: Path,
    stem: str,
    objects: Sequence[VocObject],
    *,
    size: tuple[int, int] = (64, 48),
    pixels: np.ndarray[Any, np.dtype[np.uint8]] | None = None,
    stated_size: tuple[int, int] | None = None,
    suffix: str = ".jpg",
) -> None:
    """Write an image and its XML. ``stated_size`` is the size in the XML; None is that of the image."""
    pixels = _paint(np.random.default_rng(list(stem.encode())), size, [], []) if pixels is None else pixels
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    for path in (images, annotations, folder / "ImageSets" / "Main"):
        path.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(images / f"{stem}{suffix}")
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{stem}{suffix}"
    width, height = stated_size or (pixels.shape[1], pixels.shape[0])
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    for item in objects:
        node = ElementTree.SubElement(root, "object")
        _add(node, {"name": item.name, "difficult": int(item.difficult)})
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), item.box, strict=True))
        _add(ElementTree.SubElement(node, "bndbox"), corners)
    ElementTree.ElementTree(root).write(annotations / f"{stem}.xml")


def write_voc_list(folder: Path, name: str, stems: Sequence[str]) -> None:
    """Write a list in ImageSets/Main."""
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def make_coco(
    folder: Path,
    splits: Mapping[str, int] | None = None,
    *,
    classes: Sequence[str] = ("cat", "dog"),
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
) -> Path:
    """Make a COCO folder: images in ``<split>/``, annotations in ``<split>.json``, category ids 3, 7, 11, ...

    In each split the second image has a crowd box besides, and the last one has no box.

    Args:
        folder: created where it is missing.
        splits: split to number of images, at least 3; 6 ``train`` and 3 ``val`` when None.
        classes: names of the categories.
        size: width and height.
        seed: of the boxes and the noise.
    """
    generator = np.random.default_rng(seed)
    categories = [{"id": 3 + 4 * position, "name": name} for position, name in enumerate(classes)]
    for split, count in (splits or {"train": 6, "val": 3}).items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number in range(count):
            labels = [] if number == count - 1 else _labels(generator, number, len(classes))
            boxes = [_random_box(generator, size) for _ in labels]
            record = {"id": 100 + 5 * number, "file_name": f"{number:06d}.jpg", "width": size[0], "height": size[1]}
            write_image(folder / split / str(record["file_name"]), _paint(generator, size, boxes, labels))
            images.append(record)
            crowd = [0] * len(boxes)
            if number == 1:
                labels, boxes, crowd = [*labels, 0], [*boxes, (0, 0, size[0] // 2, size[1] // 2)], [*crowd, 1]
            for label, (x1, y1, x2, y2), is_crowd in zip(labels, boxes, crowd, strict=True):
                annotations.append(
                    {
                        "id": 1000 + len(annotations),
                        "image_id": record["id"],
                        "category_id": categories[label]["id"],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": 0.8 * (x2 - x1) * (y2 - y1),
                        "iscrowd": is_crowd,
                    }
                )
        write_coco_json(folder / f"{split}.json", images, annotations, categories)
    return folder


def write_coco_json(
    path: Path,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
) -> None:
    """Write a JSON file of annotations."""
    content = {"images": list(images), "annotations": list(annotations), "categories": list(categories)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco_settings(root: Path, *, search: str | None = "val", **settings: Any) -> CocoData:
    """Return settings for a folder made by ``make_coco`` with the default splits."""

    def part(name: str) -> CocoSplitSettings:
        return CocoSplitSettings(images=name, annotations=f"{name}.json")

    held = None if search is None else part(search)
    return CocoData(kind="coco", root=str(root), train=part("train"), search=held, **settings)


def write_image(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Write an image file of (H, W, 3) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def corrupt(path: Path) -> None:
    """Truncate an image file: its header can be read, its pixels cannot."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def annotate(
    boxes: Sequence[Box],
    labels: Sequence[int],
    *,
    crowd: Sequence[bool] | None = None,
    difficult: Sequence[bool] | None = None,
    index: int = 0,
    size: tuple[int, int] = (100, 100),
) -> Annotations:
    """Make the annotations of one image from plain lists."""
    boxes_N4 = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    none = [False] * len(labels)
    return Annotations(
        image_id=index,
        file=f"{index}.png",
        width=size[0],
        height=size[1],
        boxes_N4=boxes_N4,
        labels_N=np.array(labels, dtype=np.int64),
        areas_N=(boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1]),
        crowd_N=np.array(none if crowd is None else crowd, dtype=np.bool_),
        difficult_N=np.array(none if difficult is None else difficult, dtype=np.bool_),
        tags_N=(frozenset(),) * len(labels),
    )


class MemoryDataset:
    """A data set of given annotations. Each image has one gray value, its own; ``corrupt`` ones cannot be decoded."""

    def __init__(
        self, images: Sequence[Annotations], classes: tuple[str, ...] = ("cat", "dog"), *, corrupt: Sequence[int] = ()
    ) -> None:
        self.name = "memory"
        self.classes = classes
        self.faults: tuple[str, ...] = ()
        self._annotations = list(images)
        self._corrupt = frozenset(corrupt)

    def __len__(self) -> int:
        return len(self._annotations)

    def annotations(self, index: int) -> Annotations:
        return self._annotations[index]

    def image(self, index: int) -> Tensor:
        image = self._annotations[index]
        if index in self._corrupt:
            raise ImageError(image.file, "cannot be decoded (made so)")
        return torch.full((3, image.height, image.width), index % 256, dtype=torch.uint8)


def _labels(generator: np.random.Generator, number: int, num_classes: int) -> list[int]:
    if number == 0:
        return list(range(num_classes))
    return [int(label) for label in generator.integers(0, num_classes, size=int(generator.integers(1, 4)))]


def _random_box(generator: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = (int(generator.integers(8, side // 2)) for side in size)
    x1, y1 = int(generator.integers(0, size[0] - width)), int(generator.integers(0, size[1] - height))
    return x1, y1, x1 + width, y1 + height


def _paint(
    generator: np.random.Generator,
    size: tuple[int, int],
    boxes: Sequence[tuple[int, int, int, int]],
    labels: Sequence[int],
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = generator.integers(0, 60, size=(size[1], size[0], 3), dtype=np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
        pixels[y1:y2, x1:x2, label % 3] = 200
    return pixels


def _add(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)
