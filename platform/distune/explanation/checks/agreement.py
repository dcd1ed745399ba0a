"""Do the gradients of the terms agree with that of the task?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "agreement"
CONFLICT = -0.1
"""Mean cosine below which a term undoes part of the task's step. Around 0 the two are independent, which is usual."""


def check_agreement(evidence: StudyEvidence) -> Finding:
    """Read the cosines between the gradients of the terms and of the task, epoch by epoch.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if a term conflicts with the task over the whole training, or over its second half.
    """
    assert evidence.student is not None
    cosines = {name: found for name in evidence.terms if (found := evidence.student.curve(f"gradient_cosine/{name}"))}
    if not cosines:
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text="no cosine of gradients is recorded")
    details = {name: list(found) for name, found in cosines.items()}
    texts, advice = [], []
    for name, found in cosines.items():
        late = found[len(found) // 2 :]
        if fmean(found) <= CONFLICT:
            texts.append(f"{name} works against the task: the mean cosine of their gradients is {fmean(found):+.2f}")
            advice.append(
                f"lower distillation.{name}.weight, or leave {name} out: the teacher may contradict the data, which "
                f"distune explain {evidence.study} --ablate would show"
            )
        elif fmean(late) <= CONFLICT:
            texts.append(
                f"{name} works against the task in the second half of training: the mean cosine of their gradients is "
                f"{fmean(late):+.2f} there"
            )
            advice.append("let distillation end earlier: distillation.stop_epoch, or distillation.decay: linear")
    if texts:
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text="; ".join(texts),
            advice="; ".join(dict.fromkeys(advice)),
            details=details,
        )
    shown = ", ".join(f"{name} {_range(found)}" for name, found in cosines.items())
    text = f"no term works against the task: cosine of the gradients, first to last epoch: {shown}"
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:+.2f} to {values[-1]:+.2f}"
