"""The stream of training batches. The batches of epoch ``n`` depend on the seed and ``n`` only.

They do not depend on the number of workers, earlier epochs, or other random numbers: the order of each epoch has its
own generator, and so has the augmentation of each image in each epoch.

Shape legend: ``n`` boxes of an image, ``h`` ``w`` its size after resizing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

from distune.data.check import stop_if_corrupt
from distune.data.dataset import DetectionDataset, ImageError
from distune.data.epoch_batches import EpochBatches
from distune.data.loading import make_loader
from distune.data.transforms import Sample, Transform
from distune.errors import DataError

_AUGMENTATION, _BATCH_ORDER = 2, 3  # independent of the random numbers of ``epoch_batches``

_Item = TypeVar("_Item")
_Key = tuple[int | None, int, int]
"""The epoch, or None for no augmentation, the index of an image, and the number of its earlier presentations in the
epoch."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images and their boxes.

    Attributes:
        images: float32 (3, h, w) in [0, 1], of different sizes.
        targets: of each image ``boxes`` (n, 4) xyxy pixels float32, ``labels`` (n,) int64 from 1 to C, ``image_index``
            () int64 in the data set, ``box_index`` (n,) int64 in the arrays of ``annotations(image_index)``; and
            ``masks`` (n, h, w) uint8 where the stream has masks.
        key: equal for batches of one stream that hold the same; None where none are repeated.
        teacher_images: the images in the size that the teacher takes; None where it takes those of the student.
    """

    images: list[Tensor]
    targets: list[dict[str, Tensor]]
    key: str | None = None
    teacher_images: list[Tensor] | None = None

    @property
    def images_for_teacher(self) -> list[Tensor]:
        """The images that the teacher takes."""
        return self.images if self.teacher_images is None else self.teacher_images

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Batch:
        """Copy to a device, asynchronously from pinned memory."""
        return Batch(
            images=[image.to(device, non_blocking=True) for image in self.images],
            targets=[
                {name: value.to(device, non_blocking=True) for name, value in target.items()} for target in self.targets
            ],
            key=self.key,
            teacher_images=None
            if self.teacher_images is None
            else [image.to(device, non_blocking=True) for image in self.teacher_images],
        )

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory. Called by torch's loader."""
        return Batch(
            images=[image.pin_memory() for image in self.images],
            targets=[{name: value.pin_memory() for name, value in target.items()} for target in self.targets],
            teacher_images=None
            if self.teacher_images is None
            else [image.pin_memory() for image in self.teacher_images],
        )


