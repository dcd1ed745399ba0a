"""The objective of distillation: all losses between student and teacher by name.

Shape legend: ``L`` common levels, ``N`` instances of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from distune.detectors.taps import Instances, PredictionSites, StudentTaps, TeacherTaps, View
from distune.distillation.epoch_means import EpochMeans
from distune.distillation.feature_geometry import FeatureSample
from distune.distillation.filter_auc import FilterAuc, TagsOf
from distune.distillation.filtering import InstanceWeights, RobustFilter
from distune.distillation.gradient_balance import GradientBalance, Measurement, RecordedGradients
from distune.distillation.maps.box_masks import counted_levels
from distune.distillation.maps.map_statistics import PairStatistics
from distune.distillation.maps.pooling import PooledFeatures, Pooling, pool_both
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.distillation.prototypes.feature_centers import Centers
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.prototypes.prototypes import Prototypes
from distune.distillation.representation import Representations
from distune.distillation.term import DistillationTerm, Step
from distune.distillation.weight_schedule import WeightSchedule

_LOG_SHARE = "log_share/"
_MEASURED = "measured/"


class Objective(nn.Module):
    """Combines the terms, the filter and the prototypes of one student.

    Its parameters are the adapters and train with the student. Its state dict also holds the prototypes, the queue and
    the statistics of the maps, so that a resumed trial continues exactly. Epochs count from 1::

        objective.begin_epoch(epoch, feature_pass)
        for images, targets in batches:
            taps = student.forward_train(images, targets)
            losses = {**taps.losses, **objective(taps, teacher.forward_teacher(images))}
            ...
        metrics = objective.end_epoch()

    Args:
        terms: by name.
        weights: of the terms.
        balanced: the terms whose weight is a fraction of the task loss's gradient on the student's neck.
        schedule: the factor on all weights by epoch.
        strides: the common levels, fine to coarse.
        pooling: how the features of instances are averaged.
        instance_filter: computes the weights of instances.
        prototype_manager: None when neither a term nor the filter needs prototypes.
        statistics: of both models' maps; None when terms imitate the maps as they are.
        min_box_cells: the smallest side of a box, in cells of a level, with which it counts there; 0 counts all boxes.
        tags_of: the tags of an image's boxes; None on data without tags.
    """

    def __init__(
        self,
        terms: Mapping[str, DistillationTerm],
        *,
        weights: Mapping[str, float],
        balanced: Collection[str] = (),
        schedule: WeightSchedule,
        strides: tuple[int, ...],
        pooling: Pooling,
        instance_filter: RobustFilter,
        prototype_manager: PrototypeManager | None = None,
        statistics: PairStatistics | None = None,
        min_box_cells: float = 0.0,
        tags_of: TagsOf | None = None,
    ) -> None:
        super().__init__()
        self._terms = dict(terms)
        self._weights = dict(weights)
        self._balanced = frozenset(balanced)
        self._schedule = schedule
        self._strides = strides
        self._pooling: Pooling = pooling
        self._filter = instance_filter
        self.learned = nn.ModuleDict({name: t for name, t in self._terms.items() if isinstance(t, nn.Module)})
        self.prototype_manager = prototype_manager
        self.balance = GradientBalance(list(self._terms)) if self._terms else None
        self.statistics = statistics
        self._min_box_cells = min_box_cells
        self._sample = FeatureSample(strides)
        self._epoch = 0
        self._factor = 0.0
        self._means = EpochMeans()
        self._filter_auc = None if tags_of is None else FilterAuc(tags_of)

    @property
    def prototypes(self) -> Prototypes | None:
        """The current prototypes; None before the first ones, or when nothing needs any."""
        return None if self.prototype_manager is None else self.prototype_manager.current

    def is_active_in(self, epoch: int) -> bool:
        """Return whether any term is active in an epoch, from 1. Otherwise the teacher is not needed."""
        return bool(self._terms) and self._schedule.factor(epoch) > 0

    def begin_epoch(self, epoch: int, feature_pass: FeaturePass) -> None:
        """Start an epoch, also after loading a state dict. Makes prototypes when they are due from a feature pass.

        Args:
            epoch: the epoch that begins, from 1.
            feature_pass: returns both models' maps of training images; only called when needed.
        """
        self._epoch = epoch
        self._factor = self._schedule.factor(epoch)
        self._means.reset()
        if self.balance is not None:
            self.balance.begin_epoch()
        self._sample.reset()
        if self._filter_auc is not None:
            self._filter_auc.reset()
        if self.prototype_manager is not None:
            self.prototype_manager.begin_epoch(epoch, feature_pass)

    @property
    def measures_gradients(self) -> bool:
        """True when the coming step of the current epoch measures the gradients of its terms."""
        return self.balance is not None and self.is_active_in(self._epoch) and self.balance.is_any_due

    def neck_maps(self, student: StudentTaps) -> list[Tensor]:
        """Return the student's maps on the common levels, on which gradients are compared."""
        return [student.neck[stride] for stride in self._strides]

    def forward(
        self, student: StudentTaps, teacher: TeacherTaps, task_gradients: RecordedGradients | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted and decayed losses of a step by the names of the terms, float32.

        Only active terms: none outside the schedule, and none that needs prototypes while there are none. Waits for no
        device, and does not depend on train or eval mode. ``task_gradients`` are those of the task loss on
        ``neck_maps``, if its backward pass has been run; else a step that measures runs one through the heads.
        """
        if not self.is_active_in(self._epoch):
            return {}
        device_type = student.prediction_sites.logits_RC.device.type
        teacher = _with_current_autocast(teacher, device_type)
        with torch.autocast(device_type, enabled=False):
            step = self._step(student, teacher)
            raw = {
                name: term(step)
                for name, term in self._terms.items()
                if step.representations is not None or not term.needs_prototypes
            }
            losses = self._weighted(raw, student, task_gradients)
        if self.prototype_manager is not None:
            self._update_filter_means(step)
            if self._filter_auc is not None and step.representations is not None:
                self._filter_auc.update(step.instances, step.weights)
        return losses

    @torch.no_grad()
    def instance_weights(self, student: View, teacher: View, instances: Instances) -> InstanceWeights:
        """Return the weights of instances by the current prototypes, to inspect the filter."""
        if self.prototypes is None:
            return self._ones(instances)
        assert self.prototype_manager is not None
        features = self.prototype_manager.center(self._pool(student, teacher, instances, with_gradient=False))
        representations = Representations(features, self.prototypes, instances.labels_N)
        return self._filter(representations, self._counted(instances))

    def end_epoch(self) -> dict[str, float]:
        """End the epoch. Makes prototypes from the queue when the next epoch needs them.

        Returns:
            The metrics of the epoch. ``loss/<term>``: the mean loss as it was added to the task loss.
            ``weight/<term>``: the mean factor on the term. ``share/<term>``: the length of its weighted gradient on the
            student's neck relative to the task loss's, geometric mean over the measured steps at which both have one.
            ``share_asked/<term>``: the share that its weight and the schedule ask for, where the weight is one.
            ``gradient_cosine/<term>``: between both gradients. ``filter/kept_global`` and
            ``filter/kept_local``: the mean weights of instances over levels. ``filter/discrepancy``: the mean
            discrepancy. ``filter/without_prototypes``: the fraction of instances whose class had no prototypes.
            ``filter/auc_<tag>`` and ``filter/weight_<tag>`` on data with tags: see ``FilterAuc``. ``features/...``: see
            ``FeatureSample``. ``prototypes/...`` when prototypes were made in this epoch: see ``PrototypeReport``.
        """
        metrics = self._means.compute()
        metrics |= self._shares(metrics) | self._sample.compute()
        self._means.reset()
        self._sample.reset()
        if self._filter_auc is not None:
            metrics |= self._filter_auc.compute()
            self._filter_auc.reset()
        if self.prototype_manager is not None:
            metrics |= self.prototype_manager.end_epoch(self._epoch)
        return metrics

    def _weighted(
        self, raw: dict[str, Tensor], student: StudentTaps, task_gradients: RecordedGradients | None
    ) -> dict[str, Tensor]:
        """Return the losses as they are added to the task loss; measures the gradients of the terms that are due."""
        if not raw:
            return {}
        assert self.balance is not None
        task = student.task_loss if task_gradients is None else task_gradients
        factors, measurements = self.balance.step(task, raw, self.neck_maps(student))
        losses: dict[str, Tensor] = {}
        for name, loss in raw.items():
            asked = self._weights[name] * self._factor
            weight = loss.new_full((), asked)
            if name in self._balanced:
                weight = weight * factors[name]
                self._means.update(f"share_asked/{name}", weight.new_full((), asked))
            losses[name] = weight * loss
            self._means.update(f"loss/{name}", losses[name])
            self._means.update(f"weight/{name}", weight)
            if name in measurements:
                self._update_gradient_means(name, weight, measurements[name])
        return losses

    def _update_gradient_means(self, name: str, weight: Tensor, measured: Measurement) -> None:
        """Add a measurement of a term. It stands for the steps since the one before."""
        self._means.update(f"{_MEASURED}{name}", measured.is_finite, measured.is_finite)
        share = weight.detach() * measured.ratio
        is_valid = measured.is_valid & (share > 0)
        count = is_valid * measured.num_steps
        self._means.update(f"{_LOG_SHARE}{name}", torch.log(torch.where(is_valid, share, 1.0)) * count, count)
        self._means.update(f"gradient_cosine/{name}", torch.where(is_valid, measured.cosine, 0.0) * count, count)

    def _shares(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the geometric means of the measured shares: 0 for a term that never had a gradient.

        A term whose gradients were never finite, as on steps that a gradient scaler skips, has none.
        """
        measured = [name for name in self._terms if metrics.pop(f"{_MEASURED}{name}", None) is not None]
        return {f"share/{name}": math.exp(metrics.pop(f"{_LOG_SHARE}{name}", -math.inf)) for name in measured}

    def _step(self, student: StudentTaps, teacher: TeacherTaps) -> Step:
        instances = student.instances
        counted_LN = self._counted(instances)
        features = functools.cache(lambda: self._pool(student.view, teacher.view, instances, with_gradient=True))
        representations: Representations | None = None
        centers: Centers | None = None
        if self.prototype_manager is not None and self.prototype_manager.is_in_use:
            centered = self.prototype_manager.add_batch(student.view, teacher.view, features(), instances, counted_LN)
            if self.prototypes is not None:
                representations = Representations(centered, self.prototypes, instances.labels_N)
            centers = self.prototype_manager.current_centers
            self._sample.add(centered, instances.labels_N, counted_LN)
        else:
            self._sample.add(features(), instances.labels_N, counted_LN)
        weights = self._ones(instances) if representations is None else self._filter(representations, counted_LN)
        return Step(
            student,
            teacher,
            self._strides,
            weights,
            representations,
            features,
            statistics=self.statistics,
            min_box_cells=self._min_box_cells,
            centers=centers,
        )

    def _counted(self, instances: Instances) -> Tensor:
        return counted_levels(instances.boxes_N4, self._strides, min_cells=self._min_box_cells)

    def _pool(self, student: View, teacher: View, instances: Instances, *, with_gradient: bool) -> PooledFeatures:
        return pool_both(
            student,
            teacher,
            instances,
            strides=self._strides,
            pooling=self._pooling,
            with_gradient=with_gradient,
        )

    def _ones(self, instances: Instances) -> InstanceWeights:
        return InstanceWeights.ones(len(self._strides), sum(instances.counts), instances.boxes_N4.device)

    def _update_filter_means(self, step: Step) -> None:
        weights, counted_LN = step.weights, step.counted_LN
        num_weights = counted_LN.sum()
        self._means.update("filter/kept_global", (weights.global_LN * counted_LN).sum(), num_weights)
        self._means.update("filter/kept_local", (weights.local_LN * counted_LN).sum(), num_weights)
        without_prototypes = (counted_LN & ~weights.has_prototypes_LN).sum()
        self._means.update("filter/without_prototypes", without_prototypes, num_weights)
        self._means.update("filter/discrepancy", weights.discrepancy_LN.sum(), weights.has_prototypes_LN.sum())


def _with_current_autocast(teacher: TeacherTaps, device_type: str) -> TeacherTaps:
    """Return taps whose head, when it runs later, runs in the precision of its neck and not in that of the losses."""
    dtype = torch.get_autocast_dtype(device_type)
    enabled = torch.is_autocast_enabled(device_type)

    def wrap(head: Callable[[PredictionSites], Tensor]) -> Callable[[PredictionSites], Tensor]:
        def head_in_autocast(sites: PredictionSites) -> Tensor:
            with torch.autocast(device_type, dtype=dtype, enabled=enabled):
                return head(sites)

        return head_in_autocast

    return dataclasses.replace(teacher, logits_at=wrap(teacher.logits_at), boxes_at=wrap(teacher.boxes_at))
