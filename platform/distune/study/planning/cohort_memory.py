"""The memory of a cohort: how many students a worker may hold, estimated before it starts. Loads torch."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import psutil
import torch

from distune.config.experiment import Experiment
from distune.config.search import gpus_of_trial
from distune.data.dataset import Annotations
from distune.data.splits import Splits
from distune.study.planning.disk_and_memory import trial_sizes
from distune.study.resources import available_gpus

_SHARE_OF_STUDENTS = 0.5
"""Fraction of a worker's memory that students may hold. The rest is for the activations of one step, which students
take one after another, and for the libraries."""
_MOST_STUDENTS = 1000
"""Students of a worker whose memory is not known."""
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """Bytes of a worker.

    Attributes:
        available: of its GPU, or its fraction of the main memory. Infinite where trials have GPUs and this machine has
            none, as when an experiment for another machine is validated.
        student: that each student holds between its steps: weights, gradients, optimizer, adapters, prototypes.
        teacher: of the teacher's weights.
    """

    available: float
    student: float
    teacher: float

    @property
    def most_students(self) -> int:
        """Number of students that fit, at least 1."""
        room = (_SHARE_OF_STUDENTS * self.available - self.teacher) / self.student
        return max(1, int(min(room, _MOST_STUDENTS)))


def memory_of_worker(experiment: Experiment, *, num_workers: int) -> WorkerMemory:
    """Estimate the memory of a worker on this machine from the parameters of the models.

    Args:
        experiment: with its own values; students that the search makes larger are not known here.
        num_workers: workers that share the main memory.

    Returns:
        The estimate, for data of one class.
    """
    sizes = trial_sizes(experiment, _without_images())
    resources = experiment.resources
    found = available_gpus()
    gpus = gpus_of_trial(resources.gpus_per_trial, found=found)
    if gpus > 0:
        available = _memory_of_gpu() * min(1.0, gpus) if found else math.inf
    else:
        available = _free_main_memory() / num_workers
    return WorkerMemory(available=available, student=float(sizes.memory - sizes.teacher), teacher=float(sizes.teacher))


class _NoImages:
    """A split without images, for sizes that do not depend on any."""

    name, classes, faults = "none", ("object",), ()

    def __len__(self) -> int:
        return 0

    def annotations(self, index: int) -> Annotations:
        raise IndexError(index)

    def image(self, index: int) -> torch.Tensor:
        raise IndexError(index)


def _without_images() -> Splits:
    nothing = _NoImages()
    return Splits(train=nothing, search=nothing, test=None, classes=nothing.classes, fingerprint="", faults=())


def _memory_of_gpu() -> float:
    return float(torch.cuda.get_device_properties(0).total_memory)


def _free_main_memory() -> float:
    """Return the free bytes of this machine, at most those that its container may use."""
    free = float(psutil.virtual_memory().available)
    try:
        return min(free, float(_CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or no limit
        return free
