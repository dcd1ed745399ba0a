"""Writes small data sets of noise images in the format of an experiment, so that it can be tried without its data.

Sizes and numbers of boxes are like those of COCO: about 640 x 480 pixels, landscape and portrait, and 7 boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from distune.config.data import CocoData, CocoSplitSettings, FileDataSettings, VocData
from distune.errors import UsageError

SIZES = ((640, 480), (640, 427), (480, 640), (640, 384))
"""Width and height in pixels, in turn. With a shorter side of 800 and a longer one of at most 1333 pixels, the last
becomes the largest image that there can be."""
NUM_BOXES = 7
"""Boxes of an image, as in COCO, where the mean is 7.3 (118,287 images of train2017, 860,001 boxes)."""
_MIN_SIDE_PX = 24


def write_synthetic_data(settings: FileDataSettings, root: Path, *, num_images: int) -> None:
    """Write images and annotations where the settings expect them below a folder.

    Args:
        settings: of the data; ``root`` of them does not matter.
        root: an empty folder.
        num_images: of each split, and of each part of a split that is joined of several.

    Raises:
        UsageError: there is no synthetic data of this format.
    """
    names = settings.classes or class_names(settings)
    if isinstance(settings, CocoData):
        for split in (settings.train, settings.search, settings.test):
            if split is not None:
                _write_coco(root, split, names, num_images)
    elif isinstance(settings, VocData):
        for sets in (settings.train_set, settings.search_set, settings.test_set):
            for part in (sets or "").split("+") if sets else ():
                _write_voc(settings, root, part.strip(), names, num_images)
    else:
        raise UsageError(f"data.kind = {settings.kind}: there is no synthetic data of this format; set data.root")


def class_names(settings: FileDataSettings) -> list[str]:
    """Return the classes of COCO or of Pascal VOC, as torchvision's weights state them."""
    if isinstance(settings, CocoData):
        names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    else:
        names = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    return [name for name in names if name not in ("__background__", "N/A")]


def _write_coco(root: Path, split: CocoSplitSettings, names: Sequence[str], num_images: int) -> None:
    images, annotations = root / split.images, root / split.annotations
    images.mkdir(parents=True, exist_ok=True)
    annotations.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([1, *split.annotations.encode()])
    entries: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, (width, height) in enumerate(_sizes(num_images), start=1):
        file = f"{number:012d}.jpg"
        _write_noise(images / file, width, height, random)
        entries.append({"id": number, "file_name": file, "width": width, "height": height})
        for box, label in _boxes(width, height, len(names), random):
            x1, y1, x2, y2 = box.tolist()
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]],
                }
            )
    categories = [{"id": label, "name": name} for label, name in enumerate(names, start=1)]
    annotations.write_text(json.dumps({"images": entries, "annotations": boxes, "categories": categories}))


def _write_voc(settings: VocData, root: Path, part: str, names: Sequence[str], num_images: int) -> None:
    prefix, _, image_set = part.rpartition("/")
    place = root / prefix
    images, annotations, lists = place / settings.images, place / settings.annotations, place / "ImageSets" / "Main"
    for folder in (images, annotations, lists):
        folder.mkdir(parents=True, exist_ok=True)
    # Names differ between sets: no image may be in two splits.
    label_of_set = "all" if image_set == "*" else image_set
    random = np.random.default_rng([2, *part.encode()])
    stems = []
    for number, (width, height) in enumerate(_sizes(num_images), start=1):
        stem = f"{label_of_set}_{number:06d}"
        stems.append(stem)
        _write_noise(images / f"{stem}.jpg", width, height, random)
        (annotations / f"{stem}.xml").write_bytes(_voc_xml(stem, width, height, names, random))
    if image_set != "*":
        (lists / f"{image_set}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def _voc_xml(stem: str, width: int, height: int, names: Sequence[str], random: np.random.Generator) -> bytes:
    tree = ElementTree.Element("annotation")
    ElementTree.SubElement(tree, "filename").text = f"{stem}.jpg"
    size = ElementTree.SubElement(tree, "size")
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        ElementTree.SubElement(size, key).text = str(value)
    for box, label in _boxes(width, height, len(names), random):
        entry = ElementTree.SubElement(tree, "object")
        ElementTree.SubElement(entry, "name").text = names[label - 1]
        ElementTree.SubElement(entry, "difficult").text = "0"
        bounds = ElementTree.SubElement(entry, "bndbox")
        for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), box + np.array([1, 1, 0, 0]), strict=True):
            ElementTree.SubElement(bounds, key).text = str(int(edge))
    return ElementTree.tostring(tree)


def _sizes(num_images: int) -> Iterator[tuple[int, int]]:
    for number in range(num_images):
        yield SIZES[number % len(SIZES)]


def _write_noise(path: Path, width: int, height: int, random: np.random.Generator) -> None:
    # Enlarged noise: as JPEG it is as large as a photograph, and not ten times larger.
    coarse = random.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(path, quality=90)


def _boxes(
    width: int, height: int, num_classes: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield xyxy boxes in whole pixels whose sides are distributed evenly on a logarithmic scale, and their labels."""
    for _ in range(NUM_BOXES):
        sides = np.exp(random.uniform(np.log(_MIN_SIDE_PX), np.log([width, height]))).astype(np.int64)
        corner = random.integers(0, np.array([width, height]) - sides + 1)
        yield np.concatenate([corner, corner + sides]), int(random.integers(1, num_classes + 1))
