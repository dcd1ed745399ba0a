"""Facts of a study for the report page, without running one."""

from __future__ import annotations

import dataclasses
from typing import Any

from distune.evidence.confirmation_result import Candidate, ConfirmationResult
from distune.evidence.gain import Gain
from distune.records import EpochReport, Outcome, TrialRecord, TrialState
from distune.reports.page.page_input import PageInput, Settings, StudyFacts

METRIC = "search/AP"
NUM_EPOCHS = 4


def make_reports(scores: list[float], *, start: float = 0.0) -> list[EpochReport]:
    """Return epochs of 10 seconds with these scores, 2 of them for evaluation."""
    return [
        EpochReport(
            epoch=epoch,
            metrics={METRIC: score, "time/epoch_s": 10.0, "time/evaluate_s": 2.0},
            finished_at=start + 10.0 * epoch,
        )
        for epoch, score in enumerate(scores, start=1)
    ]


def make_trial(number: int, scores: list[float], outcome: Outcome = Outcome.FINISHED, **changes: Any) -> TrialRecord:
    """Return a trial; negative numbers are controls."""
    values: dict[str, Any] = {
        "number": number,
        "state": TrialState.COMPLETE,
        "outcome": outcome,
        "control": number < 0,
        "epochs": len(scores),
        "params": {} if number < 0 else {"distillation.soft_labels.weight": 0.5 + number},
        "metrics": {METRIC: max(scores)} if scores else {},
        "seed": 0,
    }
    return TrialRecord(**values | changes)


SCORES: dict[int, list[float]] = {
    -1: [10.0, 15.0, 18.0, 20.0],
    0: [11.0, 16.0, 20.0, 22.0],
    1: [12.0, 18.0, 22.0, 25.0],
    2: [8.0, 9.0],
    3: [7.0],
}
"""Number of a trial to its scores: a control, two that finish, and two that are stopped."""


def make_facts(**changes: Any) -> StudyFacts:
    """Return a study of four trials, of which two were stopped, and a control."""
    trials = [
        make_trial(number, scores, Outcome.FINISHED if len(scores) == NUM_EPOCHS else Outcome.STOPPED)
        for number, scores in SCORES.items()
    ]
    values: dict[str, Any] = {
        "study": "mine",
        "title": "study mine",
        "simulated": False,
        "state": "finished",
        "reason": None,
        "metric": METRIC,
        "trials": trials,
        "reports": {number: make_reports(scores, start=100.0 * number) for number, scores in SCORES.items()},
        "num_trials": 4,
        "num_epochs": NUM_EPOCHS,
        "scheduler": "asha",
        "rungs": (1, 2),
        "winner": trials[2],
        "teacher_score": 30.0,
        "teacher_reports": make_reports([20.0, 30.0]),
    }
    return StudyFacts(**values | changes)


def make_gain(mean: float = 2.0, half: float = 1.0, **changes: Any) -> Gain:
    """Return a gain over three seeds."""
    values: dict[str, Any] = {
        "metric": "AP",
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "student": 20.0 + mean,
        "control": 20.0,
        "by_seed": {1000: mean - 0.5, 1001: mean, 1002: mean + 0.5},
        "num_images": 50,
        "error_seeds": 0.3,
        "error_images": 0.3,
    }
    return Gain(**values | changes)


def make_confirmation(gain: Gain | None = None, **changes: Any) -> ConfirmationResult:
    """Return the confirmation of trial 1."""
    gain = gain or make_gain()
    candidates = (
        Candidate(number=1, control="control", score=23.0, num_selection_seeds=1, search=gain),
        Candidate(number=0, control="control", score=21.0, num_selection_seeds=1),
    )
    values: dict[str, Any] = {
        "metric": "AP",
        "seeds": (1000, 1001, 1002),
        "candidates": candidates,
        "winner": 1,
        "test": gain,
        "previous_test_evaluations": 0,
        "best_seed": 1000,
        "weights": "confirmation/seed-1000/1/best.pt",
        "selection_seeds": (2000,),
    }
    return ConfirmationResult(**values | changes)


def make_page(facts: StudyFacts | None = None, **changes: Any) -> PageInput:
    """Return the values of a page."""
    settings = Settings(
        experiment="name: mine\n", space="parameters: {}\n", commands=["distune launch mine.yaml"], versions={}
    )
    return dataclasses.replace(PageInput(facts=facts or make_facts(), settings=settings), **changes)
