"""The description of a study in MLflow."""

from __future__ import annotations

from distune.records import Outcome, ParameterValue, TrialRecord, TrialState
from distune.reports.study_note import NoteContent, study_note


def record(number: int, score: float, outcome: Outcome = Outcome.FINISHED, value: ParameterValue = 0.5) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=6,
        params={} if number < 0 else {"a.weight": value},
        metrics={"search/AP": score},
        seed=0,
    )


def test_a_note_shows_result_best_trials_control_teacher_and_commands() -> None:
    trials = [record(-1, 30.0), *(record(number, 30.0 + number) for number in range(7))]
    trials += [record(7, 50.0, Outcome.STOPPED), record(8, 36.5, value="a|b\n*c*")]
    content = NoteContent(
        study="one",
        headline="best trial 8: gain [+1]",
        details=["The study is interrupted."],
        trials=trials,
        metric="search/AP",
        names={"a.weight": "a"},
        teacher=47.25,
        commands=["best", "confirm"],
    )
    assert study_note(content) == (
        r"**best trial 8: gain \[+1\]**"
        "\n\nThe study is interrupted.\n\n"
        "| trial | search/AP | gain | epochs | a |\n"
        "|---|---|---|---|---|\n"
        r"| 8 | 36.5 | +6.5 | 6 | a\|b \*c\* |"
        "\n"
        "| 6 | 36.0 | +6.0 | 6 | 0.5 |\n"
        "| 5 | 35.0 | +5.0 | 6 | 0.5 |\n"
        "| 4 | 34.0 | +4.0 | 6 | 0.5 |\n"
        "| 3 | 33.0 | +3.0 | 6 | 0.5 |\n"
        "| control-1 | 30.0 |  | 6 |  |\n"
        "| teacher | 47.2 |  |  |  |\n\n"
        "```\ndistune best one\ndistune confirm one\n```"
    )
