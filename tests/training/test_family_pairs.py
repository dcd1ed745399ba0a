"""Every family as student of every family: one step of distillation, and training of a few pairs from experiments."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.data.build import build_splits
from distune.detectors.taps import Detector, Instances, StudentTaps, TeacherTaps, View
from distune.distillation.gradient_balance import neck_gradient, recorded_gradients, recorded_neck_gradient
from distune.records import EpochReport
from distune.training.builder import TrialBuilder
from distune.training.evaluation.predict_and_score import predict
from distune.training.teacher import prepare_teacher
from support.experiments import small_values
from support.families import CLASSES, SETTINGS, batch, build, freeze_statistics, with_random_heads

CPU = torch.device("cpu")
SOFT = {"soft_labels": {"weight": 1.0}}
NOT_SOFT = {"soft_labels": {"weight": 0.0}}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def student_taps(family: str) -> tuple[Detector, StudentTaps]:
    detector = build(family)
    return detector, detector.forward_train(*batch())


@functools.cache
def teacher_taps(family: str) -> tuple[Detector, TeacherTaps]:
    detector = with_random_heads(build(family, seed=1))
    return detector, detector.forward_teacher(batch()[0])


def bench_of(student: str, teacher: str, **changes: Any) -> TrialBuilder:
    comparable = SETTINGS[student].prediction_sites == SETTINGS[teacher].prediction_sites
    distillation = {"prototypes": {"min_box_side_px": 4, "per_class": 2}, **(SOFT if comparable else NOT_SOFT)}
    values = small_values({"data": {"num_classes": len(CLASSES)}, "distillation": distillation, **changes})
    roles = {"student": SETTINGS[student].model_dump(), "teacher": SETTINGS[teacher].model_dump()}
    experiment = Experiment.model_validate({**values, **roles})
    return TrialBuilder(experiment, build_splits(experiment.data, with_masks=experiment.learns_masks), CPU)


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_the_recorded_gradient_of_the_task_is_the_measured_one(family: str) -> None:
    taps = build(family).forward_train(*batch())
    maps, task = list(taps.neck.values()), torch.stack(list(taps.losses.values())).sum()
    measured = neck_gradient(task, maps)
    with recorded_gradients(maps, torch.tensor(1.0)) as recorded:
        torch.autograd.backward(task)
    assert torch.equal(recorded_neck_gradient(recorded, maps), measured)
    assert measured.norm() > 0


def never(_: int) -> Iterator[tuple[View, View, Instances]]:
    raise AssertionError("prototypes come from the queue")


@pytest.mark.parametrize("teacher", sorted(SETTINGS))
@pytest.mark.parametrize("student", sorted(SETTINGS))
def test_a_step_of_distillation(student: str, teacher: str) -> None:
    builder = bench_of(student, teacher)
    learner, taps = student_taps(student)
    guide, seen = teacher_taps(teacher)
    objective = builder.objective(learner, guide, builder.experiment.training, seed=0)
    objective.begin_epoch(1, never)
    objective(taps, seen)
    objective.end_epoch()
    objective.begin_epoch(2, never)
    losses = objective(taps, seen)
    comparable = SETTINGS[student].prediction_sites == SETTINGS[teacher].prediction_sites
    assert losses.keys() == {"global_knowledge", "local_knowledge"} | ({"soft_labels"} if comparable else set())
    maps = list(taps.neck.values())
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, maps, retain_graph=True, allow_unused=True, materialize_grads=True)
        length = math.hypot(*(float(each.norm()) for each in gradients))
        assert math.isfinite(float(loss.detach())), name
        assert loss > 0, name
        assert math.isfinite(length), name
        assert length > 0, name
    assert not any(each.requires_grad for each in seen.neck.values())
    assert all(parameter.grad is None for parameter in guide.model.parameters())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [("ssdlite", "fcos"), ("fcos", "ssdlite"), ("maskrcnn", "fasterrcnn"), ("fasterrcnn", "maskrcnn")],
)
def test_an_experiment_of_two_families_trains(student: str, teacher: str) -> None:
    builder = bench_of(student, teacher, training={"epochs": 2})
    training = builder.experiment.training
    guide = with_random_heads(builder.detector(builder.experiment.teacher, seed=5))
    stream = builder.stream(training, seed=0, with_masks=builder.experiment.student.learns_masks)
    learner = builder.student(
        "one", builder.experiment.student, training, seed=0, steps_per_epoch=len(stream), teacher=guide
    )
    before = {name: value.clone() for name, value in guide.model.state_dict().items()}
    cohort = builder.cohort(training, stream, guide, epochs_done=0)
    cohort.join(learner)
    for _ in range(2):
        result = cohort.run_epoch()["one"]
        assert result.error is None
        assert all(map(math.isfinite, result.metrics.values()))
    assert ("loss/soft_labels" in result.metrics) == (student in ("maskrcnn", "fasterrcnn"))
    assert ("task/loss_mask" in result.metrics) == (student == "maskrcnn")
    assert result.metrics["loss/global_knowledge"] > 0
    assert all(torch.equal(before[name], value) for name, value in guide.model.state_dict().items())


def test_a_mask_rcnn_teacher_is_trained_on_masks(tmp_path: Path) -> None:
    builder = bench_of("fasterrcnn", "maskrcnn")
    reports: list[EpochReport] = []
    made = prepare_teacher(
        builder.experiment,
        builder.splits,
        home=Home(tmp_path),
        device=CPU,
        on_progress=lambda report, _: reports.append(report),
    )
    assert made.weights.is_file()
    assert reports[-1].metrics["task/loss_mask"] > 0
    assert not builder.experiment.student.learns_masks


@pytest.mark.parametrize("family", sorted(SETTINGS))
def test_detections_are_in_pixels_of_the_original_image(family: str) -> None:
    builder = bench_of(family, family, data={"image_size_px": 80, "num_search": 2})
    detector = freeze_statistics(build(family))
    parts: Any = detector.model
    for holder in (parts, getattr(parts, "roi_heads", parts)):
        holder.score_thresh = 0.0
    predictions = predict(detector.model, builder.splits.search, device=CPU, batch_size=2)
    farthest = torch.stack([each["boxes"].amax() for each in predictions])
    assert len(predictions) == 2
    assert (farthest > 70).all()
    assert (farthest <= 80.001).all()
    assert all(each.keys() == {"boxes", "scores", "labels", "image_index"} for each in predictions)


def test_a_student_that_sees_half_the_size_finds_the_same_instances() -> None:
    """Pooling and local knowledge compare maps of different sizes; boxes are converted to the frame of each model."""
    small, large = build("ssdlite", input_size_px=128), build("ssdlite", input_size_px=256)
    images, targets = batch()
    taps, seen = small.forward_train(images, targets), large.forward_teacher(images)
    ours, theirs = taps.instances, taps.instances.seen_in(seen.view.frame)
    torch.testing.assert_close(theirs.boxes_N4, 2 * ours.boxes_N4)
    shapes: dict[int, Tensor] = dict(seen.neck)
    assert all(each.shape[-1] == 256 // stride for stride, each in shapes.items() if stride <= 256)
