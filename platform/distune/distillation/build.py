"""Builds the objective of distillation and its prototype manager from settings."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from distune.config.distillation import DistillationSettings, FeaturePassSettings, FeatureQueueSettings
from distune.distillation.filter_auc import TagsOf
from distune.distillation.filtering import build_filter
from distune.distillation.maps.map_statistics import PairStatistics
from distune.distillation.objective import Objective
from distune.distillation.prototypes.collect_features import InstancePooling, collect_features
from distune.distillation.prototypes.feature_centers import FeatureCenters
from distune.distillation.prototypes.feature_queue import FeatureQueue
from distune.distillation.prototypes.prototype_manager import PrototypeManager
from distune.distillation.prototypes.prototypes import Prototypes, make_prototypes
from distune.distillation.term import TermContext
from distune.distillation.terms import build_terms, term_weights
from distune.distillation.weight_schedule import WeightSchedule
from distune.errors import ConfigError


def build_objective(
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
) -> Objective:
    """Build the objective of one student.

    Args:
        settings: of distillation.
        num_classes: without background.
        strides: the levels that both necks have, in any order.
        student_channels: of the student's neck maps on these levels.
        teacher_channels: of the teacher's neck maps on these levels.
        score_kind: ``softmax`` or ``sigmoid``, the same for both models when a term compares heads.
        base_size_px: the side from which a box belongs to stride 4 in the student, for settings that give none.
        num_epochs: of the whole training.
        seed: of the adapters' initial weights, and of the random selection of prototypes.
        tags_of: the tags of an image's boxes, for data with tags: adds the filter's AUC to the metrics.

    Returns:
        The objective, on the CPU.

    Raises:
        ConfigError: there is no common level, or a setting does not fit the detectors.
    """
    if not strides:
        raise ConfigError("distillation", ["the necks of student and teacher have no stride in common"])
    levels = sorted(zip(strides, student_channels, teacher_channels, strict=True))
    strides, student_channels, teacher_channels = (tuple(each) for each in zip(*levels, strict=True))
    schedule = WeightSchedule(
        decay=settings.decay,
        start_after=settings.start_epoch,
        stop_after=num_epochs if settings.stop_epoch is None else settings.stop_epoch,
    )
    context = TermContext(
        strides=strides,
        student_channels=student_channels,
        teacher_channels=teacher_channels,
        score_kind=score_kind,
        base_size_px=base_size_px,
        generator=torch.Generator().manual_seed(seed),
    )
    terms = build_terms(settings, context)
    prototype_manager: PrototypeManager | None = None
    needs_prototypes = any(term.needs_prototypes for term in terms.values()) or settings.filter.weight != "uniform"
    if terms and needs_prototypes:
        prototype_manager = build_prototype_manager(
            settings,
            schedule,
            strides=strides,
            num_classes=num_classes,
            student_channels=max(student_channels),
            teacher_channels=max(teacher_channels),
            seed=seed,
        )
    statistics: PairStatistics | None = None
    if terms and settings.standardize != "none":
        statistics = PairStatistics(student_channels, teacher_channels, settings.standardize)
    return Objective(
        terms,
        weights=term_weights(settings),
        balanced={name for name in terms if settings.terms[name].unit == "gradient_share"},
        schedule=schedule,
        strides=strides,
        pooling=settings.pooling,
        instance_filter=build_filter(settings.filter),
        prototype_manager=prototype_manager,
        statistics=statistics,
        min_box_cells=settings.min_box_cells,
        tags_of=tags_of,
    )


def build_prototype_manager(
    settings: DistillationSettings,
    schedule: WeightSchedule,
    *,
    strides: tuple[int, ...],
    num_classes: int,
    student_channels: int,
    teacher_channels: int,
    seed: int = 0,
) -> PrototypeManager:
    """Build the prototype manager.

    Args:
        settings: of distillation.
        schedule: of distillation.
        strides: the common levels, fine to coarse.
        num_classes: without background.
        student_channels: of the widest of the student's neck maps.
        teacher_channels: of the widest of the teacher's neck maps.
        seed: of the random numbers of the selections.

    Returns:
        A manager without prototypes.
    """
    prototypes, source = settings.prototypes, settings.prototypes.source
    pool = InstancePooling(strides, settings.pooling)
    queue, collect = None, None
    if isinstance(source, FeatureQueueSettings):
        queue = FeatureQueue(
            num_levels=len(strides),
            num_classes=num_classes,
            capacity=source.max_instances,
            student_channels=student_channels,
            teacher_channels=teacher_channels,
            min_box_side_px=prototypes.min_box_side_px,
        )
    if isinstance(source, FeaturePassSettings):
        collect = functools.partial(
            collect_features,
            pool=pool,
            min_box_side_px=prototypes.min_box_side_px,
            max_images=source.max_images,
            num_classes=num_classes,
            min_box_cells=settings.min_box_cells,
        )
    centers: FeatureCenters | None = None
    if settings.center != "none":
        centers = FeatureCenters(
            settings.center,
            strides,
            num_classes=num_classes,
            student_channels=student_channels,
            teacher_channels=teacher_channels,
        )
    return PrototypeManager(
        schedule,
        refresh_epochs=prototypes.refresh_epochs,
        prototypes=Prototypes(
            strides,
            num_classes=num_classes,
            num_prototypes=prototypes.per_class,
            student_channels=student_channels,
            teacher_channels=teacher_channels,
        ),
        select=functools.partial(
            make_prototypes,
            strides=strides,
            num_classes=num_classes,
            num_prototypes=prototypes.per_class,
            alpha=prototypes.alpha,
            unique=prototypes.unique,
            density_bandwidth=prototypes.density_bandwidth,
            density_quantile=prototypes.density_quantile,
            selector=prototypes.selector,
        ),
        pool=pool,
        queue=queue,
        collect_features=collect,
        centers=centers,
        seed=seed,
    )
