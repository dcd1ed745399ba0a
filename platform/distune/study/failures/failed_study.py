"""Decides that a study of which nothing finished has failed, and says why. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from distune.records import Outcome
from distune.study.failures.reasons import reason_pattern

_FAILURES = (Outcome.FAILED, Outcome.DIVERGED)


class EndedTrial(Protocol):
    """A trial as Optuna or a record holds it."""

    @property
    def number(self) -> int:
        """Its number; controls are below zero."""
        ...

    @property
    def outcome(self) -> Outcome:
        """Its outcome."""
        ...

    @property
    def reason(self) -> str | None:
        """The reason of its failure or divergence."""
        ...


def describe_failed_search(trials: Iterable[EndedTrial]) -> str | None:
    """Return why no searched trial has finished.

    Args:
        trials: of a study whose trials have all ended, controls included.

    Returns:
        The commonest reason in a line, with the number of trials that it ended; None when a trial has finished, and
        when none has failed or diverged, such as when all were stopped early.
    """
    searched = [trial for trial in trials if trial.number >= 0]
    if any(trial.outcome is Outcome.FINISHED for trial in searched):
        return None
    return _commonest(searched, "trial")


def describe_failed_controls(trials: Iterable[EndedTrial]) -> str | None:
    """Return why no control has finished, so that the gain is unknown; None when one has, or none has failed."""
    controls = [trial for trial in trials if trial.number < 0]
    if any(trial.outcome is Outcome.FINISHED for trial in controls):
        return None
    return _commonest(controls, "control")


def advise_after_failure(study: str, num_trials: int) -> str:
    """Return the remedy for a study of which no trial has finished and none is left to run.

    Args:
        study: its name.
        num_trials: searched trials so far.

    Returns:
        The end of a sentence.
    """
    return (
        f"fix the cause, then run more trials (distune resume {study} --trials {num_trials + 10}), or launch the study "
        f"again (--name {study} --replace)"
    )


def _commonest(trials: list[EndedTrial], kind: str) -> str | None:
    """Return the commonest reason of failures; reasons that differ only in numbers count as one."""
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial.outcome in _FAILURES:
            reason = trial.reason or f"{trial.outcome} without a reason"
            reasons.setdefault(reason_pattern(reason), []).append(reason)
    if not reasons:
        return None
    most = max(reasons.values(), key=len)
    of_all = f"{len(most)} of {len(trials)} {kind}{'s' * (len(trials) > 1)}"
    return f"no {kind} has finished; the commonest reason, in {of_all}: {most[0]}"
