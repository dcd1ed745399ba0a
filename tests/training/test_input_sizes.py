"""A detector sees images that were resized once, in training as in evaluation, whatever its partner takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.data.build import build_splits
from distune.data.transforms import to_unit_range
from distune.detectors.resizing import SmoothResize
from distune.detectors.taps import Detector
from distune.training.builder import TrialBuilder
from distune.training.teacher import prepare_teacher
from support.datasets import MemoryDataset, annotate
from support.experiments import small_values
from support.families import CLASSES, SETTINGS, with_random_heads

CPU = torch.device("cpu")
BOXES: list[tuple[float, float, float, float]] = [(5.0, 4.0, 40.0, 18.0), (10.0, 2.0, 30.0, 17.0)]
IMAGES = [(120, 60), (50, 40), (200, 20), (64, 64), (300, 200)]
"""Width and height of images that shrink, are enlarged, only become narrower, or have the size of a square."""
PAIRS = [
    ("ssdlite", "ssdlite"),
    ("ssdlite", "ssd"),
    ("ssdlite", "retinanet"),
    ("retinanet", "ssdlite"),
    ("retinanet", "retinanet"),
]


class Noise(MemoryDataset):
    """Images of noise, in which each resizing shows."""

    def image(self, index: int) -> Tensor:
        """Return an image, as it is stored."""
        shape = super().image(index).shape
        return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(index), dtype=torch.uint8)


def bench_of(student: str, teacher: str, **data: Any) -> TrialBuilder:
    values = small_values(
        {
            "data": {
                "num_classes": len(CLASSES),
                "min_size_px": 64,
                "max_size_px": 96,
                "augmentation": {"horizontal_flip": 0.0},
                **data,
            },
            "distillation": {"prototypes": {"min_box_side_px": 4, "per_class": 2}, "soft_labels": {"weight": 0.0}},
            "training": {"batch_size": 1, "epochs": 2},
        }
    )
    values |= {role: SETTINGS[name].model_dump() for role, name in (("student", student), ("teacher", teacher))}
    if student == "ssdlite":  # which is not trained on single images
        values["training"]["batch_size"] = 2
    experiment = Experiment.model_validate(values)
    return TrialBuilder(experiment, build_splits(experiment.data), CPU)


def on_noise(builder: TrialBuilder) -> TrialBuilder:
    images = [annotate(BOXES, [1, 2], index=index, size=size) for index, size in enumerate(IMAGES)]
    noise = Noise(images, CLASSES)
    return dataclasses.replace(builder, splits=dataclasses.replace(builder.splits, train=noise))


class Seen:
    """The images that reach the backbone of a detector, before they are normalized."""

    def __init__(self, detector: Detector) -> None:
        parts: Any = detector.model
        parts.transform.image_mean, parts.transform.image_std = [0.0] * 3, [1.0] * 3
        self.images: list[Tensor] = []
        parts.backbone.register_forward_pre_hook(lambda _, given: self.images.extend(given[0].detach()))


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_training_shows_the_pixels_of_evaluation(student: str, teacher: str) -> None:
    builder = on_noise(bench_of(student, teacher))
    learner = builder.detector(builder.experiment.student, seed=0)
    guide = with_random_heads(builder.detector(builder.experiment.teacher, seed=1))
    seen = Seen(learner), Seen(guide)
    settings = builder.experiment.training.model_copy(update={"batch_size": 1})
    learner.model.train()
    for module in learner.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    boxes: dict[int, Tensor] = {}
    for batch in [
        *builder.stream(settings, seed=0).epoch(0),
        *builder.stream(settings, seed=0).plain_batches(range(5)),
    ]:
        taps = learner.forward_train(batch.images, batch.targets)
        guide.teacher_maps(batch.images_for_teacher)
        index = int(batch.targets[0]["image_index"])
        shown = [each.images.pop() for each in seen]
        (height, width) = taps.instances.frame.image_sizes[0]
        boxes[index] = taps.instances.boxes_N4 / torch.tensor([width, height] * 2) * torch.tensor(IMAGES[index] * 2)
        for detector, each, trained in zip((learner, guide), seen, shown, strict=True):
            detector.neck_only([to_unit_range(builder.splits.train.image(index))])
            evaluated = each.images.pop()
            assert evaluated.shape == trained.shape
            assert (evaluated - trained).abs().max() < 1.01 / 255, "training rounds to whole numbers"
    assert len(boxes) == len(IMAGES)
    for found in boxes.values():
        torch.testing.assert_close(found, torch.tensor(BOXES), atol=1e-3, rtol=0)


@pytest.fixture
def resized(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, tuple[int, ...], tuple[int, ...]]]:
    """Of each image that a detector gets: whether it is in training mode, and the sizes before and after resizing."""
    found: list[tuple[bool, tuple[int, ...], tuple[int, ...]]] = []
    resize = SmoothResize.resize

    def record(transform: SmoothResize, image: Tensor, target: dict[str, Tensor] | None = None) -> Any:
        after = resize(transform, image, target)
        found.append((transform.training, tuple(image.shape[-2:]), tuple(after[0].shape[-2:])))
        return after

    monkeypatch.setattr(SmoothResize, "resize", record)
    return found


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_no_model_of_a_study_resizes_what_the_stream_has_resized(
    resized: list[tuple[bool, tuple[int, ...], tuple[int, ...]]], student: str, teacher: str
) -> None:
    builder = bench_of(student, teacher, image_size_px=80, min_size_px=96)
    training = builder.experiment.training
    guide = with_random_heads(builder.detector(builder.experiment.teacher, seed=1))
    stream = builder.stream(training, seed=0)
    learner = builder.student(
        "one", builder.experiment.student, training, seed=0, steps_per_epoch=len(stream), teacher=guide
    )
    cohort = builder.cohort(training, stream, guide, epochs_done=0)
    cohort.join(learner)
    resized.clear()
    result = cohort.run_epoch(evaluate=False)["one"]  # begins with a feature pass
    assert result.error is None
    assert {is_training for is_training, _, _ in resized} == {True, False}
    assert all(before == after for _, before, after in resized)


def test_an_ssd_teacher_is_trained_on_images_resized_once(
    resized: list[tuple[bool, tuple[int, ...], tuple[int, ...]]], tmp_path: Path
) -> None:
    builder = bench_of("retinanet", "ssd", image_size_px=80, min_size_px=96)
    prepare_teacher(builder.experiment, builder.splits, home=Home(tmp_path), device=CPU, on_progress=lambda *_: None)
    in_training = [sizes for is_training, *sizes in resized if is_training]
    assert in_training
    assert all(sizes == [(64, 64), (64, 64)] for sizes in in_training)


def test_the_teacher_does_not_change_what_a_student_sees() -> None:
    first, second = (on_noise(bench_of("ssd", teacher)) for teacher in ("ssd", "retinanet"))
    training = first.experiment.training
    for one, other in zip(
        first.stream(training, seed=0).epoch(0), second.stream(training, seed=0).epoch(0), strict=True
    ):
        assert (one.teacher_images is None, other.teacher_images is None) == (True, False)
        assert torch.equal(one.images[0], other.images[0])
        assert torch.equal(one.targets[0]["boxes"], other.targets[0]["boxes"])


def test_drawn_sizes_are_those_of_the_student() -> None:
    drawn = {"horizontal_flip": 0.0, "min_sizes_px": [32, 48]}
    builder = on_noise(bench_of("retinanet", "ssd", augmentation=drawn))
    batches = list(builder.stream(builder.experiment.training, seed=0).epoch(0))
    assert {min(batch.images[0].shape[-2:]) for batch in batches} <= {9, 32, 48}
    assert all(batch.images_for_teacher[0].shape[-2:] == (64, 64) for batch in batches)
