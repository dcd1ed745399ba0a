"""Was the gradient clipped alike in the student and in its control?"""

from __future__ import annotations

from statistics import fmean

from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "clipping"
UNEQUAL = 0.25
"""Difference between the fractions of clipped steps from which on student and control train by unequal recipes."""


def check_clipping(evidence: StudyEvidence) -> Finding:
    """Compare the fractions of steps whose gradient was scaled down.

    Clipping nearly all steps is usual with AdamW at norm 1 (``docs/decisions/gradient_clipping.md``) and no problem, as
    long as it is the same in both.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if the student was clipped in far more or fewer steps than the control.
    """
    assert evidence.student is not None
    student = evidence.student.curve("gradient/clipped")
    control = [] if evidence.control is None else evidence.control.curve("gradient/clipped")
    terms = evidence.student.curve("gradient/distillation_clipped")
    if not student and not control:
        has_norms = bool(evidence.student.curve("gradient/norm"))
        text = "gradients are not clipped" if has_norms else "no fraction of clipped steps is recorded"
        return Finding(check=_NAME, state=FindingState.OK if has_norms else FindingState.UNKNOWN, text=text)
    if not student or not control:
        text = "the fraction of clipped steps is recorded for one of student and control only"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=text)
    details = {"student": student, "control": control, "distillation": terms}
    of_terms = f"; the gradient of the distillation in {fmean(terms):.0%}" if terms else ""
    text = (
        f"the gradient of the task was clipped in {fmean(student):.0%} of steps, in the control in {fmean(control):.0%}"
    )
    if abs(fmean(student) - fmean(control)) < UNEQUAL:
        return Finding(check=_NAME, state=FindingState.OK, text=text + of_terms, details=details)
    return Finding(
        check=_NAME,
        state=FindingState.PROBLEM,
        text=f"{text}{of_terms}: they are trained by unequal recipes",
        advice="set training.gradient_clip_of: each, which clips the distillation apart from the task, and a "
        "training.gradient_clip_norm that suits the control",
        details=details,
    )
