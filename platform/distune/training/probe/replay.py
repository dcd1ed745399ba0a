"""Short replays of training on recorded batches: of the objective alone, or of a student's steps."""

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
from distune.distillation.prototypes.collect_features import FeaturePass
from distune.training.builder import TrialBuilder
from distune.training.precision import autocast, autocast_dtype
from distune.training.probe.comparison import MEASURED, EpochValues
from distune.training.rng_state import RngState

NUM_BATCHES = 3
NUM_STEPS = 4
"""Steps of a student; the learning-rate schedule is scaled to them."""


@dataclasses.dataclass(frozen=True)
class RecordedTaps:
    """The taps of student and teacher on the batches of a probe, recorded once.

    Each epoch leaves out another batch, so that its prototypes come from other instances.

    Attributes:
        taps: of each batch.
        device: of the tensors.
    """

    taps: list[tuple[StudentTaps, TeacherTaps]]
    device: torch.device

    def batches(self, epoch: int) -> list[tuple[StudentTaps, TeacherTaps]]:
        """Return the taps of the batches of an epoch, from 1."""
        return [self.taps[index] for index in batches_of_epoch(epoch, len(self.taps))]

    def feature_pass(self, epoch: int) -> FeaturePass:
        """Return a feature pass over all images of an epoch, from 1, for any ``max_images``."""
        return lambda _: iter(
            [(student.view, teacher.view, student.instances) for student, teacher in self.batches(epoch)]
        )


def batches_of_epoch(epoch: int, num_batches: int) -> list[int]:
    """Return the indices of the batches of an epoch, from 1: all except one, which changes with the epoch."""
    return [(epoch - 1 + offset) % num_batches for offset in range(max(1, num_batches - 1))]


def load_batches(builder: TrialBuilder) -> list[Batch]:
    """Load all training images, not augmented, in up to ``NUM_BATCHES`` batches, onto the device."""
    num_images = len(builder.splits.train)
    batch_size = -(-num_images // NUM_BATCHES)
    experiment = builder.experiment
    stream = build_stream(
        builder.splits.train,
        experiment.data,
        batch_size=batch_size,
        seed=0,
        with_masks=experiment.learns_masks,
        squares_px=builder.squares_px(),
    )
    return [batch.to(builder.device) for batch in stream.plain_batches(range(num_images))]


def record_taps(builder: TrialBuilder, student: Detector, teacher: Detector, batches: Sequence[Batch]) -> RecordedTaps:
    """Run student and teacher once over some batches, the student with gradient. Both models stay on the device."""
    training = builder.experiment.training
    dtype = autocast_dtype(training.precision, builder.device)
    student.model.to(builder.device).train()
    teacher.model.to(builder.device).eval().requires_grad_(requires_grad=False)
    with RngState(training.seed, builder.device).active(), autocast(builder.device, dtype):
        taps = [
            (student.forward_train(batch.images, batch.targets), teacher.forward_teacher(batch.images_for_teacher))
            for batch in batches
        ]
    return RecordedTaps(taps, builder.device)


def replay_objective(
    objective: Objective, recorded: RecordedTaps, *, num_epochs: int, seed: int
) -> Iterator[EpochValues]:
    """Replay epochs of an objective on recorded taps. Weights do not change; prototypes are made as in training.

    Args:
        objective: any; it is moved to the device.
        recorded: the taps.
        num_epochs: number of epochs.
        seed: of the random state.

    Yields:
        ``loss/<term>``; ``gradient/stride <n>``, the norm of the gradient of all terms on the student's neck;
        ``gradient/adapters``, the norm on the objective's own parameters; the objective's metrics as measured values.
    """
    rng = RngState(seed, recorded.device)
    objective.to(recorded.device)
    for epoch in range(1, num_epochs + 1):
        if not objective.is_active_in(epoch):
            yield {}
            continue
        with rng.active():
            objective.begin_epoch(epoch, recorded.feature_pass(epoch))
            sums: dict[str, Tensor] = {}
            for student, teacher in recorded.batches(epoch):
                for name, value in _step(objective, student, teacher).items():
                    sums[name] = sums[name] + value if name in sums else value
            measured = objective.end_epoch()
        values = torch.stack(list(sums.values())).tolist() if sums else []
        trained = dict(zip(sums, values, strict=True))
        yield {**trained, **{f"{MEASURED}{name}": value for name, value in measured.items() if name not in trained}}


def replay_student(
    builder: TrialBuilder, settings: DetectorSettings, training: TrainingSettings, batches: Sequence[Batch]
) -> Iterator[EpochValues]:
    """Replay ``NUM_STEPS`` steps of a student without a teacher; each step counts as an epoch.

    Args:
        builder: data and device.
        settings: of the student.
        training: optimizer, schedule and precision; its budget is replaced by ``NUM_STEPS`` epochs.
        batches: on the device.

    Yields:
        The losses by name, and ``update/<part>``, the norm of the step's weight update in a part of the detector.
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
    values = {f"loss/{name}": loss.detach().double() for name, loss in losses.items()}
    adapters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    with_gradient = [loss for loss in losses.values() if loss.requires_grad]
    if not with_gradient:
        return values
    total = torch.stack(with_gradient).sum()
    gradients = torch.autograd.grad(total, [*student.neck.values(), *adapters], retain_graph=True, allow_unused=True)
    for stride, gradient in zip(student.neck, gradients, strict=False):
        values[f"gradient/stride {stride}"] = _norm([gradient], total)
    values["gradient/adapters"] = _norm(gradients[len(student.neck) :], total)
    return values


def _norm(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    parts = [torch.linalg.vector_norm(each.detach(), dtype=torch.float64) for each in gradients if each is not None]
    return torch.linalg.vector_norm(torch.stack(parts)) if parts else like.new_zeros((), dtype=torch.float64)


def _updates(model: nn.Module, before: Sequence[Tensor]) -> dict[str, float]:
    updates: dict[str, list[Tensor]] = {}
    for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
        updates.setdefault(name.partition(".")[0], []).append(parameter.detach() - old)
    return {f"update/{part}": float(_norm(steps, steps[0])) for part, steps in updates.items()}


def _no_feature_pass(_: int) -> Iterator[Any]:
    raise AssertionError("a student without a teacher needs no feature pass")