class TrainingStream:
    """Batches of a training split, epoch by epoch.

    Crowd and difficult boxes are left out; images without boxes are not. An image that cannot be decoded is skipped, so
    its batch is smaller; empty batches are skipped.

    Args:
        dataset: the training split.
        training_transform: transform of the samples of ``epoch``, with augmentation.
        plain_transform: transform of the samples of ``plain_batches``.
        batch_size: images per batch, at least 1.
        seed: of the order and the augmentation, at least 0.
        num_workers: processes that load images; 0 loads in this one. They are kept between epochs, until ``close``.
        pin_memory: put batches into page-locked memory, for asynchronous copies to a GPU.
        with_masks: draw the masks of the objects, which takes time and memory. The data set must have them.
        repeats_N: mean number of presentations of each image in an epoch; None is 1.
        groups_N: group of each image, for batches of similar aspect ratios; None mixes all images.
        draws_sizes: whether ``training_transform`` draws the sizes of images.
        squares_px: for which both transforms resize, see ``distune.data.transforms.training_transform``.
        copies: number of epochs that differ, at least 1: later ones show the batches of these again, in another order.
            None never repeats any.

    Attributes:
        dataset: the training split.
        batch_size: images per batch.
        num_workers: processes that load images; 0 loads in this one.
        part: number of this process, from 0, and number of processes that share each batch of an epoch. Each has a
            part of its images, which may be empty. May be set between epochs.
        draws_sizes: True if images of ``epoch`` have other sizes than those of evaluation, so detectors must take them
            as they are.
        squares_px: as given.
        corrupt: name of each image that could not be decoded so far, with the reason.

    Raises:
        DataError: the data set has no images.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        *,
        training_transform: Transform,
        plain_transform: Transform,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        pin_memory: bool = False,
        with_masks: bool = False,
        repeats_N: NDArray[np.float64] | None = None,
        groups_N: NDArray[np.int64] | None = None,
        draws_sizes: bool = False,
        squares_px: Sequence[int | None] = (None,),
        copies: int | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise DataError(f"{dataset.name}: has no images, so it cannot be used for training")
        self.corrupt: dict[str, str] = {}
        self._given: set[int] = set()
        self.dataset = dataset
        self.batch_size = batch_size
        self.part = (0, 1)
        self.draws_sizes = draws_sizes
        self.squares_px = tuple(squares_px)
        self._batches = EpochBatches(
            num_images=len(dataset), batch_size=batch_size, seed=seed, repeats_N=repeats_N, groups_N=groups_N
        )
        self._seed = seed
        self._copies = copies
        self.num_workers = num_workers
        self._pin_memory = pin_memory
        self._samples = _Samples(
            dataset, training=training_transform, plain=plain_transform, seed=seed, with_masks=with_masks
        )
        self._plan = _Plan()
        self._loader: DataLoader[_Loaded] | None = None

    def __len__(self) -> int:
        """Return the number of batches per epoch. An incomplete last batch is dropped, unless it is the only one."""
        return len(self._batches)

    @property
    def num_presentations(self) -> int:
        """Number of images of an epoch, repeats and those of a dropped last batch included."""
        return self._batches.num_presentations

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch. With workers, only one epoch can be iterated at a time.

        Args:
            number: of the epoch.

        Yields:
            Batch: of ``batch_size`` images, or this process's part of them; fewer where images cannot be decoded.

        Raises:
            DataError: more than 1% of the images, and more than one, cannot be decoded; with several processes, of the
                images that this one was given so far.
        """
        shown = number if self._copies is None else number % self._copies
        if self._loader is None:
            self._loader = self._make_loader(self._plan, keep_workers=True)
        batches: list[list[_Key]] = [
            [(shown, index, earlier) for index, earlier in part_of(batch, *self.part)]
            for batch in self._batches.of_epoch(shown)
        ]
        self._given.update(index for batch in batches for _, index, _ in batch)
        positions = list(range(len(batches)))
        if shown != number:
            positions = np.random.default_rng([_BATCH_ORDER, self._seed, number]).permutation(positions).tolist()
        self._plan.batches = [batches[position] for position in positions]
        for position, batch in zip(positions, self._decoded_batches(self._loader), strict=True):
            if batch.images or self.part[1] > 1:
                yield batch if self._copies is None else dataclasses.replace(batch, key=_key(shown, position, batch))

    def plain_batches(self, indices: Sequence[int]) -> Iterator[Batch]:
        """Return batches of resized images without augmentation.

        Args:
            indices: of the images, in order.

        Returns:
            The batches; the last one may be smaller.

        Raises:
            DataError: more than 1% of the images, and more than one, cannot be decoded; with several processes, of the
                images that this one was given so far.
        """
        plan = _Plan()
        plan.batches = [
            [(None, int(index), 0) for index in indices[start : start + self.batch_size]]
            for start in range(0, len(indices), self.batch_size)
        ]
        self._given.update(int(index) for index in indices)
        return (batch for batch in self._decoded_batches(self._make_loader(plan, keep_workers=False)) if batch.images)

    def close(self) -> None:
        """Stop the worker processes. The next epoch starts new ones."""
        self._loader = None

    def _make_loader(self, plan: _Plan, *, keep_workers: bool) -> DataLoader[_Loaded]:
        return make_loader(
            self._samples,
            plan,
            collate=_collate,
            num_workers=self.num_workers,
            keep_workers=keep_workers,
            pin_memory=self._pin_memory,
        )

    def _decoded_batches(self, loader: DataLoader[_Loaded]) -> Iterator[Batch]:
        for loaded in loader:
            if loaded.corrupt:
                self.corrupt.update(loaded.corrupt)
                # Of several processes, each decodes a part of the images: those of its own batches so far.
                num_images = len(self.dataset) if self.part[1] == 1 else len(self._given)
                stop_if_corrupt(f"split {self.dataset.name}", self.corrupt, num_images)
            yield loaded.batch


