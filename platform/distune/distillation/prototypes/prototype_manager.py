"""The prototypes of a trial: collects features for them and selects new ones when they are due. Epochs count from 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from distune.collectives import broadcast
from distune.detectors.taps import Instances, View
from distune.distillation.maps.pooling import PooledFeatures
from distune.distillation.prototypes.collect_features import FeaturePass, InstancePooling
from distune.distillation.prototypes.feature_centers import Centers, FeatureCenters
from distune.distillation.prototypes.feature_queue import FeatureQueue
from distune.distillation.prototypes.prototype_report import PrototypeReport
from distune.distillation.prototypes.prototypes import InstanceFeatures, Prototypes, derive_seed
from distune.distillation.prototypes.whole_batch import gather_batch
from distune.distillation.weight_schedule import WeightSchedule

_NEVER = 0


class PrototypeManager(nn.Module):
    """The current prototypes, the epoch they were made for, and the features of the next ones; all in the state dict.

    Prototypes from a feature pass are made at the start of an epoch, also of the first with distillation. Prototypes
    from a queue are made at the end of an epoch for the next one: the first epoch with distillation has none.

    The student changes while its prototypes are in use. So with ``refresh_epochs`` other than 1, whenever the instance
    of a prototype occurs in a training batch, the prototype gets its new features, in both models, and is never older
    than an epoch; the dual bases follow at the end of the epoch. With 1, all prototypes are made anew after each epoch,
    and stay as they are during one, as in the release.

    Centers, when there are any, follow the training batches. Features are kept as pooled and centered when prototypes
    are made; those of a batch by the centers of its step.

    Args:
        schedule: of distillation.
        refresh_epochs: the number of epochs that prototypes are used for; 0 means all.
        prototypes: empty ones of the right shape.
        select: makes prototypes from features with ``seed=``.
        pool: pools the features of a feature pass.
        queue: collects features from training batches; None uses feature passes.
        collect_features: collects the features of a feature pass; None uses the queue.
        centers: subtracted from all features; None leaves them as they are.
        seed: of the random numbers of the selections; each selection gets its own.
    """

    made_for_epoch: Tensor
    figures: Tensor

    def __init__(
        self,
        schedule: WeightSchedule,
        *,
        refresh_epochs: int,
        prototypes: Prototypes,
        select: Callable[..., tuple[Prototypes, PrototypeReport]],
        pool: InstancePooling,
        queue: FeatureQueue | None = None,
        collect_features: Callable[[FeaturePass], InstanceFeatures] | None = None,
        centers: FeatureCenters | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._schedule = schedule
        self._refresh_epochs = refresh_epochs
        self._select = select
        self._collect_features = collect_features
        self._seed = seed
        self._has_prototypes = False
        self._is_collecting = False
        self._is_new = False
        self.pool = pool
        self.register_buffer("made_for_epoch", torch.tensor(_NEVER))
        self.register_buffer("figures", torch.zeros(len(PrototypeReport.names()), dtype=torch.float64))
        self.prototypes = prototypes
        self.queue = queue
        self.centers = centers
        self.register_load_state_dict_pre_hook(_read_epoch_from_zero)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_update_has_prototypes)  # type: ignore[no-untyped-call]

    @property
    def current(self) -> Prototypes | None:
        """The current prototypes; None before the first ones."""
        return self.prototypes if self._has_prototypes else None

    @property
    def current_centers(self) -> Centers | None:
        """The centers so far; None when features are not centered."""
        return None if self.centers is None else self.centers.current

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of ``PrototypeReport`` about the current prototypes by metric name; empty without prototypes."""
        return dict(zip(PrototypeReport.names(), self.figures.tolist(), strict=True)) if self._has_prototypes else {}

    @property
    def is_collecting(self) -> bool:
        """True when the features of this epoch's batches are needed for later prototypes."""
        return self._is_collecting

    @property
    def is_in_use(self) -> bool:
        """True when the features of this epoch's batches are needed, for the present prototypes or later ones."""
        return self._is_collecting or self._has_prototypes

    def begin_epoch(self, epoch: int, source: FeaturePass) -> None:
        """Make prototypes from a feature pass when they are due in this epoch.

        Args:
            epoch: the epoch that begins, from 1.
            source: runs a feature pass; only called when needed.
        """
        if self._collect_features is not None and self._next_refresh(epoch) == epoch:
            features = self._collect_features(source)
            if self.centers is not None:
                pooled = PooledFeatures(features.student_LND, features.teacher_LNE)
                self.centers.update_from_feature_pass(pooled, features.labels_N, features.counts_LN)
            self._make(features, epoch)
        is_active = self._schedule.factor(epoch) > 0
        self._is_collecting = self.queue is not None and is_active and self._next_refresh(epoch + 1) is not None

    def add_batch(
        self, student: View, teacher: View, features: PooledFeatures, instances: Instances, counted_LN: Tensor
    ) -> PooledFeatures:
        """Add a training batch: update centers and prototypes, and keep its features if later prototypes need them.

        Waits for no device.

        Args:
            student: the student's maps.
            teacher: the teacher's maps.
            features: of the instances, as pooled.
            instances: of the batch.
            counted_LN: bool, the levels on which each counts.

        Returns:
            The features, centered by the centers of this step.
        """
        of_batch, instances, counted_LN = gather_batch(features, instances, counted_LN)
        if self.centers is not None:
            self.centers.update(student, teacher, of_batch, instances.labels_N, counted_LN)
        if self.queue is not None and self._is_collecting:
            self.queue.add(of_batch, instances, counted_LN)
        if self._has_prototypes and self._follows_instances:
            self.prototypes.refresh(self.center(of_batch), instances.origin_N2)
        return self.center(features)

    def center(self, features: PooledFeatures) -> PooledFeatures:
        """Return the features minus the present centers, if there are any."""
        return features if self.centers is None else self.centers.center(features)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Make prototypes from the queue when the next epoch needs them.

        A queue without instances makes none; it continues to collect in the next epoch.

        Args:
            epoch: the epoch that ends, from 1.

        Returns:
            Figures about the prototypes made in this epoch by metric name; empty when none were made.
        """
        if self._has_prototypes and self._follows_instances:
            self.prototypes.update_duals()
        if self.queue is not None and self._is_collecting and self._next_refresh(epoch + 1) == epoch + 1:
            features = self.queue.features()
            if features.labels_N.numel() > 0:
                self._make(features, epoch + 1)
                self.queue.clear()
        is_new, self._is_new = self._is_new, False
        return self.metrics if is_new else {}

    @property
    def _follows_instances(self) -> bool:
        return self._refresh_epochs != 1

    def _next_refresh(self, epoch: int) -> int | None:
        made_for = int(self.made_for_epoch)
        return self._schedule.next_refresh(
            epoch, made_for=None if made_for == _NEVER else made_for, refresh_epochs=self._refresh_epochs
        )

    def _make(self, features: InstanceFeatures, epoch: int) -> None:
        epochs_done = epoch - 1
        centered = self.center(PooledFeatures(features.student_LND, features.teacher_LNE))
        features = dataclasses.replace(features, student_LND=centered.student_LND, teacher_LNE=centered.teacher_LNE)
        self.prototypes, report = self._select(features, seed=derive_seed(self._seed, epochs_done))
        broadcast(self.buffers())  # rounding may differ between the devices of a trial, and selections with it
        self.made_for_epoch.fill_(epoch)
        self._has_prototypes = True
        self._is_new = True
        self.figures.copy_(torch.tensor(list(report.metrics().values()), dtype=torch.float64))


def _read_epoch_from_zero(_manager: nn.Module, state: dict[str, Any], prefix: str, *_rest: Any) -> None:
    """Read a state dict of earlier versions, in which epochs counted from 0: ``made_for``, -1 for never."""
    made_for = state.pop(f"{prefix}made_for", None)
    if made_for is not None:
        state[f"{prefix}made_for_epoch"] = made_for + 1


def _update_has_prototypes(manager: nn.Module, _mismatch: Any) -> None:
    assert isinstance(manager, PrototypeManager)
    manager._has_prototypes = int(manager.made_for_epoch) != _NEVER
