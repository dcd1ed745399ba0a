"""Planned disk and memory against the files of a trained trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.data.build import build_splits
from distune.study.planning.disk_and_memory import DiskPlan, TrialSizes, disk_plan, trial_sizes
from distune.study.planning.study_plan import plan_study
from distune.training.builder import TrialBuilder
from distune.training.solo_run import SoloRun
from distune.training.trial_folder import TrialFolder
from study.harness import MakeLoaded
from support.experiments import small_experiment, small_values

_OVERHEAD = 200_000
"""Names, shapes, random-number states and the like."""


def loaded(optimizer: str, decay: float = 0.0) -> LoadedExperiment:
    training = {"optimizer": {"kind": optimizer}, "ema": {"decay": decay}}
    values = small_values({"training": training, "data": {"num_train": 4, "num_search": 2}})
    return experiment_from_dict(values, source="test")


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "decay"), [("adamw", 0.0), ("sgd", 0.0), ("sgd", 0.9)])
def test_files_of_a_trial_have_the_planned_sizes(tmp_path: Path, optimizer: str, decay: float) -> None:
    experiment = loaded(optimizer, decay).experiment
    builder = TrialBuilder(experiment, build_splits(experiment.data), torch.device("cpu"))
    sizes = trial_sizes(experiment, builder.splits)
    folder = TrialFolder(tmp_path)
    run = SoloRun(
        builder,
        experiment.student,
        experiment.training,
        seed=0,
        teacher=builder.detector(experiment.teacher, seed=1),
        folder=folder,
        metric="loss/total",
        num_pictures=0,
    )
    run.run_epoch()
    best, last = (path.stat().st_size for path in (folder.best_checkpoint, folder.last_checkpoint))
    assert sizes.best <= best <= sizes.best + _OVERHEAD
    assert last <= sizes.last + _OVERHEAD
    weights = sizes.best * (1 + (2 if optimizer == "adamw" else 1) + (decay > 0))
    assert last > 0.9 * weights, "the bound is no wild guess: what it adds is the room kept for features"
    assert sizes.memory > sizes.last


@pytest.mark.parametrize(
    ("augmentation", "side_px"),
    [
        ({"min_sizes_px": [128]}, 128),
        ({"min_sizes_px": [64, 128]}, 101),
        ({"scale_jitter": [0.5, 1.0], "crop_size_px": 192}, 192),
    ],
)
def test_kept_maps_are_of_the_sizes_in_training(augmentation: dict[str, Any], side_px: int) -> None:
    data = {"max_size_px": 192}
    drawn, plain = (
        small_experiment({"data": {**data, **each, "augmentation": {"copies": 2, **drawn}}})
        for each, drawn in (({}, augmentation), ({"min_size_px": side_px}, {}))
    )
    splits = build_splits(plain.data)
    of_drawn, of_plain = (trial_sizes(each, splits).maps_per_image for each in (drawn, plain))
    assert (
        of_drawn
        == of_plain
        > trial_sizes(small_experiment({"data": {"augmentation": {"copies": 2}}}), splits).maps_per_image
    )


def test_disk_space_of_finished_trials_and_trials_in_progress(make_loaded: MakeLoaded) -> None:
    sizes = TrialSizes(best=10, last=100, memory=0)
    search = {"num_trials": 5, "controls": 1, "scheduler": {"kind": "none"}}
    plan = plan_study(make_loaded(search=search).experiment)
    assert disk_plan(plan, sizes, num_concurrent=2, has_copies=False) == DiskPlan(
        max_bytes=6 * 110 + 2 * 210, expected_bytes=6 * 110 + 2 * 210
    )
    assert disk_plan(plan, sizes, num_concurrent=2, has_copies=True).max_bytes == 6 * 120 + 2 * 210
    early = plan_study(make_loaded(search={**search, "scheduler": {"kind": "asha"}}).experiment)
    expected = disk_plan(early, sizes, num_concurrent=2, has_copies=False).expected_bytes
    assert expected is not None
    assert expected < 6 * 110 + 2 * 210
    median = plan_study(make_loaded(search={**search, "scheduler": {"kind": "median"}}).experiment)
    assert disk_plan(median, sizes, num_concurrent=2, has_copies=False).expected_bytes is None
