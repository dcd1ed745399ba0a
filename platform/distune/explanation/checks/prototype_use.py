"""Can prototypes tell the classes apart?"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from distune.distillation.epoch_warnings import MIN_CLASS_GAP
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import RunEvidence, StudyEvidence

_NAME = "prototypes"
MIN_PER_CLASS = 2.0
"""Prototypes of a class below which it is a single point, whatever its objects are like."""
SINGLE_DIRECTION = 1.5
"""Effective rank below which the instances of a level all point the same way."""


def check_prototype_use(evidence: StudyEvidence) -> Finding:
    """Read what prototypes are made of: the directions of features on each level, and the classes without prototypes.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if prototypes are used and cannot tell classes apart on half of the levels, are too few, or some class
        has none.
    """
    assert evidence.student is not None
    if not uses_prototypes(evidence):
        text = f"trial {evidence.student.name} uses no prototypes"
        return Finding(check=_NAME, state=FindingState.OK, text=text)
    made = [metrics for metrics in evidence.student.epochs if "prototypes/per_class" in metrics]
    last = dict(made[-1]) if made else {}  # with a queue of features, not every epoch makes prototypes
    gaps, ranks = _by_level(evidence.student, "class_gap"), _by_level(evidence.student, "effective_rank")
    teacher = gaps["teacher"]
    details = {"class_gap": gaps, "effective_rank": ranks} | {
        name: value for name, value in last.items() if name.startswith("prototypes/")
    }
    texts, advice = [], []
    if not made:
        return _without_any(evidence, details)
    weak = [stride for stride, gap in teacher.items() if gap < MIN_CLASS_GAP]
    if teacher and 2 * len(weak) >= len(teacher):
        ranks_shown = _ranks_shown({stride: ranks["teacher"].get(stride) for stride in weak})
        texts.append(
            f"the teacher's features do not tell classes apart on {len(weak)} of {len(teacher)} levels: the "
            f"class gap is {max(teacher[stride] for stride in weak):.2f} or less on stride {', '.join(map(str, weak))}"
            f"{ranks_shown}"
        )
        advice.append(
            "use a teacher from pretrained weights, set distillation.center: maps, or leave prototypes out (preset: "
            "decoupled)"
        )
    if last.get("prototypes/classes_without", 0) > 0:
        texts.append(f"{last['prototypes/classes_without']:g} classes have no prototypes on some level")
        advice.append("lower distillation.prototypes.min_box_side_px, or give these classes more training images")
    if 0 < last.get("prototypes/per_class", MIN_PER_CLASS) < MIN_PER_CLASS:
        texts.append(f"there are only {last['prototypes/per_class']:.1f} prototypes per class and level")
        advice.append("raise distillation.prototypes.per_class, or lower distillation.prototypes.density_quantile")
    if texts:
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text="; ".join(texts),
            advice="; ".join(advice),
            details=details,
        )
    if not teacher:
        return Finding(check=_NAME, state=FindingState.UNKNOWN, text="no class gap is recorded", details=details)
    student = f", the student's {fmean(gaps['student'].values()):.2f}" if gaps["student"] else ""
    text = (
        f"prototypes tell classes apart: the mean class gap of the teacher's features is {fmean(teacher.values()):.2f}"
        f"{student}; {last['prototypes/per_class']:.1f} prototypes per class and level"
    )
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)


def _without_any(evidence: StudyEvidence, details: dict[str, Any]) -> Finding:
    """Return the finding about a student that uses prototypes and never had any."""
    assert evidence.student is not None
    least = evidence.distillation.get("prototypes", {}).get("min_box_side_px")
    text = "no prototypes were made in any epoch, so the global loss and the filter had no effect"
    advice = (
        "train for more epochs: there are none in the first one"
        if len(evidence.student.epochs) < 2
        else f"lower distillation.prototypes.min_box_side_px (now {least}): a box with a shorter side in the resized "
        "image does not become a prototype"
    )
    return Finding(check=_NAME, state=FindingState.PROBLEM, text=text, advice=advice, details=details)


def uses_prototypes(evidence: StudyEvidence) -> bool:
    """Return whether a term or the filter of the student uses prototypes."""
    return "global_knowledge" in evidence.terms or uses_filter(evidence)


def uses_filter(evidence: StudyEvidence) -> bool:
    """Return whether the robust filter weights the instances of a term."""
    has_user = any(name == "global_knowledge" or each.get("robust") for name, each in evidence.terms.items())
    return has_user and evidence.distillation.get("filter", {}).get("weight", "uniform") != "uniform"


def _by_level(run: RunEvidence, figure: str) -> dict[str, dict[int, float]]:
    """Return model to stride to the value of a figure in the last epoch that has it."""
    found: dict[str, dict[int, float]] = {"student": {}, "teacher": {}}
    for model, values in found.items():
        prefix = f"features/{figure}_{model}/"
        for metrics in run.epochs:
            values |= {
                int(name.removeprefix(prefix)): each for name, each in metrics.items() if name.startswith(prefix)
            }
    return {model: dict(sorted(values.items())) for model, values in found.items()}


def _ranks_shown(ranks: dict[int, float | None]) -> str:
    single = [stride for stride, rank in ranks.items() if rank is not None and rank < SINGLE_DIRECTION]
    return f", all pointing the same way on stride {', '.join(map(str, single))}" if single else ""
