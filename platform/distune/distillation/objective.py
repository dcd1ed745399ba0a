"""The objective of distillation: everything that a student learns from its teacher, as losses by name.

Shape legend: ``L`` common levels, ``N`` instances of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from distune.config.distillation import DistillationSettings
from distune.detectors.taps import Instances, PredictionSites, StudentTaps, TeacherTaps, View
from distune.distillation.filter_auc import TagsOf, TagWatch
from distune.distillation.filtering import InstanceWeights, build_filter
from distune.distillation.gradient_balance import GradientBalance
from distune.distillation.maps.map_statistics import PairStatistics
from distune.distillation.maps.pooling import PooledFeatures, pool_both
from distune.distillation.meters import EpochMeans
from distune.distillation.prototypes.feature_pass import FeaturePass
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.prototypes.prototypes import Prototypes
from distune.distillation.representation import Representations
from distune.distillation.term import Step, TermContext
from distune.distillation.terms import build_terms, term_weights
from distune.distillation.weight_schedule import Schedule
from distune.errors import ConfigError


class Objective(nn.Module):
    """Joins the terms, the filter and the prototypes of one student.

    Its parameters are the adapters and train with the student. Its state dict holds the prototypes, the queue and
    the statistics of the maps as well, so that a resumed trial goes on as if it had not stopped. Epochs count
    from 0::

        objective.begin_epoch(epoch, feature pass)
        for images, targets in batches:
            taps = student.forward_train(images, targets)
            losses = {**taps.losses, **objective(taps, teacher.forward_teacher(images))}
            ...
        metrics = objective.end_epoch()

    Args:
        settings: of distillation.
        num_classes: without background.
        strides: the levels that both necks have, in any order.
        student_channels: of the student's neck maps, for each of these levels.
        teacher_channels: of the teacher's.
        score_kind: ``softmax`` or ``sigmoid``, the same for both models where a term compares heads.
        base_size_px: the side from which a box belongs to stride 4 in the student, for settings that leave it open.
        num_epochs: of the whole training.
        seed: of the adapters' initial weights, and of prototypes that are drawn at random.
        tags_of: the tags of an image's boxes, where the data has tags: to see what the filter finds.

    Raises:
        ConfigError: there is no common level, or a setting does not fit the detectors.
    """

    def __init__(
        self,
        settings: DistillationSettings,
        *,
        num_classes: int,
        strides: tuple[int, ...],
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        score_kind: str,
        base_size_px: float,
        num_epochs: int,
        seed: int,
        tags_of: TagsOf | None = None,
    ) -> None:
        super().__init__()
        if not strides:
            raise ConfigError("distillation", ["the necks of student and teacher have no stride in common"])
        self._pooling = settings.pooling
        levels = sorted(zip(strides, student_channels, teacher_channels, strict=True))
        self._strides, student_channels, teacher_channels = (tuple(each) for each in zip(*levels, strict=True))
        self._filter = build_filter(settings.filter)
        stop_epoch = num_epochs if settings.stop_epoch is None else settings.stop_epoch
        self._schedule = Schedule(decay=settings.decay, start_epoch=settings.start_epoch, stop_epoch=stop_epoch)
        context = TermContext(
            strides=self._strides,
            student_channels=student_channels,
            teacher_channels=teacher_channels,
            score_kind=score_kind,
            base_size_px=base_size_px,
            generator=torch.Generator().manual_seed(seed),
        )
        self._weights = term_weights(settings)
        self._terms = build_terms(settings, context)
        self.learned = nn.ModuleDict({name: t for name, t in self._terms.items() if isinstance(t, nn.Module)})
        self.prototype_manager: PrototypeManager | None = None
        wants_prototypes = any(term.needs_prototypes for term in self._terms.values())
        if self._terms and (wants_prototypes or settings.filter.weight != "uniform"):
            self.prototype_manager = PrototypeManager(
                settings,
                self._schedule,
                strides=self._strides,
                num_classes=num_classes,
                student_channels=max(student_channels),
                teacher_channels=max(teacher_channels),
                seed=seed,
            )
        self._shared = {name for name in self._terms if settings.terms[name].unit == "gradient_share"}
        self.balance = GradientBalance(list(self._terms)) if self._terms else None
        scale = settings.standardize
        self.statistics: PairStatistics | None = None
        if self._terms and scale != "none":
            self.statistics = PairStatistics(student_channels, teacher_channels, scale)
        self._epoch = 0
        self._step_of_epoch = 0
        self._factor = 0.0
        self._means = EpochMeans()
        self._watch = None if tags_of is None else TagWatch(tags_of)

    @property
    def prototypes(self) -> Prototypes | None:
        """The present prototypes; None before the first ones, or when nothing needs any."""
        return None if self.prototype_manager is None else self.prototype_manager.current

    def is_active_in(self, epoch: int) -> bool:
        """Whether any term acts in an epoch. Where none does, the teacher need not run."""
        return bool(self._terms) and self._schedule.factor(epoch) > 0

    def begin_epoch(self, epoch: int, feature_pass: FeaturePass) -> None:
        """Starts an epoch, also after loading a state dict. Makes prototypes when a feature pass for them is due.

        Args:
            epoch: from 0.
            feature pass: gives both models' maps of training images; only called when it is needed.
        """
        self._epoch = epoch
        self._step_of_epoch = 0
        self._factor = self._schedule.factor(epoch)
        self._means.forget()
        if self._watch is not None:
            self._watch.forget()
        if self.prototype_manager is not None:
            self.prototype_manager.begin_epoch(epoch, feature_pass)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        """The losses of a step by the names of the terms, weighted and decayed, float32, ready to be added up.

        Only terms that act: none outside the schedule, and not those that need prototypes while there are none. Waits
        for no device, and does not depend on train or eval mode.
        """
        if not self.is_active_in(self._epoch):
            return {}
        device_type = student.places.logits_RC.device.type
        teacher = _with_present_autocast(teacher, device_type)
        with torch.autocast(device_type, enabled=False):
            step = self._step(student, teacher)
            raw = {
                name: term(step)
                for name, term in self._terms.items()
                if step.representations is not None or not term.needs_prototypes
            }
            losses = self._weighted(raw, student)
        if self.prototype_manager is not None:
            self._measure(step.weights)
            if self._watch is not None and step.representations is not None:
                self._watch.add(step.instances, step.weights)
        self._step_of_epoch += 1
        return losses

    @torch.no_grad()
    def weigh(self, student: View, teacher: View, instances: Instances) -> InstanceWeights:
        """The weights that instances get by the present prototypes, to look at the filter at work."""
        if self.prototypes is None:
            return self._ones(instances)
        features = self._pool(student, teacher, instances, with_gradient=False)
        return self._filter(Representations(features, self.prototypes, instances.labels_N))

    def end_epoch(self) -> dict[str, float]:
        """Ends the epoch: its metrics, and prototypes from the queue when the next epoch needs them.

        Returns:
            ``loss/<term>``, the means as they were added to the loss. ``weight/<term>``, what the term was multiplied
            by. ``share/<term>``, how long its gradient on the student's neck was beside the task loss's, with that
            weight, on the steps that were measured. ``filter/kept_global`` and ``filter/kept_local``, the mean weights
            of instances over levels. ``filter/discrepancy``, the mean of what the weights follow from.
            ``filter/without_prototypes``, the share of instances whose class had none. ``filter/auc_<tag>`` on data
            with tags (``TagWatch.read``). ``prototypes/...`` when prototypes were made in this epoch
            (``PrototypeReport``).
        """
        metrics = self._means.read()
        if self._watch is not None:
            metrics |= self._watch.read()
        if self.prototype_manager is not None:
            metrics |= self.prototype_manager.end_epoch(self._epoch)
        return metrics

    def _weighted(self, raw: dict[str, Tensor], student: StudentTaps) -> dict[str, Tensor]:
        """The losses as they are added to the task's; measures shares of the gradient on the steps that are due."""
        shares: dict[str, Tensor] = {}
        assert self.balance is not None
        if raw and self.balance.is_due(self._step_of_epoch):
            task = torch.stack([loss.float() for loss in student.losses.values()]).sum()
            shares = self.balance.measure(task, raw, [student.neck[stride] for stride in self._strides])
        losses: dict[str, Tensor] = {}
        for name, loss in raw.items():
            weight = loss.new_full((), self._weights[name] * self._factor)
            if name in self._shared:
                weight = weight * self.balance.factor(name)
            losses[name] = weight * loss
            self._means.add(f"loss/{name}", losses[name])
            self._means.add(f"weight/{name}", weight)
            if name in shares:
                self._means.add(f"share/{name}", weight * shares[name])
        return losses

    def _step(self, student: StudentTaps, teacher: TeacherTaps) -> Step:
        instances = student.instances
        prototypes = self.prototypes
        features = functools.cache(lambda: self._pool(student.view, teacher.view, instances, with_gradient=True))
        representations: Representations | None = None
        if self.prototype_manager is not None and (prototypes is not None or self.prototype_manager.is_collecting):
            self.prototype_manager.observe(features(), instances)
        if prototypes is not None:
            representations = Representations(features(), prototypes, instances.labels_N)
        weights = self._ones(instances) if representations is None else self._filter(representations)
        return Step(student, teacher, self._strides, weights, representations, features, self.statistics)

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

    def _measure(self, weights: InstanceWeights) -> None:
        num_weights = weights.known_LN.numel()
        self._means.add("filter/kept_global", weights.global_LN.sum(), num_weights)
        self._means.add("filter/kept_local", weights.local_LN.sum(), num_weights)
        self._means.add("filter/without_prototypes", (~weights.known_LN).sum(), num_weights)
        self._means.add("filter/discrepancy", weights.discrepancy_LN.sum(), weights.known_LN.sum())


def _with_present_autocast(teacher: TeacherTaps, device_type: str) -> TeacherTaps:
    """The taps whose head, when it runs later, runs in the precision that its neck ran in, not in the losses'."""
    dtype = torch.get_autocast_dtype(device_type)
    enabled = torch.is_autocast_enabled(device_type)

    def as_before(answer: Callable[[PredictionSites], Tensor]) -> Callable[[PredictionSites], Tensor]:
        def answer_in_precision(places: PredictionSites) -> Tensor:
            with torch.autocast(device_type, dtype=dtype, enabled=enabled):
                return answer(places)

        return answer_in_precision

    return dataclasses.replace(teacher, logits_at=as_before(teacher.logits_at), boxes_at=as_before(teacher.boxes_at))
