"""Evidence of a healthy study, for tests to change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distune.evidence.confirmation_result import Candidate, ConfirmationResult
from distune.evidence.gain import Gain
from distune.evidence.score_differences import ScoreDifference
from distune.explanation.study_evidence import RunEvidence, SplitEvidence, StudyEvidence
from distune.records import Outcome, TrialRecord, TrialState

METRIC = "search/AP"
CURVE = (5.0, 20.0, 30.0, 36.0, 38.0, 38.5, 38.2, 38.4, 38.3)
DISTILLATION: dict[str, Any] = {
    "prototypes": {"min_box_side_px": 30.0},
    "filter": {"weight": "uniform", "local_threshold": 0.2, "global_threshold": 0.2},
    "local_knowledge": {"weight": 1.0, "unit": "gradient_share", "robust": True},
    "soft_labels": {"weight": 1.0, "unit": "gradient_share", "robust": True},
    "mimic": {"weight": 0.0, "unit": "raw", "robust": True},
}
WITH_FILTER = {**DISTILLATION, "filter": {**DISTILLATION["filter"], "weight": "gaussian"}}
METRICS = {
    "share/local_knowledge": 0.9,
    "share_asked/local_knowledge": 1.0,
    "gradient_cosine/local_knowledge": 0.02,
    "share/soft_labels": 1.1,
    "share_asked/soft_labels": 1.0,
    "gradient_cosine/soft_labels": 0.4,
    "gradient/clipped": 0.99,
    "gradient/distillation_clipped": 0.9,
    "gradient/norm": 3.0,
}
PROTOTYPES = {
    "prototypes/per_class": 10.0,
    "prototypes/classes_without": 0.0,
    "filter/without_prototypes": 0.0,
    "filter/kept_local": 0.6,
    "features/class_gap_teacher/8": 0.2,
    "features/class_gap_teacher/16": 0.3,
    "features/class_gap_student/8": 0.1,
    "features/effective_rank_teacher/8": 6.0,
}


def run(name: str, curve: Sequence[float], metrics: Mapping[str, float] | None = None) -> RunEvidence:
    """A training with this curve, and with the same other metrics in each epoch."""
    epochs = tuple({METRIC: value, **(metrics or {})} for value in curve)
    return RunEvidence(name=name, epochs=epochs, best=max(epochs, key=lambda each: each[METRIC]))


def student(**metrics: float) -> RunEvidence:
    return run("7", CURVE, {**METRICS, **metrics})


def trial(number: int, score: float, outcome: Outcome = Outcome.FINISHED, reason: str | None = None) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=TrialState.COMPLETE,
        outcome=outcome,
        control=number < 0,
        epochs=9,
        params={},
        metrics={METRIC: score},
        seed=0,
        reason=reason,
    )


def healthy(**changes: Any) -> StudyEvidence:
    evidence = StudyEvidence(
        study="mine",
        metric=METRIC,
        simulated=False,
        trials=(trial(-1, 34.0), trial(7, 38.5), trial(8, 37.0)),
        num_epochs=9,
        distillation=DISTILLATION,
        student=student(),
        control=run("control-1", [each - 4 for each in CURVE], {"gradient/clipped": 0.98}),
        control_scores=(34.0,),
        teacher_lead={
            "AP": ScoreDifference(first=45.0, second=34.0, error=1.0),
            "AP/cat": ScoreDifference(first=50.0, second=36.0, error=1.5),
            "AP/dog": ScoreDifference(first=40.0, second=32.0, error=1.5),
        },
        confirmation=confirmation(4.0, 3.0, 5.0),
        split=SplitEvidence(
            num_images=100,
            boxes={"cat": 120, "dog": 90},
            teacher_labels={"cat": {"cat": 100, "dog": 5, "": 15}, "dog": {"dog": 70, "cat": 10, "": 10}},
            train_score=45.0,
            search_score=38.5,
        ),
    )
    return dataclasses.replace(evidence, **changes)


def gain(mean: float, low: float, high: float, *, by_seed: Sequence[float] | None = None) -> Gain:
    values = [mean - 1, mean, mean + 1] if by_seed is None else by_seed
    return Gain(
        metric="AP",
        mean=mean,
        low=low,
        high=high,
        student=38.0,
        control=38.0 - mean,
        by_seed=dict(enumerate(values, start=1000)),
        num_images=100,
        error_seeds=0.6,
        error_images=0.5,
    )


def confirmation(mean: float, low: float, high: float) -> ConfirmationResult:
    found = gain(mean, low, high)
    return ConfirmationResult(
        metric="AP",
        seeds=(1000, 1001, 1002),
        candidates=(Candidate(number=7, control="control", search=found),),
        winner=7,
        test=found,
        previous_test_evaluations=0,
        best_seed=1000,
        weights="confirmation/seed-1000/7/best.pt",
    )


NO_GAIN = confirmation(0.3, -1.0, 1.6)
