"""What a study says about its gain, in the same words wherever it is asked."""

from __future__ import annotations

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import Verdict
from distune.evidence.gain_text import suggest_next_step
from distune.records import TrialRecord
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus


def headline(found: ConfirmationResult) -> str:
    """The winner and its gain."""
    return f"confirmed: trial {found.winner}, {found.split} split: {found.words}"


def explain(found: ConfirmationResult, folder: StudyFolder) -> list[str]:
    """What else there is to say about a confirmation: failures, the split, other looks, advice, the student's file."""
    lines = [f"  {line}" for line in found.best.failures]
    if found.best.num_diverged:
        lines.append(
            f"the student diverged under {found.best.num_diverged} of {len(found.seeds)} seeds, which are not in the "
            "figures: what is left flatters it"
        )
    if found.test is None:
        lines.append(
            "there is no test split, so the last word is from the search split, on which the trial was chosen: "
            "read it as an upper estimate"
        )
    elif found.test.verdict is not found.search.verdict and found.search.verdict is Verdict.GAIN:
        lines.append("the search split shows a gain and the test split does not: trust the test split")
    if found.previous_test_evaluations:
        times = "once" if found.previous_test_evaluations == 1 else f"{found.previous_test_evaluations} times"
        lines.append(
            f"the test split was looked at {times} besides, for another trial, other seeds or another metric: each "
            "look makes it a little more like a search split"
        )
    advice = suggest_next_step(found.final)
    if advice is not None:
        lines.append(advice)
    weights = folder.path / found.weights
    if weights.is_file():
        lines.append(f"student: {weights} (seed {found.best_seed}, the best of {found.search.num_seeds})")
    return lines


def unconfirmed(status: StudyStatus, gain: float | None) -> str:
    """The gain of a study that was not confirmed."""
    num_controls = sum(record.control for record in status.trials)
    controls = "one control" if num_controls == 1 else f"{num_controls} controls"
    size = "gain: unknown, no control has finished" if gain is None else f"gain: {gain:+.1f} against the control"
    return f"{size}; not confirmed yet: one seed, {controls}: run distune confirm {status.study}"


def overtaken(status: StudyStatus, leader: TrialRecord) -> str | None:
    """A line when the search has found a better trial since the confirmation, None otherwise."""
    found = status.confirmation
    if found is None or leader.number in {candidate.number for candidate in found.candidates}:
        return None
    return (
        f"trial {leader.key} has scored best in the search since, and is not confirmed: run distune confirm "
        f"{status.study} again"
    )