def part_of(batch: list[_Item], number: int, of: int) -> list[_Item]:
    """Return the part of a batch that a process has: neighbors, and as many as the others, but for one."""
    return batch[len(batch) * number // of : len(batch) * (number + 1) // of]


def sample_seed(*, seed: int, epoch: int, index: int, earlier: int = 0) -> int:
    """Return the seed of the augmentation of an image in an epoch that has shown it ``earlier`` times."""
    parts = [_AUGMENTATION, seed, epoch, index, *([earlier] if earlier > 0 else [])]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _key(shown: int, position: int, batch: Batch) -> str:
    """Return the key of a batch: its place, and its images, which are fewer if one could not be decoded this time."""
    return f"{shown}/{position}/{'-'.join(str(int(target['image_index'])) for target in batch.targets)}"


class _Plan:
    """The keys of each batch of the next pass: a batch sampler that can be refilled while workers are kept."""

    def __init__(self) -> None:
        self.batches: list[list[_Key]] = []

    def __iter__(self) -> Iterator[list[_Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Samples(Dataset[Sample | ImageError]):
    def __init__(
        self, dataset: DetectionDataset, *, training: Transform, plain: Transform, seed: int, with_masks: bool
    ) -> None:
        self._dataset = dataset
        self._training = training
        self._plain = plain
        self._seed = seed
        self._with_masks = with_masks

    def __getitem__(self, key: _Key) -> Sample | ImageError:
        epoch, index, earlier = key
        try:
            sample = _sample(self._dataset, index, with_masks=self._with_masks)
        except ImageError as error:
            return error
        if epoch is None:
            return self._plain(sample)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which also seeds the generators of GPUs.
            seed = sample_seed(seed=self._seed, epoch=epoch, index=index, earlier=earlier)
            torch.default_generator.manual_seed(seed)
            return self._training(sample)


@dataclasses.dataclass(frozen=True)
class _Loaded:
    batch: Batch
    corrupt: dict[str, str]

    def pin_memory(self) -> _Loaded:
        return _Loaded(self.batch.pin_memory(), self.corrupt)


def _sample(dataset: DetectionDataset, index: int, *, with_masks: bool) -> Sample:
    annotations = dataset.annotations(index)
    kept_n = np.flatnonzero(~annotations.ignored_N)
    boxes_n4 = torch.from_numpy(annotations.boxes_N4[kept_n])
    sample = {
        "image": tv_tensors.Image(dataset.image(index)),
        "boxes": tv_tensors.BoundingBoxes(boxes_n4, format="XYXY", canvas_size=(annotations.height, annotations.width)),
        "labels": torch.from_numpy(annotations.labels_N[kept_n]),
        "box_index": torch.from_numpy(kept_n),
        "image_index": torch.tensor(index, dtype=torch.int64),
    }
    if with_masks:
        assert annotations.draw_masks is not None, "the data was read without masks"
        sample["masks"] = tv_tensors.Mask(torch.from_numpy(annotations.draw_masks(kept_n)))
    return sample


def _collate(samples: list[Sample | ImageError]) -> _Loaded:
    corrupt = {sample.file: sample.problem for sample in samples if isinstance(sample, ImageError)}
    good = [sample for sample in samples if not isinstance(sample, ImageError)]
    names = ("image", "teacher_image")
    targets = [{name: value for name, value in sample.items() if name not in names} for sample in good]
    images, *others = [[sample[name] for sample in good if name in sample] for name in names]
    return _Loaded(Batch(images, targets, teacher_images=others[0] or None), corrupt)
