"""Feature passes with and without the cache are equal, bit for bit, and the teacher runs once per batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distune.config.experiment import Experiment
from distune.data.build import build_splits
from distune.data.stream import TrainingStream
from distune.detectors.taps import Detector, Frame, Instances, View
from distune.distillation.prototypes.collect_features import FeaturePass, collect_features
from distune.distillation.prototypes.prototypes import InstanceFeatures
from distune.training.builder import TrialBuilder
from distune.training.feature_pass import teacher_features as teacher_features
from distune.training.feature_pass.feature_cache import FeatureCache
from distune.training.feature_pass.image_order import ImageOrder
from distune.training.feature_pass.teacher_features import FeaturePasses
from distune.training.student import Student
from support.experiments import small_experiment

CPU = torch.device("cpu")
FEATURE_PASS = {"distillation": {"prototypes": {"source": {"kind": "feature_pass", "max_images": 4}}}}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_features, "_BATCHES_PER_PART", 2)


@pytest.fixture(scope="module")
def builder() -> TrialBuilder:
    experiment = small_experiment({**FEATURE_PASS, "training": {"batch_size": 2}, "data": {"num_train": 9}})
    return TrialBuilder(experiment, build_splits(experiment.data), CPU)


class Counted:
    """A teacher that counts its input images."""

    def __init__(self, teacher: Detector) -> None:
        self.model = teacher.model
        self.images = 0
        self._teacher = teacher

    def neck_only(self, images: list[Tensor]) -> View:
        self.images += len(images)
        return self._teacher.neck_only(images)


def teacher_of(builder: TrialBuilder, seed: int = 77) -> Any:
    return Counted(builder.detector(builder.experiment.teacher, seed=seed))


def student_of(builder: TrialBuilder) -> Student:
    experiment = builder.experiment
    teacher = builder.detector(experiment.teacher, seed=77)
    return builder.student("s", experiment.student, experiment.training, seed=0, steps_per_epoch=2, teacher=teacher)


def feature_passes_of(
    builder: TrialBuilder, teacher: Any, cache: FeatureCache, identity: str = "data"
) -> FeaturePasses:
    stream = builder.stream(builder.experiment.training, seed=0)
    return FeaturePasses(teacher, stream, device=CPU, dtype=None, cache=cache, identity={"data": identity})


def run_pass(source: Any, student: Student, max_images: int = 4) -> InstanceFeatures:
    assert student.objective is not None
    prototype_manager = student.objective.prototype_manager
    assert prototype_manager is not None
    return collect_features(
        source, pool=prototype_manager.pool, min_box_side_px=4, max_images=max_images, num_classes=2
    )


def equal(first: InstanceFeatures, second: InstanceFeatures) -> bool:
    names = ("student_LND", "teacher_LNE", "labels_N", "origin_N2")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize("with_folder", [True, False])
def test_results_are_the_same_with_and_without_the_cache(
    builder: TrialBuilder, tmp_path: Path, with_folder: bool
) -> None:
    student, teacher = student_of(builder), teacher_of(builder)
    stream = builder.stream(builder.experiment.training, seed=0)
    plain = run_pass(plain_feature_pass(student.detector, teacher, stream), student)
    seen_plainly, teacher.images = teacher.images, 0
    feature_passes = feature_passes_of(builder, teacher, FeatureCache(tmp_path if with_folder else None))
    first = run_pass(feature_passes.of(student), student)
    assert teacher.images == seen_plainly
    again = run_pass(feature_passes.of(student), student)
    assert teacher.images == seen_plainly, "the teacher saw the images again"
    assert equal(plain, first)
    assert equal(plain, again)
    assert plain.labels_N.numel() > 4


def test_trials_share_the_teachers_features_but_not_the_students(builder: TrialBuilder, tmp_path: Path) -> None:
    teacher, student = teacher_of(builder), student_of(builder)
    first = run_pass(feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student), student)
    seen = teacher.images
    with torch.no_grad():
        for parameter in student.detector.model.parameters():
            parameter.mul_(1.1)
    second = run_pass(feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student), student)
    assert teacher.images == seen
    assert torch.equal(first.teacher_LNE, second.teacher_LNE)
    assert not torch.equal(first.student_LND, second.student_LND)


def test_a_larger_feature_pass_reuses_the_features_of_a_smaller_one(builder: TrialBuilder, tmp_path: Path) -> None:
    teacher, student = teacher_of(builder), student_of(builder)
    run_pass(feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student), student, max_images=5)
    small, teacher.images = teacher.images, 0
    run_pass(feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student), student, max_images=9)
    assert 0 < teacher.images < 9
    assert small < 9


@pytest.mark.parametrize("change", ["teacher", "data", "pooling", "batch size"])
def test_everything_that_determines_features_is_part_of_the_cache_name(
    builder: TrialBuilder, tmp_path: Path, change: str
) -> None:
    student = student_of(builder)
    run_pass(feature_passes_of(builder, teacher_of(builder), FeatureCache(tmp_path)).of(student), student)
    teacher = teacher_of(builder, seed=5 if change == "teacher" else 77)
    other = builder
    if change in ("pooling", "batch size"):
        values = builder.experiment.to_dict()
        values["distillation"]["pooling"] = "crop" if change == "pooling" else "roi_align"
        values["training"]["batch_size"] = 3 if change == "batch size" else 2
        other = TrialBuilder(Experiment.model_validate(values), builder.splits, CPU)
    student = student_of(other)
    feature_passes = feature_passes_of(
        other, teacher, FeatureCache(tmp_path), identity="other" if change == "data" else "data"
    )
    run_pass(feature_passes.of(student), student)
    assert teacher.images > 0


def test_an_interrupted_feature_pass_stores_only_complete_parts(builder: TrialBuilder, tmp_path: Path) -> None:
    teacher, student = teacher_of(builder), student_of(builder)
    batches = feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student)(9)
    for _ in range(3):
        next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.glob("*.pt"))) == 1
    plain = run_pass(feature_passes_of(builder, teacher, FeatureCache(None)).of(student), student, max_images=9)
    assert equal(run_pass(feature_passes_of(builder, teacher, FeatureCache(tmp_path)).of(student), student, 9), plain)


def test_the_image_order_is_nested_and_class_balanced(builder: TrialBuilder) -> None:
    dataset = builder.splits.train
    order = ImageOrder.of(dataset, seed=0)
    present = [set(np.unique(dataset.annotations(n).labels_N).tolist()) for n in range(len(dataset))]
    everything = order.images(100)
    assert sorted(everything) == [n for n in range(len(dataset)) if present[n]]
    for count in range(1, 10):
        taken = order.images(count)
        assert taken == everything[: len(taken)]
        for label in (1, 2):
            available = sum(label in labels for labels in present)
            assert sum(label in present[n] for n in taken) >= min(count, available)
        permutation = np.random.default_rng(0).permutation(len(dataset)).tolist()
        assert sorted(taken) == sorted(greedy(permutation, present, count))
    assert order.images(100) != ImageOrder.of(dataset, seed=1).images(100)


def greedy(permutation: list[int], present: list[set[int]], max_images: int) -> list[int]:
    """An image is taken when a class on it still lacks images."""
    counts = {1: 0, 2: 0}
    taken = []
    for index in permutation:
        if any(counts[label] < max_images for label in present[index]):
            taken.append(index)
            for label in present[index]:
                counts[label] += 1
    return taken


def plain_feature_pass(student: Detector, teacher: Detector, stream: TrainingStream) -> FeaturePass:
    """Both models over the same images, and nothing kept."""

    def feature_pass(max_images: int) -> Iterator[tuple[View, View, Instances]]:
        for batch in stream.plain_batches(ImageOrder.of(stream.dataset, seed=0).images(max_images)):
            sizes = tuple((int(image.shape[-2]), int(image.shape[-1])) for image in batch.images)
            frame = Frame((max(height for height, _ in sizes), max(width for _, width in sizes)), sizes)
            views = student.neck_only(batch.images), teacher.neck_only(batch.images)
            yield *views, Instances.of(batch.targets, frame)

    return feature_pass
