"""Generated images of shapes, with tagged noise: data for trying things out, and for seeing what a filter finds.

The class is told by the shape alone: colours are random and close to the background's, the background is textured and
littered with strokes. Some objects are blurred, half covered or small, and tagged so. Everything follows from the seed,
the split and the index of the image.

Shape legend: ``S`` side of an image, ``H`` ``W`` a patch in pixels.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distune.config.data import ShapesData
from distune.data import boxes, canvas
from distune.data.dataset import Annotations
from distune.data.outlines import SHAPE_NAMES, Outline, cover, make_outline

GENERATOR_VERSION = 1
"""Part of the fingerprint: raise it with every change that changes an image."""

ShapesSplit = Literal["train", "search", "test"]

_STREAMS: dict[str, int] = {"train": 0, "search": 1, "test": 2}
_UNIT_PX = 96  # sizes below are for images of this side, and grow with it
_SMALL_SIDE_PX, _SIDE_PX = (10.0, 14.0), (18.0, 40.0)
_MAX_COVERED = 0.1
_PLACEMENT_TRIES = 30
_CACHED_BYTES = 1 << 29


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeObject:
    """An object before it is painted."""

    label: int
    outline: Outline
    tags: frozenset[str]


class ShapesDataset:
    """One split of generated shapes. Images are generated on first use and kept, up to 512 MiB."""

    def __init__(self, settings: ShapesData, split: ShapesSplit) -> None:
        """Generate nothing yet: each image is made when it is first asked for.

        Args:
            settings: what the images look like, and how many there are.
            split: the same settings give other images for each split.
        """
        counts = {"train": settings.num_train, "search": settings.num_search, "test": settings.num_test}
        self.name: str = split
        self.classes = SHAPE_NAMES[: settings.num_classes]
        self.faults: tuple[str, ...] = ()
        self._settings = settings
        self._num_images = counts[split]
        self._annotations: dict[int, Annotations] = {}
        self._images: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._num_images

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes generate their images anew: faster than sending them.
        return {**self.__dict__, "_annotations": {}, "_images": {}}

    def annotations(self, index: int) -> Annotations:
        """The boxes of an image: exactly around the shape, covered parts included."""
        if index not in self._annotations:
            self._annotations[index] = self._annotate(index)
        return self._annotations[index]

    def image(self, index: int) -> Tensor:
        """The pixels of an image, uint8 (3, S, S)."""
        if index in self._images:
            return self._images[index]
        layout, painter = self._generators(index)
        objects = plan_objects(layout, self._settings)
        pixels = torch.from_numpy(paint(painter, objects, settings=self._settings))
        if (len(self._images) + 1) * pixels.numel() <= _CACHED_BYTES:
            self._images[index] = pixels
        return pixels

    def _generators(self, index: int) -> tuple[np.random.Generator, np.random.Generator]:
        """One for what is where, one for the paint: so that boxes are known without painting."""
        if not 0 <= index < self._num_images:
            raise IndexError(f"image {index} of {self._num_images}")
        seed = np.random.SeedSequence([self._settings.seed, _STREAMS[self.name], index])
        layout, painter = seed.spawn(2)
        return np.random.default_rng(layout), np.random.default_rng(painter)

    def _annotate(self, index: int) -> Annotations:
        objects = plan_objects(self._generators(index)[0], self._settings)
        boxes_N4 = np.stack([item.outline.box_4 for item in objects]).astype(np.float32)
        none_N = np.zeros(len(objects), dtype=np.bool_)
        return Annotations(
            image_id=index,
            file=f"{self.name}/{index:06d}",
            width=self._settings.image_size_px,
            height=self._settings.image_size_px,
            boxes_N4=boxes_N4,
            labels_N=np.array([item.label for item in objects], dtype=np.int64),
            areas_N=boxes.areas(boxes_N4),
            crowd_N=none_N,
            difficult_N=none_N,
            tags_N=tuple(item.tags for item in objects),
            draw_masks=functools.partial(
                _draw_masks, [item.outline for item in objects], size_px=self._settings.image_size_px
            ),
        )


def plan_objects(generator: np.random.Generator, settings: ShapesData) -> list[ShapeObject]:
    """Draw classes, sizes, places and tags of 1 to ``max_objects`` objects that hardly overlap.

    An object that finds no room is left out, so a crowded image may hold fewer.
    """
    size_px = settings.image_size_px
    objects: list[ShapeObject] = []
    for _ in range(int(generator.integers(1, settings.max_objects + 1))):
        tags = _draw_tags(generator, settings)
        low, high = _SMALL_SIDE_PX if "small" in tags else _SIDE_PX
        label = int(generator.integers(1, settings.num_classes + 1))
        outline = make_outline(
            SHAPE_NAMES[label - 1],
            side_px=float(generator.uniform(low, high)) * size_px / _UNIT_PX,
            angle=float(generator.uniform(0.0, 2 * np.pi)),
            stretch=float(generator.uniform(0.75, 1.0)),
        )
        placed = _place(generator, outline, [item.outline.box_4 for item in objects], size_px)
        if placed is not None:
            objects.append(ShapeObject(label=label, outline=placed, tags=tags))
    return objects


def paint(generator: np.random.Generator, objects: list[ShapeObject], *, settings: ShapesData) -> NDArray[np.uint8]:
    """Paint objects on a background. Later objects lie above earlier ones. Returns uint8 (3, S, S)."""
    size_px, clutter = settings.image_size_px, settings.clutter
    background_SS3 = canvas.paint_background(generator, size_px=size_px, clutter=clutter)
    picture_SS3 = background_SS3.copy()
    for item in objects:
        canvas.paint_object(
            generator,
            picture_SS3,
            item.outline,
            blurred="blurred" in item.tags,
            min_blur_px=1.2 * size_px / _UNIT_PX,
            clutter=clutter,
        )
        if "occluded" in item.tags:
            canvas.cover_half(generator, picture_SS3, background_SS3, item.outline)
    picture_SS3 += generator.standard_normal(picture_SS3.shape, dtype=np.float32) * generator.uniform(4.0, 12.0)
    return np.ascontiguousarray(picture_SS3.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def _draw_masks(outlines: list[Outline], indices: NDArray[np.int64], *, size_px: int) -> NDArray[np.uint8]:
    """The whole shapes, covered parts included, as their boxes are."""
    masks_NHW = np.zeros((len(indices), size_px, size_px), dtype=np.uint8)
    for position, index in enumerate(indices):
        masks_NHW[position] = cover(outlines[index], size_px=size_px)
    return masks_NHW


def _draw_tags(generator: np.random.Generator, settings: ShapesData) -> frozenset[str]:
    shares = {
        "blurred": settings.blurred_share,
        "occluded": settings.occluded_share,
        "small": settings.small_share,
    }
    return frozenset(tag for tag, share in shares.items() if generator.random() < share)


def _place(
    generator: np.random.Generator, outline: Outline, taken: list[NDArray[np.float64]], size_px: int
) -> Outline | None:
    """The outline somewhere within the image, away from the boxes that are taken; None when there is no room."""
    extent_2 = outline.box_4[2:]
    for _ in range(_PLACEMENT_TRIES):
        candidate = outline.moved(generator.uniform(0.0, size_px - extent_2))
        if all(_covered(candidate.box_4, other_4) <= _MAX_COVERED for other_4 in taken):
            return candidate
    return None


def _covered(box_4: NDArray[np.float64], other_4: NDArray[np.float64]) -> float:
    """The overlap of two boxes as a share of the smaller one."""
    ax1, ay1, ax2, ay2 = box_4.tolist()
    bx1, by1, bx2, by2 = other_4.tolist()
    overlap = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return float(overlap / min((ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)))
