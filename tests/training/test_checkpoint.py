"""Checkpoints of earlier versions: their names are read, and training resumes with the same results."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.checkpoint import RENAMED_PARTS, with_current_names
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment
from support.solo_runs import State, assert_equal, builder, solo, timeless

VERSION_0_1 = {"prototype_manager.queue.": "keeper.harvest.", "prototype_manager.": "keeper."}


def with_old_names(state: dict[str, Any]) -> dict[str, Any]:
    def old(name: str) -> str:
        prefix = next((new for new in VERSION_0_1 if name.startswith(new)), "")
        return VERSION_0_1.get(prefix, "") + name.removeprefix(prefix)

    objective = {old(name): value for name, value in state["objective"].items()}
    objective["keeper.made_for"] = objective.pop("keeper.made_for_epoch") - 1  # epochs counted from 0
    return {**state, "objective": objective}


def test_names_of_version_0_1() -> None:
    objective = {"keeper.made_for": 1, "keeper.harvest.seen": 2, "learned.pkd.adapters.0.weight": 3, "balance.task": 4}
    assert with_current_names({"objective": objective, "epochs_done": 1}) == {
        "objective": {
            "prototype_manager.made_for": 1,
            "prototype_manager.queue.seen": 2,
            "learned.pkd.adapters.0.weight": 3,
            "balance.task": 4,
        },
        "epochs_done": 1,
    }
    assert with_current_names({"objective": None}) == {"objective": None}
    assert with_current_names({"model": {}}) == {"model": {}}


def test_current_names_do_not_change() -> None:
    objective = {new + "x": index for index, new in enumerate(RENAMED_PARTS.values())}
    assert with_current_names({"objective": objective}) == {"objective": objective}


@dataclasses.dataclass(frozen=True)
class Reference:
    """An uninterrupted training, and the folder of another one after its first epoch."""

    each: TrialBuilder
    expected: list[EpochReport]
    weights: State
    first_epoch: Path


@pytest.fixture(scope="module", params=["queue", "feature_pass"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Both trainings for each source of the prototypes."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("reference")
    prototypes = {"source": {"kind": request.param}, "min_box_side_px": 4}
    each = builder(small_experiment({"distillation": {"preset": "gkd_global", "prototypes": prototypes}}))
    whole = solo(each, path / "whole")
    expected = [whole.run_epoch() for _ in range(3)]
    solo(each, path / "first_epoch").run_epoch()
    return Reference(each, expected, whole.student.detector.model.state_dict(), path / "first_epoch")


@pytest.mark.parametrize("lost", [False, True])
def test_a_trial_of_version_0_1_resumes_with_the_same_results(tmp_path: Path, reference: Reference, lost: bool) -> None:
    folder = TrialFolder(tmp_path / "old")
    shutil.copytree(reference.first_epoch, folder.path)
    state = torch.load(folder.last_checkpoint, weights_only=True)
    assert any(name.startswith("prototype_manager.") for name in state["objective"])
    path = folder.previous_checkpoint if lost else folder.last_checkpoint
    folder.last_checkpoint.unlink()
    checkpoint.save(with_old_names(state), path)
    resumed = solo(reference.each, folder.path)
    assert resumed.epochs_done == 1
    reports = [resumed.run_epoch(), resumed.run_epoch()]
    assert [timeless(report.metrics) for report in reports] == [
        timeless(report.metrics) for report in reference.expected[1:]
    ]
    assert_equal(reference.weights, resumed.student.detector.model.state_dict())
