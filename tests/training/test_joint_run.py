"""Arms trained side by side equal trials trained alone, bit for bit, and resume where they were interrupted."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distune.config.experiment import without_distillation
from distune.evidence.average_precision import score_of
from distune.records import EpochReport, TrialSpec
from distune.training import checkpoint
from distune.training.evaluation.score_student import measure
from distune.training.joint_run import JointRun
from distune.training.solo_run import open_trial
from distune.training.trial_folder import TrialFolder
from support.experiments import small_experiment
from support.solo_runs import save_random_teacher

EPOCHS = 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A teacher with random weights."""
    return save_random_teacher(tmp_path_factory.mktemp("teacher"))


def specs(folder: Path, teacher: str) -> list[TrialSpec]:
    tiny = {"training": {"epochs": EPOCHS}, "data": {"num_train": 4, "num_search": 2}, "tracking": {"pictures": 0}}
    experiment = small_experiment(tiny)
    values = experiment.to_dict()
    trial = TrialSpec(
        study="one",
        number=0,
        control=False,
        seed=1007,
        num_epochs=EPOCHS,
        params={},
        experiment=values,
        folder=str(folder / "0"),
        teacher_weights=teacher,
    )
    control: dict[str, Any] = {
        "number": -1,
        "control": True,
        "experiment": without_distillation(values),
        "folder": str(folder / "control"),
        "teacher_weights": None,
    }
    return [dataclasses.replace(trial, **control), trial]


def finish(run: JointRun) -> dict[str, list[EpochReport]]:
    reports: dict[str, list[EpochReport]] = {}
    while run.behind:
        for key, answer in run.run_epoch().items():
            assert isinstance(answer, EpochReport), answer
            reports.setdefault(key, []).append(answer)
    run.close()
    return reports


def curve(folder: str) -> list[dict[str, float]]:
    """Return the reports without times."""
    return [
        {name: value for name, value in report.metrics.items() if not name.startswith(("time/", "speed/", "memory/"))}
        for report in TrialFolder(Path(folder)).reports()
    ]


def weights(folder: str) -> dict[str, torch.Tensor]:
    state = checkpoint.load(TrialFolder(Path(folder)).last_checkpoint)
    assert state is not None
    model: dict[str, torch.Tensor] = state["model"]
    return model


def test_an_error_at_opening_ends_one_student_and_damage_gives_a_note(tmp_path: Path, teacher: str) -> None:
    control, trial = specs(tmp_path, teacher)
    checkpoint.save({"model": {}}, TrialFolder.of(trial).last_checkpoint)
    damaged = TrialFolder.of(control).last_checkpoint
    damaged.parent.mkdir()
    damaged.write_bytes(b"truncated")
    run = JointRun([control, trial])
    assert run.notes == {control.key: (f"{damaged} is damaged; there is no other checkpoint, so training restarts",)}
    behind = [run.behind]
    (answer,) = run.run_epoch().values()
    assert "does not fit this trial" in str(answer)
    assert [*behind, run.behind] == [(trial.key, control.key), (control.key,)]
    run.close()


@pytest.mark.slow
def test_joint_equals_solo_and_resumed_equals_uninterrupted(tmp_path: Path, teacher: str) -> None:
    together = specs(tmp_path / "together", teacher)
    reports = finish(JointRun(together))
    assert {key: [each.epoch for each in found] for key, found in reports.items()} == {"0": [1, 2], "control-1": [1, 2]}

    for spec, alone in zip(together, specs(tmp_path / "alone", teacher), strict=True):
        work = open_trial(alone)
        for _ in range(EPOCHS):
            work.run_epoch()
        work.close()
        assert curve(spec.folder) == curve(alone.folder)
        for name, value in weights(alone.folder).items():
            assert torch.equal(value, weights(spec.folder)[name]), name

    # Cut off when the control had its second epoch on disk, and the trial not.
    cut = specs(tmp_path / "cut", teacher)
    first = JointRun([cut[1]])
    first.run_epoch()
    first.close()
    shutil.copytree(together[0].folder, cut[0].folder)
    run = JointRun(cut)
    assert run.behind == ("0",)
    assert {key: [each.epoch for each in found] for key, found in finish(run).items()} == {"0": [2]}
    assert curve(cut[1].folder) == curve(together[1].folder)

    # Cut off when one was an epoch ahead: it waits, and they end together.
    ahead = specs(tmp_path / "ahead", teacher)
    first = JointRun([ahead[1]])
    first.run_epoch()
    first.close()
    run = JointRun(ahead)
    assert list(run.run_epoch()) == ["control-1"]
    assert {key: [each.epoch for each in found] for key, found in finish(run).items()} == {"0": [2], "control-1": [2]}
    assert [curve(spec.folder) for spec in ahead] == [curve(spec.folder) for spec in together]

    # What is measured later is what was scored while training.
    for spec in together:
        best = max(report["search/AP"] for report in curve(spec.folder))
        assert score_of(measure(spec, "search"), "AP") == pytest.approx(best, abs=1e-9)
