"""Is the gain larger than the spread between seeds?"""

from __future__ import annotations

from statistics import stdev

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import Verdict
from distune.evidence.next_step import next_step
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import MIN_RUNS, SPREADS, StudyEvidence

_NAME = "spread"


def check_seed_spread(evidence: StudyEvidence) -> Finding:
    """Compare the gain with the spread between seeds: of the confirmation, else of several controls.

    Args:
        evidence: of the study.

    Returns:
        A problem if the gain is within the spread; unknown if a single seed says nothing about it.
    """
    if evidence.confirmation is not None:
        return _of_confirmation(evidence.study, evidence.confirmation)
    if evidence.gain is None:
        text = "the gain is unknown: no trial has finished beside a control"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=text)
    confirm = f"distune confirm {evidence.study}"
    details = {"gain": evidence.gain, "control_scores": list(evidence.control_scores)}
    if len(evidence.control_scores) < MIN_RUNS:
        return Finding(
            check=_NAME,
            state=FindingState.UNKNOWN,
            text=f"the gain of {evidence.gain:+.1f} is that of the best trial under one seed, which says nothing about "
            "the spread between seeds",
            advice=f"run {confirm}: it trains the best trial and its control under fresh seeds",
            details=details,
        )
    spread = stdev(evidence.control_scores)
    text = (
        f"the gain of the search is {evidence.gain:+.1f}, where {len(evidence.control_scores)} controls vary by "
        f"{spread:.1f} points between seeds"
    )
    is_within = evidence.gain <= SPREADS * spread
    return Finding(
        check=_NAME,
        state=FindingState.PROBLEM if is_within else FindingState.UNKNOWN,
        text=f"{text}: it is {'within' if is_within else 'beyond'} twice their spread, and not confirmed",
        advice=f"run {confirm}: it trains the best trial and its control under fresh seeds",
        details=details,
    )


def _of_confirmation(study: str, result: ConfirmationResult) -> Finding:
    gain, verdict = result.gain, result.verdict
    spread = stdev(gain.by_seed.values()) if gain.num_seeds > 1 else None
    details = {"by_seed": {str(seed): value for seed, value in gain.by_seed.items()}, "spread": spread}
    text = f"confirmation: {result.summary}"
    if spread is not None:
        text += f"; it varies by {spread:.1f} points between seeds"
    if verdict is Verdict.GAIN:
        return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)
    state = FindingState.UNKNOWN if verdict is Verdict.UNDECIDED else FindingState.PROBLEM
    advice = next_step(result) or f"distune confirm {study} --until-decided adds seeds"
    if verdict is Verdict.UNSTABLE:
        advice = "lower training.optimizer.learning_rate or the weights of the distillation: the student diverges"
    elif verdict is Verdict.LOSS:
        advice = "the problems above may say why; the student without distillation is better"
    elif verdict is Verdict.NO_RELEVANT_GAIN:
        advice = "more seeds will not change this: change the teacher, the terms or the budget"
    return Finding(check=_NAME, state=state, text=text, advice=advice, details=details)
