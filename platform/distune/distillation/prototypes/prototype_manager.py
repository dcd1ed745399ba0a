"""Keeps the prototypes of a trial: gathers features for them and makes them anew when the time has come."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings, FeaturePassSettings, FeatureQueueSettings
from distune.detectors.taps import Instances
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.prototypes.feature_pass import FeaturePass, InstancePooling, collect_features
from distune.distillation.prototypes.feature_queue import FeatureQueue
from distune.distillation.prototypes.prototype_report import PrototypeReport
from distune.distillation.prototypes.prototypes import InstanceFeatures, Prototypes, make_prototypes
from distune.distillation.weight_schedule import Schedule

_NEVER = -1


class PrototypeManager(nn.Module):
    """Prototypes, when they were made, and what the next ones will be made of. All of it is in the state dict.

    From a ``feature_pass`` prototypes are made at the start of an epoch, the first with distillation among them. From a
    ``queue`` they are made at the end of an epoch for the next one: the first epoch with distillation has none.

    Args:
        settings: of distillation.
        schedule: says in which epochs there is distillation.
        strides: the common levels, fine to coarse.
        num_classes: without background.
        student_channels: of the student's neck maps.
        teacher_channels: of the teacher's neck maps.
        seed: of whatever is random in the making of prototypes; each time draws for itself.
    """

    made_for: Tensor
    figures: Tensor

    def __init__(
        self,
        settings: DistillationSettings,
        schedule: Schedule,
        *,
        strides: tuple[int, ...],
        num_classes: int,
        student_channels: int,
        teacher_channels: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._schedule = schedule
        self._seed = seed
        self._num_classes = num_classes
        self._has_prototypes = False
        self._is_collecting = False
        self._is_news = False
        self.pool = InstancePooling(strides, settings.pooling)
        self.register_buffer("made_for", torch.tensor(_NEVER))
        self.register_buffer("figures", torch.zeros(len(PrototypeReport.names()), dtype=torch.float64))
        self.prototypes = Prototypes(
            strides,
            num_classes=num_classes,
            num_prototypes=settings.prototypes.per_class,
            student_channels=student_channels,
            teacher_channels=teacher_channels,
        )
        self.register_load_state_dict_post_hook(_look_for_prototypes)  # type: ignore[no-untyped-call]
        self.queue: FeatureQueue | None = None
        if isinstance(settings.prototypes.source, FeatureQueueSettings):
            self.queue = FeatureQueue(
                num_levels=len(strides),
                num_classes=num_classes,
                capacity=settings.prototypes.source.max_instances,
                student_channels=student_channels,
                teacher_channels=teacher_channels,
                min_box_side_px=settings.prototypes.min_box_side_px,
            )

    @property
    def current(self) -> Prototypes | None:
        """The present prototypes; None before the first ones."""
        return self.prototypes if self._has_prototypes else None

    @property
    def metrics(self) -> dict[str, float]:
        """What was said about the present prototypes when they were made, by metric name; empty without any."""
        return dict(zip(PrototypeReport.names(), self.figures.tolist(), strict=True)) if self._has_prototypes else {}

    @property
    def is_collecting(self) -> bool:
        """Whether features of this epoch's batches are wanted: prototypes will be made of them later."""
        return self._is_collecting

    def begin_epoch(self, epoch: int, source: FeaturePass) -> None:
        """Makes prototypes from a feature pass when they are due in this epoch."""
        feature_pass = self._settings.prototypes.source
        if isinstance(feature_pass, FeaturePassSettings) and self._next_refresh(epoch) == epoch:
            features = collect_features(
                source,
                pool=self.pool,
                min_box_side_px=self._settings.prototypes.min_box_side_px,
                max_images=feature_pass.max_images,
                num_classes=self._num_classes,
            )
            self._make(features, epoch)
        is_active = self._schedule.factor(epoch) > 0
        self._is_collecting = self.queue is not None and is_active and self._next_refresh(epoch + 1) is not None

    def observe(self, features: PooledFeatures, instances: Instances) -> None:
        """Harvests the features of a batch. Waits for no device."""
        if self.queue is not None and self._is_collecting:
            self.queue.add(features, instances)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Makes prototypes from the queue when the next epoch needs them. Metrics of what was made in this epoch.

        A queue without a single instance makes none: the next epoch queues again.
        """
        if self.queue is not None and self._is_collecting and self._next_refresh(epoch + 1) == epoch + 1:
            features = self.queue.collect()
            if features.labels_N.numel() > 0:
                self._make(features, epoch + 1)
                self.queue.clear()
        is_news, self._is_news = self._is_news, False
        return self.metrics if is_news else {}

    def _next_refresh(self, epoch: int) -> int | None:
        made_for = int(self.made_for)
        return self._schedule.next_refresh(
            epoch,
            made_for=None if made_for == _NEVER else made_for,
            refresh_epochs=self._settings.prototypes.refresh_epochs,
        )

    def _make(self, features: InstanceFeatures, epoch: int) -> None:
        own = self._settings.prototypes
        self.prototypes, report = make_prototypes(
            features,
            self.pool.strides,
            num_classes=self._num_classes,
            num_prototypes=own.per_class,
            alpha=own.alpha,
            unique=own.unique,
            density_bandwidth=own.density_bandwidth,
            density_quantile=own.density_quantile,
            selector=own.selector,
            seed=_seed_of(self._seed, epoch),
        )
        self.made_for.fill_(epoch)
        self._has_prototypes = True
        self._is_news = True
        self.figures.copy_(torch.tensor(list(report.metrics().values()), dtype=torch.float64))


def _look_for_prototypes(prototype_manager: nn.Module, _mismatch: Any) -> None:
    assert isinstance(prototype_manager, PrototypeManager)
    prototype_manager._has_prototypes = int(prototype_manager.made_for) != _NEVER


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
