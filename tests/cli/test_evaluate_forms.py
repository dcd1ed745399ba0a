"""The two forms of ``distune evaluate``: a study and a trial, or an experiment and a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distune.api.evaluation import Evaluation
from distune.cli.evaluate import means_checkpoint
from distune.errors import UsageError
from support.command_line import Distune


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("best.pt", "3", "teacher"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("second", "is_study", "is_experiment", "expected"),
    [
        (None, True, False, False),
        (None, True, True, False),
        ("best.pt", False, True, True),
        ("best.pt", True, True, True),
        ("./3", True, True, True),
        ("gone.pt", False, True, True),
        ("3", True, False, False),
        ("3", False, True, True),
        ("4", True, True, False),
        ("control", True, True, False),
        ("control-2", True, False, False),
        ("teacher", True, False, False),
    ],
)
def test_the_arguments_decide(second: str | None, is_study: bool, is_experiment: bool, expected: bool) -> None:
    assert means_checkpoint("one", second, is_study=is_study, is_experiment=is_experiment) is expected


@pytest.mark.parametrize(
    ("second", "is_study", "is_experiment", "message"),
    [
        ("3", True, True, r"write \./3 for the file"),
        ("teacher", True, True, r"write \./teacher for the file"),
        (None, False, True, "name a checkpoint after it"),
        (None, False, False, "no such study and no such experiment"),
        ("best.pt", True, False, "needs an experiment before it"),
        ("gone.pt", True, True, "gone.pt is no file, and no trial of study one"),
    ],
)
def test_unclear_arguments_are_refused(second: str | None, is_study: bool, is_experiment: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        means_checkpoint("one", second, is_study=is_study, is_experiment=is_experiment)


def test_a_simulated_study_has_no_student(distune: Distune) -> None:
    launch = (
        "launch",
        "quickstart",
        "--name",
        "quickstart",
        "--simulate",
        "--runner",
        "local",
        "--set",
        "search.num_trials=1",
    )
    assert distune(*launch, "--set", "tracking.enabled=false").status == 0
    answer = distune("evaluate", "quickstart")
    assert (answer.status, answer.out) == (2, "")
    assert "it is simulated, so nothing was trained" in answer.err
    refused = distune("evaluate", "quickstart", "0", "--set", "training.epochs=1")
    assert "--set has no effect here" in refused.err


def test_the_scores_are_printed_with_the_count(distune: Distune, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluation(_: object, trial: str | None, split: str) -> Evaluation:
        previous = 2 if split == "test" else None
        return Evaluation(
            name=trial or "0",
            weights=Path("best.pt"),
            metrics={f"{split}/AP": 31.44},
            previous_test_evaluations=previous,
        )

    monkeypatch.setattr("distune.api.study.Study.evaluation", evaluation)
    launch = (
        "launch",
        "quickstart",
        "--name",
        "quickstart",
        "--simulate",
        "--runner",
        "local",
        "--set",
        "search.num_trials=1",
    )
    assert distune(*launch, "--set", "tracking.enabled=false").status == 0
    lines = distune("evaluate", "quickstart").out.splitlines()
    assert [line.split() for line in lines] == [
        ["study", "quickstart,", "trial", "0:", "best.pt"],
        ["search/AP", "31.4"],
    ]
    tested = distune("evaluate", "quickstart", "control", "--split=test")
    assert "test split: 2 other evaluations on record in this study; this one is recorded" in tested.out
    values = json.loads(distune("evaluate", "quickstart", "7", "--split", "test", "--json").out)
    assert values == {
        "study": "quickstart",
        "trial": "7",
        "weights": "best.pt",
        "test/AP": 31.44,
        "previous_test_evaluations": 2,
    }
