"""Did each term have the share of the gradient that it should have?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from distune.config.format_value import format_value
from distune.distillation.epoch_warnings import SHARE_LIMITS
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "shares"
HIGH_SHARE = 3.0
"""Share of the task's gradient above which the student follows the term more than the task. It may still help, so it is
a problem only where there is no gain, and where the gradient of the distillation is not clipped apart: clipping brings
both to the same length."""
SWAMPING_SHARE = 30.0
"""Share from which on the task, or with clipping apart the other terms, hardly count: always a problem."""
LOW_SHARE = 0.001
"""Share below which a term changes the direction of a step by less than a thousandth, and trains nothing."""


def check_term_shares(evidence: StudyEvidence) -> Finding:
    """Compare the delivered share of each term with the asked one, and with the task.

    The first epoch of a term is left out: a moving mean begins there.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if a share is not delivered within a factor of 2, or is much too large or too small.
    """
    assert evidence.student is not None
    terms = {name: _Share(name, evidence.student.epochs) for name in evidence.terms}
    measured = [each for each in terms.values() if each.delivered is not None]
    is_apart = bool(evidence.student.curve("gradient/distillation_clipped"))
    if not terms:
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text=f"no term of trial {evidence.student.name} has a weight, so nothing is distilled",
            advice="give distillation.local_knowledge.weight or distillation.soft_labels.weight a value above 0",
        )
    has_cosines = any(f"gradient_cosine/{name}" in each for each in evidence.student.epochs for name in terms)
    if not measured and not has_cosines:
        text = "no share of the gradient is recorded from the second epoch of a term on"
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text=text)
    details = {each.name: {"delivered": each.delivered, "asked": each.asked} for each in measured}
    limit = HIGH_SHARE if not is_apart and not evidence.has_gain else SWAMPING_SHARE
    command = f"distune status {evidence.study} --trial {evidence.student.name}"
    problems = (_problem(each, limit, is_apart=is_apart, command=command) for each in measured)
    found = [problem for problem in problems if problem is not None]
    inactive = [name for name, each in terms.items() if each.num_epochs == 0]
    if inactive:
        names = ", ".join(inactive)
        advice = (
            "see the finding about prototypes: without them the global loss is 0"
            if inactive == ["global_knowledge"]
            else "let distillation start earlier (distillation.start_epoch), or train for more epochs"
        )
        found.append((f"{names} had no gradient in any epoch", advice))
    if found:
        texts, remedies = zip(*found, strict=True)
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text="; ".join(texts),
            advice="; ".join(dict.fromkeys(remedies)),
            details=details,
        )
    shown = ", ".join(each.describe() for each in measured)
    text = f"the terms had these shares of the task's gradient: {shown}"
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)


class _Share:
    """Geometric means of the delivered and the asked share of a term over its epochs, without the first one."""

    def __init__(self, name: str, epochs: Sequence[Mapping[str, float]]) -> None:
        active = [each for each in epochs if each.get(f"share/{name}", 0.0) > 0][1:]
        asked = [each for each in active if each.get(f"share_asked/{name}", 0.0) > 0]
        self.name = name
        self.num_epochs = sum(each.get(f"share/{name}", 0.0) > 0 for each in epochs)
        self.delivered = _geometric_mean([each[f"share/{name}"] for each in active])
        self.asked = _geometric_mean([each[f"share_asked/{name}"] for each in asked])
        of_asked = _geometric_mean([each[f"share/{name}"] / each[f"share_asked/{name}"] for each in asked])
        self.is_as_asked = of_asked is None or SHARE_LIMITS[0] <= of_asked <= SHARE_LIMITS[1]

    def describe(self) -> str:
        asked = "" if self.asked is None else f" (asked {_shown(self.asked)})"
        return f"{self.name} {_shown(self.delivered or 0.0)}{asked}"


def _problem(share: _Share, limit: float, *, is_apart: bool, command: str) -> tuple[str, str] | None:
    """Return text and advice if a share is a problem."""
    weight, delivered = f"distillation.{share.name}.weight", share.delivered or 0.0
    if delivered > limit:
        beside = (
            "after clipping the task counts alike, and other terms hardly at all"
            if is_apart
            else "the task hardly counts beside it"
        )
        return (
            f"{share.name} had {_shown(delivered)} times the gradient of the task: {beside}",
            f"lower {weight} to a share of about 1 (with unit: gradient_share)",
        )
    if delivered < LOW_SHARE:
        return (
            f"{share.name} had {_shown(delivered)} of the task's gradient, which changes nothing",
            f"raise {weight} to a share of about 1 (with unit: gradient_share), or leave the term out",
        )
    if not share.is_as_asked:
        return (
            f"{share.name} had {_shown(delivered)} of the task's gradient where {_shown(share.asked or 0.0)} was asked",
            f"{command} shows the share of {share.name} in each epoch: start it later (distillation.start_epoch), or "
            "train with larger batches, which make its gradient vary less",
        )
    return None


def _geometric_mean(values: Sequence[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def _shown(value: float) -> str:
    return format_value(value, digits=3)
