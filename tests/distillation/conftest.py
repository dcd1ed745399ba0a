"""Small synthetic batches in the form that student and teacher return."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from distune.detectors.prediction_sites import labels_at
from distune.detectors.taps import Frame, Instances, NeckMaps, PredictionSites, StudentTaps, TeacherTaps, View

Taps = tuple[StudentTaps, TeacherTaps]


def boxes_in(generator: torch.Generator, count: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    height, width = size
    sides_n2 = torch.rand(count, 2, generator=generator, dtype=dtype) * 0.55 + 0.1
    corner_n2 = torch.rand(count, 2, generator=generator, dtype=dtype) * (1 - sides_n2)
    return torch.cat([corner_n2, corner_n2 + sides_n2], dim=1) * torch.tensor([width, height, width, height])


def sample_taps(
    *,
    seed: int = 0,
    boxes_per_image: tuple[int, ...] = (4, 3),
    num_classes: int = 3,
    strides: tuple[int, ...] = (8, 16, 32),
    student_channels: int = 6,
    teacher_channels: int = 8,
    image_size: tuple[int, int] = (64, 96),
    score_kind: str = "sigmoid",
    dtype: torch.dtype = torch.float32,
    same: bool = False,
) -> Taps:
    """A batch of random maps, boxes and scores; ``same`` makes the student equal the teacher."""
    generator = torch.Generator().manual_seed(seed)
    num_images = len(boxes_per_image)
    targets = [
        {
            "boxes": boxes_in(generator, count, image_size, torch.float32),
            "labels": torch.randint(1, num_classes + 1, (count,), generator=generator),
            "image_index": torch.tensor(100 * seed + index),
            "box_index": torch.arange(count),
        }
        for index, count in enumerate(boxes_per_image)
    ]
    frame = Frame(image_size, (image_size,) * num_images)
    instances = Instances.of(targets, frame)

    def neck(channels: int) -> NeckMaps:
        return {
            stride: torch.randn(
                num_images, channels, image_size[0] // stride, image_size[1] // stride, generator=generator
            ).to(dtype)
            for stride in strides
        }

    num_places = 10 * num_images
    teacher_neck = neck(teacher_channels)
    student_neck = {s: m.clone() for s, m in teacher_neck.items()} if same else neck(student_channels)
    teacher_RC = torch.randn(num_places, num_classes + 1, generator=generator).to(dtype)
    student_RC = teacher_RC.clone() if same else torch.randn(teacher_RC.shape, generator=generator).to(dtype)
    teacher_R4 = boxes_in(generator, num_places, image_size, torch.float32)
    student_R4 = teacher_R4.clone() if same else boxes_in(generator, num_places, image_size, torch.float32)
    for values in (*student_neck.values(), student_RC, student_R4):
        values.requires_grad_()
    num_boxes = sum(boxes_per_image)
    positive_R = (torch.rand(num_places, generator=generator) < 0.6) & (num_boxes > 0)
    instance_R = torch.randint(0, max(1, num_boxes), (num_places,), generator=generator) * positive_R
    places = PredictionSites(
        logits_RC=student_RC,
        boxes=lambda: student_R4,
        labels_R=labels_at(instance_R, positive_R, instances),
        instance_R=instance_R,
        proposals=[] if score_kind == "softmax" else None,
    )
    task = torch.stack([each.float().square().mean() for each in student_neck.values()]).sum()
    student = StudentTaps({"task": task + student_RC.sum() * 0}, student_neck, places, instances)
    return student, TeacherTaps(View(teacher_neck, frame), lambda _: teacher_RC, lambda _: teacher_R4)


@pytest.fixture
def make_taps() -> Callable[..., Taps]:
    """``sample_taps``."""
    return sample_taps


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tensors here are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
