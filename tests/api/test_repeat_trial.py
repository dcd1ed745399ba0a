"""A trial trained again alone equals the trial in its cohort."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import distune
from distune.api.repeat_trial import _largest_difference
from distune.errors import StudyError, UsageError
from distune.records import EpochReport
from distune.study.files.study_folder import StudyFolder
from distune.training import checkpoint
from support import trained_study
from support.command_line import run
from support.experiments import small_values


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return tmp_path / "home"


@pytest.mark.slow
def test_every_trial_of_a_study_in_cohorts_can_be_repeated(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {
        "tracking": {"enabled": False},
        "resources": {"cohort": 2},
        "search": {"num_trials": 3, "scheduler": {"kind": "none"}},
        "training": {"epochs": 2},
    }
    study = distune.launch(small_values(changes), runner="local", callbacks=[])
    stream_epochs = {
        trial.key: [int(report.metrics["stream/epoch"]) for report in study.epochs(trial.number)]
        for trial in study.status.trials
    }
    assert stream_epochs == {"control-1": [1, 2], "0": [1, 2], "1": [1, 2], "2": [1, 2]}
    for trial in study.status.trials:
        again = study.repeat_trial(trial.key, callbacks=[])
        assert (again.name, again.num_epochs, again.largest_difference) == (trial.key, 2, 0.0)
        assert again.folder == home / "trained" / f"small-{trial.key}"
        first, second = (
            checkpoint.load(file) for file in (study.path / "trials" / trial.key / "last.pt", again.folder / "last.pt")
        )
        if first is not None and second is not None:  # the last checkpoint is removed at the end of a trial
            assert all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])
        best, other = (
            checkpoint.load(file) for file in (study.path / "trials" / trial.key / "best.pt", again.folder / "best.pt")
        )
        assert best is not None
        assert other is not None
        assert all(torch.equal(best["model"][name], other["model"][name]) for name in best["model"])
    with pytest.raises(UsageError, match="is not empty; name a new folder with --out"):
        study.repeat_trial(0, callbacks=[])
    answer = run(capsys, monkeypatch, "train", "--trial", "small/1", "--out", "again")
    assert answer.out == "trial 1, 2 epochs again: equal to the record: search/AP of every epoch; again\n"


def test_trials_are_compared_up_to_the_epoch_in_which_they_diverged() -> None:
    def reports(*scores: float | None) -> list[EpochReport]:
        found = enumerate(scores, start=1)
        return [
            EpochReport(epoch=epoch, metrics={} if score is None else {"search/AP": score}, finished_at=0.0)
            for epoch, score in found
        ]

    assert _largest_difference(reports(1.0, 2.0, None), reports(1.0, 2.5, None), "search/AP") == 0.5
    assert _largest_difference(reports(None), reports(None), "search/AP") == 0.0
    assert _largest_difference(reports(1.0, None), reports(1.0, 2.0), "search/AP") == math.inf
    gap = [reports(1.0, 2.0, 3.0)[0], reports(1.0, 2.0, 3.0)[2]]
    assert _largest_difference(gap, reports(1.0, 2.0, 3.0), "search/AP") == 0.0


@pytest.mark.slow
def test_a_study_is_not_continued_or_repeated_on_other_data(trained_home: Path) -> None:
    study = distune.load_study(trained_study.NAME)
    file = StudyFolder(study.path).data_card_file
    card = json.loads(file.read_text())
    file.write_text(json.dumps({**card, "fingerprint": "0123456789abcdef"}))
    trials = {path: path.stat().st_mtime_ns for path in (study.path / "trials").rglob("*")}
    with pytest.raises(StudyError, match=r"images, boxes or splits have changed .*--warm-start small"):
        study.resume(num_trials=3, callbacks=[])
    with pytest.raises(StudyError, match=r"have changed .*trial 0 cannot be repeated on it"):
        study.repeat_trial(0, callbacks=[])
    assert {path: path.stat().st_mtime_ns for path in (study.path / "trials").rglob("*")} == trials
    file.write_text(json.dumps(card))
    assert study.repeat_trial(0, callbacks=[]).largest_difference == 0.0


def test_wrong_arguments_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = distune.launch(small_values({"tracking": {"enabled": False}}), simulate=True, runner="local", callbacks=[])
    with pytest.raises(StudyError, match="it is simulated, so nothing was trained"):
        study.repeat_trial(0)
    with pytest.raises(StudyError, match="there is no trial 99"):
        study.repeat_trial(99)
    answer = run(capsys, monkeypatch, "train", "quickstart", "--trial", "small/1")
    assert (answer.status, answer.out) == (2, "")
    assert "leave out the experiment" in answer.err
    answer = run(capsys, monkeypatch, "train")
    assert (answer.status, answer.out) == (2, "")
    assert "name an experiment, such as quickstart" in answer.err
