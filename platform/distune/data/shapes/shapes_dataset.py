"""Generated images of shapes, with tagged noise: data for trying distune and for measuring filters.

Only the shape of an object gives its class: colors are random and close to the background, which is textured and has
strokes. Some objects are blurred, half covered or small, and tagged so. Everything follows from the seed, the split and
the index of the image.

Shape legend: ``S`` side of an image.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distune.config.data import ShapesData
from distune.data import boxes
from distune.data.dataset import Annotations
from distune.data.shapes.layout import place_objects
from distune.data.shapes.outlines import SHAPE_NAMES, Outline, draw_full_mask
from distune.data.shapes.painting import paint_image

GENERATOR_VERSION = 1
"""Part of the fingerprint: raise it with every change that changes an image."""

ShapesSplit = Literal["train", "search", "test"]

_STREAMS: dict[str, int] = {"train": 0, "search": 1, "test": 2}
_CACHED_BYTES = 1 << 29


class ShapesDataset:
    """One split of generated shapes. Images are generated on first use and kept, up to 512 MiB.

    Args:
        settings: of the images, and their number per split.
        split: equal settings give other images for each split.
    """

    def __init__(self, settings: ShapesData, split: ShapesSplit) -> None:
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
        # Worker processes generate their images themselves: faster than sending them.
        return {**self.__dict__, "_annotations": {}, "_images": {}}

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image, which are tight around the whole shapes, covered parts included."""
        if index not in self._annotations:
            self._annotations[index] = self._annotate(index)
        return self._annotations[index]

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image, uint8 (3, S, S)."""
        if index in self._images:
            return self._images[index]
        layout_generator, paint_generator = self._generators(index)
        objects = place_objects(layout_generator, self._settings)
        pixels = torch.from_numpy(
            paint_image(paint_generator, objects, size_px=self._settings.image_size_px, clutter=self._settings.clutter)
        )
        if (len(self._images) + 1) * pixels.numel() <= _CACHED_BYTES:
            self._images[index] = pixels
        return pixels

    def _generators(self, index: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Return generators for the layout and for the paint of an image, so that boxes are known without painting."""
        if not 0 <= index < self._num_images:
            raise IndexError(f"image {index} of {self._num_images}")
        seed = np.random.SeedSequence([self._settings.seed, _STREAMS[self.name], index])
        layout, paint = seed.spawn(2)
        return np.random.default_rng(layout), np.random.default_rng(paint)

    def _annotate(self, index: int) -> Annotations:
        objects = place_objects(self._generators(index)[0], self._settings)
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


def _draw_masks(outlines: list[Outline], indices: NDArray[np.int64], *, size_px: int) -> NDArray[np.uint8]:
    """Draw the whole shapes, covered parts included, as in their boxes."""
    masks_NHW = np.zeros((len(indices), size_px, size_px), dtype=np.uint8)
    for position, index in enumerate(indices):
        masks_NHW[position] = draw_full_mask(outlines[index], size_px=size_px)
    return masks_NHW
