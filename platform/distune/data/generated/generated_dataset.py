"""A split of generated images. Everything follows from the seed, the split and the index of the image.

Shape legend: ``S`` side of an image, ``N`` objects of an image, ``K`` some of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distune.data import boxes
from distune.data.dataset import Annotations

SplitName = Literal["train", "search", "test"]

_STREAMS: dict[str, int] = {"train": 0, "search": 1, "test": 2}
_CACHED_BYTES = 1 << 29


class PlacedObject(Protocol):
    """An object of an image, before it is painted."""

    @property
    def label(self) -> int:
        """The class, 1 to C."""
        ...

    @property
    def box_4(self) -> NDArray[np.float64]:
        """The tightest xyxy box in pixels, around covered parts as well."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """Further properties, such as ``blurred``."""
        ...

    def full_mask(self, size_px: int) -> NDArray[np.uint8]:
        """Draw the mask in a square image, covered parts included, (S, S): 1 inside."""
        ...


Placed = TypeVar("Placed", bound=PlacedObject)


class Scenes(Protocol[Placed]):
    """A kind of generated images. Layout and paint are apart, so that boxes are known without painting."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names without background."""
        ...

    @property
    def size_px(self) -> int:
        """The side of the images, which are square."""
        ...

    def place(self, generator: np.random.Generator) -> list[Placed]:
        """Draw the objects of an image, at least one."""
        ...

    def paint(self, generator: np.random.Generator, objects: Sequence[Placed]) -> NDArray[np.uint8]:
        """Paint an image with these objects, (3, S, S)."""
        ...


class GeneratedDataset(Generic[Placed]):
    """One split of generated images. Images are painted on first use and kept, up to 512 MiB.

    Args:
        scenes: what the images show.
        split: equal scenes give other images for each split.
        num_images: of the split.
        seed: of the images.
    """

    def __init__(self, scenes: Scenes[Placed], split: SplitName, *, num_images: int, seed: int) -> None:
        self.name: str = split
        self.classes = scenes.classes
        self.faults: tuple[str, ...] = ()
        self._scenes = scenes
        self._num_images = num_images
        self._seed = seed
        self._annotations: dict[int, Annotations] = {}
        self._images: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._num_images

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes generate their images themselves: faster than sending them.
        return {**self.__dict__, "_annotations": {}, "_images": {}}

    def annotations(self, index: int) -> Annotations:
        """Return the boxes of an image, which are tight around whole objects, covered parts included."""
        if index not in self._annotations:
            self._annotations[index] = self._annotate(index)
        return self._annotations[index]

    def image(self, index: int) -> Tensor:
        """Return the pixels of an image, uint8 (3, S, S)."""
        if index in self._images:
            return self._images[index]
        layout_generator, paint_generator = self._generators(index)
        pixels = torch.from_numpy(self._scenes.paint(paint_generator, self._scenes.place(layout_generator)))
        if (len(self._images) + 1) * pixels.numel() <= _CACHED_BYTES:
            self._images[index] = pixels
        return pixels

    def _generators(self, index: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Return generators for the layout and for the paint of an image."""
        if not 0 <= index < self._num_images:
            raise IndexError(f"image {index} of {self._num_images}")
        layout, paint = np.random.SeedSequence([self._seed, _STREAMS[self.name], index]).spawn(2)
        return np.random.default_rng(layout), np.random.default_rng(paint)

    def _annotate(self, index: int) -> Annotations:
        objects = self._scenes.place(self._generators(index)[0])
        boxes_N4 = np.stack([item.box_4 for item in objects]).astype(np.float32)
        none_N = np.zeros(len(objects), dtype=np.bool_)
        return Annotations(
            image_id=index,
            file=f"{self.name}/{index:06d}",
            width=self._scenes.size_px,
            height=self._scenes.size_px,
            boxes_N4=boxes_N4,
            labels_N=np.array([item.label for item in objects], dtype=np.int64),
            areas_N=boxes.areas(boxes_N4),
            crowd_N=none_N,
            difficult_N=none_N,
            tags_N=tuple(item.tags for item in objects),
            draw_masks=functools.partial(_draw_masks, objects, size_px=self._scenes.size_px),
        )


def _draw_masks(objects: Sequence[PlacedObject], indices_K: NDArray[np.int64], *, size_px: int) -> NDArray[np.uint8]:
    masks_KSS = np.zeros((len(indices_K), size_px, size_px), dtype=np.uint8)
    for position, index in enumerate(indices_K):
        masks_KSS[position] = objects[index].full_mask(size_px)
    return masks_KSS
