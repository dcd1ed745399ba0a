"""Does the robust filter choose among the instances?"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from distune.distillation.epoch_warnings import KEPT_LIMITS
from distune.explanation.checks.prototype_use import uses_filter
from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "filter"
BLIND_AUC = 0.55
"""Area under the ROC curve below which the filter finds tagged objects hardly better than chance, which is 0.5."""


def check_filter_use(evidence: StudyEvidence) -> Finding:
    """Read the mean weights that the filter gives, and how well it finds tagged objects.

    Args:
        evidence: of the study, with a student.

    Returns:
        A problem if the filter is used and keeps or drops nearly everything.
    """
    assert evidence.student is not None
    if not uses_filter(evidence):
        return Finding(check=_NAME, state=FindingState.OK, text=f"trial {evidence.student.name} uses no filter")
    epochs = [each for each in evidence.student.epochs if each.get("filter/without_prototypes", 1.0) < 1]
    users = {
        "global": "global_knowledge" in evidence.terms,
        "local": any(each.get("robust") for each in evidence.terms.values()),
    }
    kept = {
        reach: fmean(values)
        for reach, is_used in users.items()
        if is_used and (values := [each[f"filter/kept_{reach}"] for each in epochs if f"filter/kept_{reach}" in each])
    }
    if not kept:
        text = "there were no prototypes in any epoch, so the filter had no effect"
        advice = "see the finding about prototypes"
        return Finding(check=_NAME, state=FindingState.PROBLEM, text=text, advice=advice)
    aucs = {
        name.removeprefix("filter/auc_"): value
        for metrics in epochs[-1:]
        for name, value in metrics.items()
        if name.startswith("filter/auc_")
    }
    details = {"kept": kept, "auc": aucs}
    settings = evidence.distillation["filter"]
    extremes = {reach: value for reach, value in kept.items() if not KEPT_LIMITS[0] <= value <= KEPT_LIMITS[1]}
    if extremes:
        texts = [
            f"the filter {'keeps' if value > KEPT_LIMITS[1] else 'drops'} nearly everything for {_terms_of(reach)}: "
            f"mean weight {value:.2g}"
            for reach, value in extremes.items()
        ]
        return Finding(
            check=_NAME,
            state=FindingState.PROBLEM,
            text="; ".join(texts),
            advice=f"{_threshold_changes(extremes, settings)}, or search over {'it' if len(texts) == 1 else 'them'}; "
            "distillation.filter.weight: uniform uses no filter",
            details=details,
        )
    text = "the filter gives a mean weight of " + ", ".join(
        f"{value:.2f} for {_terms_of(reach)}" for reach, value in kept.items()
    )
    blind = [tag for tag, value in aucs.items() if value < BLIND_AUC]
    if blind:
        text += f"; it finds {', '.join(blind)} objects hardly better than chance (AUC below {BLIND_AUC})"
    elif aucs:
        text += "; AUC for tagged objects " + ", ".join(f"{tag} {value:.2f}" for tag, value in aucs.items())
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)


def _threshold_changes(extremes: Mapping[str, float], settings: Mapping[str, Any]) -> str:
    """Return which thresholds to raise and which to lower.

    Args:
        extremes: reach to a mean weight outside ``KEPT_LIMITS``.
        settings: of the filter.

    Returns:
        Such as ``raise distillation.filter.local_threshold = 0.2``.
    """
    is_quantile = settings.get("weight") == "quantile"  # its threshold is the fraction that is dropped
    changes: dict[str, list[str]] = {}
    for reach, value in extremes.items():
        direction = "raise" if (value < KEPT_LIMITS[0]) != is_quantile else "lower"
        name = f"{reach}_threshold"
        changes.setdefault(direction, []).append(f"distillation.filter.{name} = {settings.get(name)}")
    return " and ".join(f"{direction} {' and '.join(paths)}" for direction, paths in changes.items())


def _terms_of(reach: str) -> str:
    return "the global loss" if reach == "global" else "the local terms"
