"""Is the teacher better than the student is without it?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from distune.evidence.score_differences import ScoreDifference
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import SPREADS, StudyEvidence

_NAME = "teacher"
_MAX_NAMED = 5


def check_teacher_lead(evidence: StudyEvidence) -> Finding:
    """Compare the teacher with the control: overall, on each class, and on each size of objects.

    A difference within twice its standard error, which is that of the images and of the seed of the control, is "about
    equal": such a teacher has nothing to teach.

    Args:
        evidence: of the study.

    Returns:
        A problem if the teacher is not better overall, or worse in a part.
    """
    leads = evidence.teacher_lead
    if "AP" not in leads:
        missing = "the control" if evidence.control is None else "the teacher"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=f"there is no score of {missing} to compare with")
    margins = {name: SPREADS * math.hypot(lead.error, evidence.spread) for name, lead in leads.items()}
    overall, margin = leads["AP"], margins["AP"]
    details = {name: {"lead": lead.mean, "margin": margins[name]} for name, lead in leads.items()}
    where = "the search split, on the classes that both know" if evidence.unknown_classes else "the search split"
    scores = f"{evidence.teacher} has {overall.first:.1f} AP and the control {overall.second:.1f} on {where}"
    worse = [name for name, lead in leads.items() if lead.mean < -margins[name]]
    equal = [name for name, lead in leads.items() if -margins[name] <= lead.mean <= margins[name]]
    unknown = f"; it does not know {', '.join(evidence.unknown_classes)}" if evidence.unknown_classes else ""
    if overall.mean <= margin:
        how = "worse than" if overall.mean < -margin else "not clearly better than"
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text=f"{evidence.teacher} is {how} the student without it: {scores} "
            f"({overall.mean:+.1f}, margin {margin:.1f}){unknown}",
            advice="train the teacher longer (teacher_training.epochs), take a larger one or one from pretrained "
            "weights (teacher.backbone_weights), or measure at a smaller budget of the student: a teacher that is not "
            "better cannot teach",
            details=details,
        )
    if worse:
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text=f"{scores}, but the teacher is worse on {_named(worse, leads)}{unknown}",
            advice="check the boxes of these classes and sizes in the teacher's training images, and whether its image "
            "size and anchors suit them; where the teacher is worse, it misleads the student",
            details=details,
        )
    also = f"; it is about equal on {_named(equal, leads)}" if equal else ""
    return Finding(
        check=_NAME, state=FindingState.OK, text=f"{scores} ({overall.mean:+.1f}){also}{unknown}", details=details
    )


def _named(names: Iterable[str], leads: Mapping[str, ScoreDifference]) -> str:
    """Return classes and sizes with the teacher's lead, such as ``class cat (-3.1)``."""
    chosen = [name for name in names if name != "AP"]
    shown = [
        f"{f'class {name[3:]}' if name.startswith('AP/') else f'{name[3:]} objects'} ({leads[name].mean:+.1f})"
        for name in chosen[:_MAX_NAMED]
    ]
    rest = len(chosen) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
