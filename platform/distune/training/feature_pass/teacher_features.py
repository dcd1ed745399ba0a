"""Feature passes with cached teacher features.

Every feature pass uses the same images in the same batches, so the teacher processes them once for all students, epochs
and trials.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from distune.config.hashing import content_hash
from distune.data.stream import Batch, TrainingStream
from distune.detectors.taps import Detector, Frame, Instances, View
from distune.distillation.prototypes.collect_features import FeaturePass, InstancePooling
from distune.training.feature_pass.feature_cache import FeatureCache, Features
from distune.training.feature_pass.image_order import ImageOrder
from distune.training.precision import autocast
from distune.training.student import Student
from distune.training.tensor_hash import tensors_hash

_ORDER_SEED = 0
_BATCHES_PER_PART = 32
_VERSION = 1
"""Part of every name in the cache. Increase it with every change that changes features."""


class FeaturePasses:
    """The feature passes of a cohort's students, with the teacher's features from a cache.

    Args:
        teacher: on ``device``.
        stream: gives the dataset and the batch size.
        device: of both models.
        dtype: precision of the forward passes under autocast; None is float32.
        cache: of the teacher's features.
        identity: plain data that also determines the features: fingerprint of the data, image sizes and the teacher's
            settings. Weights, images, batch size, device and precision are added here.
    """

    def __init__(
        self,
        teacher: Detector,
        stream: TrainingStream,
        *,
        device: torch.device,
        dtype: torch.dtype | None,
        cache: FeatureCache,
        identity: Mapping[str, Any],
    ) -> None:
        self._teacher = teacher
        self._stream = stream
        self._device = device
        self._dtype = dtype
        self._cache = cache
        self._given_identity = identity

    def of(self, student: Student) -> FeaturePass:
        """Return the feature pass of a student, the argument of ``Objective.begin_epoch``."""

        def feature_pass(max_images: int) -> Iterator[tuple[View, View | Tensor, Instances]]:
            prototype_manager = None if student.objective is None else student.objective.prototype_manager
            assert prototype_manager is not None, "only a prototype manager runs feature passes"
            indices = self._order.images(max_images)
            part_of = {index: position // self._images_per_part for position, index in enumerate(indices)}
            batches = self._stream.plain_batches(indices)
            for part, members in itertools.groupby(batches, key=lambda batch: part_of[_images_of(batch)[0]]):
                start = part * self._images_per_part
                name = self._name(prototype_manager.pool, indices[start : start + self._images_per_part])
                with self._cache.part(name) as cached:
                    for batch in members:
                        yield self._features(student.detector, batch, prototype_manager.pool, cached)

        return feature_pass

    def _features(
        self, student: Detector, batch: Batch, pool: InstancePooling, cached: Features
    ) -> tuple[View, Tensor, Instances]:
        key = ",".join(str(index) for index in _images_of(batch))
        moved = batch.to(self._device)
        instances = Instances.of(moved.targets, _frame_of(moved.images))
        with autocast(self._device, self._dtype):
            student_view = student.neck_only(moved.images)
            if key not in cached:
                teacher_view = self._teacher.neck_only(moved.images_for_teacher)
        if key not in cached:
            cached[key] = pool(teacher_view, instances).cpu()
        return student_view, cached[key].to(self._device), instances

    def _name(self, pool: InstancePooling, indices: list[int]) -> str:
        identity = {**self._identity, "strides": pool.strides, "pooling": pool.kind, "images": indices}
        return content_hash(identity, length=32)

    @property
    def _images_per_part(self) -> int:
        return _BATCHES_PER_PART * self._stream.batch_size

    @functools.cached_property
    def _order(self) -> ImageOrder:
        return ImageOrder.of(self._stream.dataset, seed=_ORDER_SEED)

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        return {
            **self._given_identity,
            "version": _VERSION,
            "weights": tensors_hash(self._teacher.model.state_dict()),
            "batch_size": self._stream.batch_size,
            "device": self._device.type,
            "dtype": str(self._dtype),
            **({} if self._stream.squares_px == (None,) else {"squares_px": list(self._stream.squares_px)}),
        }


def _images_of(batch: Batch) -> list[int]:
    return [int(target["image_index"]) for target in batch.targets]


def _frame_of(images: list[Tensor]) -> Frame:
    """Return the frame of images before a model resizes them."""
    sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in images)
    return Frame((max(height for height, _ in sizes), max(width for _, width in sizes)), sizes)
