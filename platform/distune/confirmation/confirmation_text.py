"""The gain of a study as text, the same in every place that prints it."""

from __future__ import annotations

from pathlib import Path

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import Verdict
from distune.evidence.next_step import next_step
from distune.records import TrialRecord
from distune.study.status import StudyStatus


def headline(result: ConfirmationResult) -> str:
    """Return the winner and its gain in a line."""
    return f"confirmation: trial {result.winner}, {result.split} split: {result.summary}"


def explain(result: ConfirmationResult, study_folder: Path) -> list[str]:
    """Explain a result: failures, the split, earlier test evaluations, the next step, the student's file.

    Args:
        result: of the confirmation.
        study_folder: folder of the study, which the student's file is relative to.

    Returns:
        The lines below the headline.
    """
    gain = result.gain
    scores = f"student {gain.student:.1f} {result.metric}, control {gain.control:.1f}"
    lines = [f"{result.split} split, mean over the seeds: {scores}"]
    lines += [f"  {line}" for line in result.best.failures]
    if result.best.num_diverged:
        lines.append(
            f"the student diverged under {result.best.num_diverged} of {len(result.seeds)} seeds, which are excluded: "
            "the estimate is optimistic"
        )
    if result.test is None:
        lines.append(
            "there is no test split, so the gain is measured on the search split, by which the search has chosen its "
            "best trials: the estimate is optimistic"
        )
    elif result.test.verdict is not result.search.verdict and result.search.verdict is Verdict.GAIN:
        lines.append("the search split shows a gain and the test split does not: trust the test split")
    if result.previous_test_evaluations:
        times = "once" if result.previous_test_evaluations == 1 else f"{result.previous_test_evaluations} times"
        lines.append(
            f"the test split was evaluated {times} before, for another trial or another metric: each evaluation makes "
            "it more like a search split"
        )
    if result.num_analyses > 1 and result.gain.num_seeds > 1:
        lines.append(
            f"interval {result.num_analyses} of this trial, wider than one of 95%, so that the chance that any of them "
            "misses the true gain is at most 5%"
        )
    advice = None if result.verdict is Verdict.NO_RELEVANT_GAIN else next_step(result)
    if advice is not None:
        lines.append(advice)
        has_error_left = result.max_seeds is None and result.num_analyses <= 2
        is_open = result.verdict is Verdict.NOT_SHOWN and gain.num_teachers == 1 and gain.mean > 0
        if has_error_left and is_open:
            lines.append(f"to add seeds until it is decided: distune confirm {study_folder.name} --until-decided")
    if result.verdict in (Verdict.NOT_SHOWN, Verdict.LOSS, Verdict.NO_RELEVANT_GAIN):
        lines.append(f"for likely reasons: distune explain {study_folder.name}")
    weights = study_folder / result.weights
    if weights.is_file():
        lines.append(f"student: {weights} (seed {result.best_seed}, the best of {result.search.num_seeds})")
    return lines


def unconfirmed(status: StudyStatus, gain: float | None) -> str:
    """Return the gain of a study that was not confirmed, in a line."""
    num_controls = sum(record.control for record in status.trials)
    controls = "one control" if num_controls == 1 else f"{num_controls} controls"
    size = "gain: unknown, no control has finished" if gain is None else f"gain: {gain:+.1f} against the control"
    return f"{size}; not confirmed yet: one seed, {controls}: run distune confirm {status.study}"


def overtaken(status: StudyStatus, leader: TrialRecord) -> str | None:
    """Return a line when the search has found a better trial since the confirmation, None otherwise."""
    result = status.confirmation
    if result is None or leader.number in {candidate.number for candidate in result.candidates}:
        return None
    return (
        f"trial {leader.key} has since scored best in the search, and is not confirmed: run distune confirm "
        f"{status.study} again"
    )
