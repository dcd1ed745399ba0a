"""Solo runs of tests: the small experiment with a teacher of random weights, on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distune.config.experiment import Experiment
from distune.data.build import build_splits
from distune.detectors.taps import Detector
from distune.detectors.zoo import build_detector
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.solo_run import SoloRun
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment

State = dict[str, Tensor]


def builder(experiment: Experiment) -> TrialBuilder:
    """The builder of an experiment on the CPU."""
    return TrialBuilder(experiment, build_splits(experiment.data), torch.device("cpu"))


def teacher_of(each: TrialBuilder) -> Detector:
    """A teacher with random weights."""
    return each.detector(each.experiment.teacher, seed=77)


def save_random_teacher(folder: Path) -> str:
    """Save a teacher of the small experiment with random weights, and return its file."""
    settings = small_experiment().teacher
    detector = build_detector(settings, classes=("circle", "square"), min_size_px=64, max_size_px=64, seed=3)
    state = {
        "model": detector.model.state_dict(),
        "classes": ["circle", "square"],
        "detector": settings.model_dump(mode="json"),
    }
    checkpoint.save(state, folder / "teacher.pt")
    return str(folder / "teacher.pt")


def solo(each: TrialBuilder, folder: Path) -> SoloRun:
    """A distilled student with a folder."""
    experiment = each.experiment
    return SoloRun(
        each,
        experiment.student,
        experiment.training,
        seed=experiment.training.seed,
        teacher=teacher_of(each),
        folder=TrialFolder(folder),
        metric="search/AP",
        num_pictures=2,
    )


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics without times."""
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "speed/", "memory/"))}


def assert_equal(first: State, second: State) -> None:
    """Fail if two sets of tensors differ in a bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different, different
