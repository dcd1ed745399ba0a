"""The checks of a study. A new check is a function in a file here, and one line in ``CHECKS``."""

from __future__ import annotations

from collections.abc import Callable

from distune.explanation.checks.agreement import check_agreement
from distune.explanation.checks.budget import check_budget
from distune.explanation.checks.clipping import check_clipping
from distune.explanation.checks.coarse_scores import check_coarse_scores
from distune.explanation.checks.failed_trials import check_failed_trials
from distune.explanation.checks.filter_use import check_filter_use
from distune.explanation.checks.prototype_use import check_prototype_use
from distune.explanation.checks.seed_spread import check_seed_spread
from distune.explanation.checks.teacher_labels import check_teacher_labels
from distune.explanation.checks.teacher_lead import check_teacher_lead
from distune.explanation.checks.term_shares import check_term_shares
from distune.explanation.checks.training_images import check_training_images
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

Check = Callable[[StudyEvidence], Finding]

CHECKS: dict[str, Check] = {
    "labels": check_teacher_labels,
    "teacher": check_teacher_lead,
    "shares": check_term_shares,
    "agreement": check_agreement,
    "clipping": check_clipping,
    "prototypes": check_prototype_use,
    "filter": check_filter_use,
    "budget": check_budget,
    "training images": check_training_images,
    "spread": check_seed_spread,
    "data": check_coarse_scores,
    "trials": check_failed_trials,
}
"""Name to check, in the order in which findings of one state are shown: causes before what follows from them."""
WITHOUT_TRAINING = ("spread", "trials")
"""Checks that a simulated study, or one without a finished trial, has the records for."""


def run_checks(evidence: StudyEvidence) -> list[Finding]:
    """Run all checks.

    Args:
        evidence: of the study.

    Returns:
        One finding for each check, in order.
    """
    return [_run(name, check, evidence) for name, check in CHECKS.items()]


def _run(name: str, check: Check, evidence: StudyEvidence) -> Finding:
    missing = ""
    if name not in WITHOUT_TRAINING and evidence.simulated:
        missing = "the study is simulated: nothing was trained"
    elif name not in WITHOUT_TRAINING and evidence.student is None:
        missing = "no trial has finished"
    return Finding(check=name, state=FindingState.UNKNOWN, text=missing) if missing else check(evidence)
