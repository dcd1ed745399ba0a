"""Small synthetic batches, as student and teacher would hand them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from distune.detectors.taps import ClassScores, Instances, NeckMaps, StudentTaps, TeacherTaps

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
    """A batch of random maps, boxes and scores; ``same`` makes the student see what the teacher sees."""
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
    instances = Instances.of(targets, image_size)

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
    for values in (*student_neck.values(), student_RC):
        values.requires_grad_()
    num_boxes = sum(boxes_per_image)
    positive_R = (torch.rand(num_places, generator=generator) < 0.6) & (num_boxes > 0)
    instance_R = torch.randint(0, max(1, num_boxes), (num_places,), generator=generator) * positive_R
    scores = ClassScores(student_RC, positive_R, instance_R, [] if score_kind == "softmax" else None)
    student = StudentTaps({"task": student_RC.sum() * 0}, student_neck, scores, instances)
    return student, TeacherTaps(teacher_neck, lambda _: teacher_RC)


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
