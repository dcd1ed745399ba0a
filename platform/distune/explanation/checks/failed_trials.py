"""Did trials fail or diverge?"""

from __future__ import annotations

import re
from collections import Counter

from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence
from distune.records import Outcome

_NAME = "trials"
MANY = 0.25
"""Fraction of trials that failed or diverged from which on the search has lost much of its budget."""


def check_failed_trials(evidence: StudyEvidence) -> Finding:
    """Count trials that failed or diverged, and find the commonest reason.

    Args:
        evidence: of the study.

    Returns:
        A problem if a quarter of the trials did, or all controls.
    """
    started = evidence.started
    lost = [trial for trial in started if trial.outcome in (Outcome.FAILED, Outcome.DIVERGED)]
    if not started:
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text="no trial has started")
    if not lost:
        text = f"none of {len(started)} trials failed or diverged"
        return Finding(check=_NAME, state=FindingState.OK, text=text)
    outcomes = Counter(str(trial.outcome) for trial in lost)
    reasons = Counter(_kind(trial.reason or "without a reason") for trial in lost)
    kind, number = reasons.most_common(1)[0]
    example = next(trial for trial in lost if _kind(trial.reason or "without a reason") == kind)
    counts = " and ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    text = (
        f"{counts} of {len(started)} trials; commonest reason ({number} of {len(lost)}), such as in trial "
        f"{example.key}: {example.reason or 'none recorded'}"
    )
    controls = [trial for trial in started if trial.control]
    is_problem = len(lost) >= MANY * len(started) or (bool(controls) and all(trial in lost for trial in controls))
    diverged = outcomes[str(Outcome.DIVERGED)] * 2 >= len(lost)
    advice = (
        "lower training.optimizer.learning_rate or the upper ends of the searched weights"
        if diverged
        else f"distune status {evidence.study} --trial {example.key} shows where it failed; distune resume "
        "continues the study"
    )
    return Finding(
        check=_NAME,
        state=FindingState.PROBLEM if is_problem else FindingState.OK,
        text=text,
        advice=advice,
        details={"outcomes": dict(outcomes), "reasons": dict(reasons)},
    )


def _kind(reason: str) -> str:
    """Return a reason without its numbers, so that those of one kind are counted together."""
    return re.sub(r"[-+]?\d[\d.e+-]*", "#", reason)
