"""Plays training in miniature and yields the numbers of each epoch: of the objective alone, or of a student's steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distune.config.detector import DetectorSettings
from distune.config.training import TrainingSettings
from distune.data.build import build_stream
from distune.data.stream import Batch
from distune.detectors.taps import Detector, StudentTaps, TeacherTaps
from distune.distillation.objective import Objective
from distune.distillation.prototypes.feature_pass import FeaturePass
from distune.training.builder import TrialBuilder
from distune.training.precision import autocast, autocast_dtype
from distune.training.probe.numbers import MEASURED, Numbers
from distune.training.rng_state import OwnRandomness

NUM_BATCHES = 3
NUM_STEPS = 4
"""Of a student. The schedule of the learning rate is played whole in them."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """What both models see of the images of a probe; it does not change from epoch to epoch.

    An epoch is all batches but one, another one each time, so that each epoch's prototypes come from other instances.
    """

    taps: list[tuple[StudentTaps, TeacherTaps]]
    device: torch.device

    def batches(self, epoch: int) -> list[tuple[StudentTaps, TeacherTaps]]:
        """The batches of an epoch, from 0."""
        return [self.taps[index] for index in turn(epoch, len(self.taps))]

    def feature_pass(self, epoch: int) -> FeaturePass:
        """Both models' maps of the images of an epoch, all of them, however many are asked for."""
        return lambda _: iter(
            [(student.view, teacher.view, student.instances) for student, teacher in self.batches(epoch)]
        )


def turn(epoch: int, num_batches: int) -> list[int]:
    """The batches that take part in an epoch: all but one, in turn; the only one when there is one."""
    return [(epoch + place) % num_batches for place in range(max(1, num_batches - 1))]


def load_batches(builder: TrialBuilder) -> list[Batch]:
    """All training images, not augmented, in up to ``NUM_BATCHES`` batches on the device. Raises ``DataError``."""
    num_images = len(builder.splits.train)
    batch_size = -(-num_images // NUM_BATCHES)
    experiment = builder.experiment
    stream = build_stream(
        builder.splits.train,
        experiment.data,
        batch_size=batch_size,
        seed=0,
        with_masks=experiment.learns_masks,
    )
    return [batch.to(builder.device) for batch in stream.plain_batches(range(num_images))]


def record_scene(builder: TrialBuilder, student: Detector, teacher: Detector, batches: Sequence[Batch]) -> Scene:
    """Run student and teacher once over some batches, the student with gradient. Both stay on the device."""
    training = builder.experiment.training
    dtype = autocast_dtype(training.precision, builder.device)
    student.model.to(builder.device).train()
    teacher.model.to(builder.device).eval().requires_grad_(requires_grad=False)
    with OwnRandomness(training.seed, builder.device).active(), autocast(builder.device, dtype):
        taps = [
            (student.forward_train(batch.images, batch.targets), teacher.forward_teacher(batch.images))
            for batch in batches
        ]
    return Scene(taps, builder.device)


def play_objective(objective: Objective, scene: Scene, *, num_epochs: int, seed: int) -> Iterator[Numbers]:
    """Epochs of an objective on a scene. No weight changes; prototypes are made as in training.

    Yields:
        ``loss/<term>``; ``gradient/stride <n>``, the length of the gradient of all terms in the student's neck, and
        ``gradient/own weights``, in the adapters and the like; the objective's metrics as measured.
    """
    randomness = OwnRandomness(seed, scene.device)
    objective.to(scene.device)
    for epoch in range(num_epochs):
        if not objective.is_active_in(epoch):
            yield {}
            continue
        with randomness.active():
            objective.begin_epoch(epoch, scene.feature_pass(epoch))
            sums: dict[str, Tensor] = {}
            for student, teacher in scene.batches(epoch):
                for name, value in _step(objective, student, teacher).items():
                    sums[name] = sums[name] + value if name in sums else value
            measured = objective.end_epoch()
        values = torch.stack(list(sums.values())).tolist() if sums else []
        numbers = dict(zip(sums, values, strict=True))
        yield {**numbers, **{f"{MEASURED}{name}": value for name, value in measured.items() if name not in numbers}}


def play_training(
    builder: TrialBuilder, settings: DetectorSettings, training: TrainingSettings, batches: Sequence[Batch]
) -> Iterator[Numbers]:
    """Steps of a student without a teacher; a step counts as an epoch, and ``NUM_STEPS`` of them as the whole budget.

    Yields:
        The losses by their names, and ``update/<part>``, how far the step moved the weights of a part of the detector.
    """
    short = training.model_copy(update={"epochs": NUM_STEPS})
    student = builder.student("probe", settings, short, seed=training.seed, steps_per_epoch=1, teacher=None)
    for step in range(NUM_STEPS):
        before = [parameter.detach().clone() for parameter in student.detector.model.parameters()]
        student.begin_epoch(_no_feature_pass)
        student.step(batches[step % len(batches)], None)
        losses = student.end_epoch()
        yield {
            **{name: value for name, value in losses.items() if name.startswith(("loss/", "task/"))},
            **_updates(student.detector.model, before),
        }


def _step(objective: Objective, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
    losses = objective(student, teacher)
    numbers = {f"loss/{name}": loss.detach().double() for name, loss in losses.items()}
    own = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    with_gradient = [loss for loss in losses.values() if loss.requires_grad]
    if not with_gradient:
        return numbers
    total = torch.stack(with_gradient).sum()
    gradients = torch.autograd.grad(total, [*student.neck.values(), *own], retain_graph=True, allow_unused=True)
    for stride, gradient in zip(student.neck, gradients, strict=False):
        numbers[f"gradient/stride {stride}"] = _length([gradient], total)
    numbers["gradient/own weights"] = _length(gradients[len(student.neck) :], total)
    return numbers


def _length(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    parts = [torch.linalg.vector_norm(each.detach(), dtype=torch.float64) for each in gradients if each is not None]
    return torch.linalg.vector_norm(torch.stack(parts)) if parts else like.new_zeros((), dtype=torch.float64)


def _updates(model: nn.Module, before: Sequence[Tensor]) -> dict[str, float]:
    moved: dict[str, list[Tensor]] = {}
    for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
        moved.setdefault(name.partition(".")[0], []).append(parameter.detach() - old)
    return {f"update/{part}": float(_length(steps, steps[0])) for part, steps in moved.items()}


def _no_feature_pass(_: int) -> Iterator[Any]:
    raise AssertionError("a student without a teacher needs no feature_pass")
