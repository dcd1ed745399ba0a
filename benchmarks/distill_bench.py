"""Tools of ``distill_step.py``: models and data of given sizes, students in turn, clocks and ratios."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from distune.config.detector import DetectorSettings
from distune.config.distillation import DistillationSettings
from distune.config.training import TrainingSettings
from distune.data.stream import Batch
from distune.detectors.levels import common_strides, probe_levels
from distune.detectors.taps import Detector, PredictionSites, StudentTaps, TeacherTaps
from distune.detectors.zoo import build_detector
from distune.distillation.build import build_objective
from distune.distillation.gradient_balance import GradientBalance
from distune.distillation.objective import Objective
from distune.training.precision import autocast, autocast_dtype
from distune.training.student import Student, build_student

Values = dict[str, Any]
Rounds = dict[str, list[dict[str, float]]]
"""Name of a student to what each of its steps took."""

EPOCHS = 1000
SETTLED = 1024
"""A step of a term from which on the gradient balance measures every 16th."""
"""The budget that schedules are made for: the weights of the terms hardly decay during the measurement."""


@dataclasses.dataclass(frozen=True)
class StepBench:
    """Models, data and device of a run."""

    options: argparse.Namespace
    device: torch.device
    teacher: Detector
    batches: list[Batch]

    @property
    def dtype(self) -> torch.dtype | None:
        """The precision of forward passes."""
        return autocast_dtype(self.options.precision, self.device)

    def detector(self, backbone: str) -> Detector:
        """A detector of the pair's family with fixed initial weights."""
        own = self.options
        values = {"family": own.pair, "backbone": backbone, "fpn_channels": own.channels}
        settings: Any = TypeAdapter(DetectorSettings).validate_python(values)
        classes = [f"class {index}" for index in range(own.classes)]
        return build_detector(
            settings, classes=classes, min_size_px=own.size, max_size_px=own.max_size or own.size, seed=0
        )

    def objective(self, student: Detector, values: Values) -> Objective:
        """The objective of some settings between the student and the teacher."""
        probe = torch.zeros(3, self.options.size, self.options.size)
        student_levels = probe_levels(student, probe)
        teacher_levels = probe_levels(self.teacher, probe.to(self.device))
        strides = common_strides(student_levels, teacher_levels)
        return build_objective(
            DistillationSettings.model_validate(values),
            num_classes=self.options.classes,
            strides=strides,
            student_channels=[student_levels[stride] for stride in strides],
            teacher_channels=[teacher_levels[stride] for stride in strides],
            score_kind=student.score_kind,
            base_size_px=student.base_size_px,
            num_epochs=EPOCHS,
            seed=0,
        )

    def student(self, key: str, make_objective: Callable[[Detector], Objective | None]) -> Student:
        """A student in training. Its learning rate is next to nothing, so that all students stay alike."""
        detector = self.detector(self.options.student_backbone)
        training = TrainingSettings.model_validate(
            {
                "epochs": EPOCHS,
                "batch_size": self.options.batch,
                "optimizer": {"kind": "adamw", "learning_rate": 1e-9},
                "precision": self.options.precision,
            }
        )
        return build_student(
            key,
            detector,
            objective=make_objective(detector),
            settings=training,
            seed=0,
            steps_per_epoch=EPOCHS,
            device=self.device,
        )

    def forward_teacher(self, batch: Batch) -> TeacherTaps:
        """The teacher's forward pass, as the training loop makes it."""
        with autocast(self.device, self.dtype):
            return self.teacher.forward_teacher(batch.images)

    def clock(self) -> float:
        """Seconds, when everything asked of the device is done; see ``clock_kind``."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.clock_kind == "processor time" else time.perf_counter()

    @property
    def clock_kind(self) -> str:
        """On one thread of a CPU the time of this process, to which other work on the machine adds nothing."""
        return "processor time" if self.device.type == "cpu" and self.options.threads == 1 else "wall clock"


class HeadAlone(nn.Module):
    """Stands where an objective does: runs the teacher's class head at the student's sites, and asks for nothing."""

    def is_active_in(self, _epoch: int) -> bool:
        """Always."""
        return True

    def begin_epoch(self, _epoch: int, _feature_pass: Any) -> None:
        """Nothing to prepare."""

    def end_epoch(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}

    measures_gradients = False

    def neck_maps(self, _student: StudentTaps) -> list[Tensor]:
        """No gradient is measured."""
        return []

    def forward(self, student: StudentTaps, teacher: TeacherTaps, _gradients: Any = None) -> dict[str, Tensor]:
        """No losses."""
        teacher.logits_at(student.prediction_sites)
        return {}


def no_feature_pass(_max_images: int) -> Iterator[Any]:
    """Features come from the queue."""
    return iter(())


def make_batches(options: argparse.Namespace, device: torch.device) -> list[Batch]:
    """Random images with boxes of sides from 1/16 to 1/2 of the image, every size of a doubling as likely."""
    generator = torch.Generator().manual_seed(0)
    height, width = options.size, options.max_size or options.size
    corner_2 = torch.tensor([width, height], dtype=torch.float32)
    batches = []
    for _ in range(4):
        images, targets = [], []
        for _ in range(options.batch):
            sides_n2 = 2 ** (-1 - 3 * torch.rand(options.boxes, 2, generator=generator))
            low_n2 = torch.rand(options.boxes, 2, generator=generator) * (1 - sides_n2)
            images.append(torch.rand(3, height, width, generator=generator))
            targets.append(
                {
                    "boxes": torch.cat([low_n2, low_n2 + sides_n2], dim=1) * corner_2.repeat(2),
                    "labels": torch.randint(1, options.classes + 1, (options.boxes,), generator=generator),
                }
            )
        batches.append(Batch(images, targets).to(device))
    return batches


def ratio(over: list[float], under: list[float]) -> Values:
    """The median of ratios of rounds with its 95% bootstrap interval."""
    values = np.array(over) / np.array(under)
    draws = np.random.default_rng(0).choice(values, size=(2000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {
        "median": round(float(np.median(values)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "rounds": len(values),
    }


def take_turns(students: list[Student], bench: StepBench, rounds: range) -> Rounds:
    """Steps of all students, one after the other in changing order: seconds of the teacher and of the whole step."""
    found: Rounds = {student.key: [] for student in students}
    for index in rounds:
        batch = bench.batches[index % len(bench.batches)]
        turn = index % len(students)
        order = students[turn:] + students[:turn]
        for student in order if index % 2 else order[::-1]:
            if bench.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(bench.device)
            started = bench.clock()
            taps = bench.forward_teacher(batch)
            teacher_done = bench.clock()
            student.step(batch, taps if student.needs_teacher else None)
            seconds = {"teacher": teacher_done - started, "step": bench.clock() - started}
            if bench.device.type == "cuda":
                seconds["peak_mib"] = torch.cuda.max_memory_allocated(bench.device) / 2**20
            found[student.key].append(seconds)
    return found


def warm_up(students: list[Student], bench: StepBench) -> None:
    """An epoch that fills the queue, and the start of the next one, which has prototypes."""
    for student in students:
        student.begin_epoch(no_feature_pass)
    take_turns(students, bench, range(len(bench.batches)))
    for student in students:
        student.end_epoch()
        student.begin_epoch(no_feature_pass)


class Watch:
    """Times the objective, and the teacher's head inside of it, through hooks; on a GPU forbids it to wait for the GPU.

    Torchvision's two-stage heads wait in any case, which is allowed.
    """

    def __init__(self, objective: Objective, bench: StepBench) -> None:
        self.objective: list[float] = []
        self.head: list[float] = []
        self._bench = bench
        self._started = 0.0
        self._forbids = bench.device.type == "cuda"
        objective.register_forward_pre_hook(self._enter)
        objective.register_forward_hook(self._leave)

    def _enter(self, _objective: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        student, teacher, *others = inputs
        self.head.append(0.0)
        self._started = self._bench.clock()
        self._forbid(forbid=True)
        return student, dataclasses.replace(teacher, logits_at=self._timed(teacher.logits_at)), *others

    def _leave(self, _objective: nn.Module, _inputs: Any, _losses: Any) -> None:
        self._forbid(forbid=False)
        self.objective.append(self._bench.clock() - self._started)

    def _timed(self, logits_at: Callable[[PredictionSites], Tensor]) -> Callable[[PredictionSites], Tensor]:
        def timed(sites: PredictionSites) -> Tensor:
            self._forbid(forbid=False)
            started = self._bench.clock()
            self._forbid(forbid=self._bench.options.pair == "retinanet")
            logits = logits_at(sites)
            self._forbid(forbid=False)
            self.head[-1] += self._bench.clock() - started
            self._forbid(forbid=True)
            return logits

        return timed

    def _forbid(self, *, forbid: bool) -> None:
        if self._forbids:
            torch.cuda.set_sync_debug_mode("error" if forbid else "default")


def fixed_taps(bench: StepBench) -> tuple[StudentTaps, TeacherTaps, Detector, list[Tensor]]:
    """A step's taps that losses can be taken of again and again, and the tensors that gradients go to.

    Class scores are noise: heads without training say next to nothing.
    """
    detector = bench.detector(bench.options.student_backbone)
    detector.model.to(bench.device).train()
    batch = bench.batches[0]
    student, teacher = detector.forward_train(batch.images, batch.targets), bench.forward_teacher(batch)
    generator = torch.Generator(bench.device).manual_seed(0)
    shape = student.prediction_sites.logits_RC.shape
    logits_RC, student_RC = (2 * torch.randn(shape, generator=generator, device=bench.device) for _ in range(2))
    student_RC.requires_grad_()
    boxes_R4 = teacher.boxes_at(student.prediction_sites)
    neck = {stride: each.detach().requires_grad_() for stride, each in student.neck.items()}
    student_R4 = student.prediction_sites.boxes().detach().requires_grad_()
    sites = dataclasses.replace(student.prediction_sites, logits_RC=student_RC, boxes=lambda: student_R4)
    task = torch.stack([each.sum() for each in (*neck.values(), student_RC)]).sum()
    student = StudentTaps({"task": task}, neck, sites, student.instances)
    teacher = TeacherTaps(teacher.view, lambda _: logits_RC, lambda _: boxes_R4)
    return student, teacher, detector, [*neck.values(), student_RC, student_R4]


def settle(objective: Objective) -> None:
    """Let the gradient balance count as if its terms had started ``SETTLED`` steps ago."""
    if objective.balance is not None:
        objective.balance.set_extra_state(torch.full_like(objective.balance.get_extra_state(), SETTLED))


class Repeated:
    """An objective in an epoch with prototypes, called on the same taps again and again.

    ``skip`` skips the steps that measure gradient fractions, which are few and costly.
    """

    def __init__(self, objective: Objective, student: StudentTaps, teacher: TeacherTaps, bench: StepBench) -> None:
        self.objective = objective.to(bench.device)
        self._taps = student, teacher
        self._index = 0
        objective.begin_epoch(1, no_feature_pass)
        with torch.no_grad():
            for _ in range(4):
                objective(student, teacher)
        objective.end_epoch()
        objective.begin_epoch(2, no_feature_pass)
        settle(objective)

    def skip(self) -> None:
        """Skip to a step that measures no gradient fractions."""
        while GradientBalance.is_due(SETTLED + self._index):
            self()

    def __call__(self) -> dict[str, Tensor]:
        """The losses of the next step."""
        self._index += 1
        losses: dict[str, Tensor] = self.objective(*self._taps)
        return losses


def timed_losses(
    losses: Callable[[], dict[str, Tensor]],
    leaves: list[Tensor],
    bench: StepBench,
    *,
    repeats: int,
    before: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], list[float]]:
    """Values by name, and seconds of forward and backward together, of each repeat but the first."""
    seconds: list[float] = []
    found: dict[str, Tensor] = {}
    for _ in range(repeats + 1):
        before()
        started = bench.clock()
        found = losses()
        torch.autograd.grad(torch.stack(list(found.values())).sum(), leaves, allow_unused=True)
        seconds.append(bench.clock() - started)
    return {name: float(value.detach()) for name, value in found.items()}, seconds[1:]
