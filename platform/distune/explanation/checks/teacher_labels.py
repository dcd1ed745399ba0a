"""Does the teacher give the objects the classes that the data give them?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from distune.explanation.finding import Finding, FindingState
from distune.explanation.study_evidence import StudyEvidence

_NAME = "labels"
MIN_OBJECTS = 10
"""Objects of a class that the teacher finds, below which their labels are not interpreted."""
WRONG_FRACTION = 0.6
"""Part of a class's objects with one other label from which on it is systematic: a weak teacher is right more often, or
spreads its mistakes."""


@dataclasses.dataclass(frozen=True)
class WrongLabel:
    """A class that the teacher calls by another name, and the fraction of its objects that it does so for."""

    true: str
    label: str
    fraction: float


def check_teacher_labels(evidence: StudyEvidence) -> Finding:
    """Compare the classes of the teacher's detections with those of the objects that they overlap.

    Args:
        evidence: of the study.

    Returns:
        A problem if most objects of a class have one other label: the list of classes is in another order, or the
        teacher knows them by other names.
    """
    if evidence.split is None or not evidence.split.teacher_labels:
        return Finding(
            check=_NAME,
            state=FindingState.UNKNOWN,
            text="the teacher's detections could not be compared with the truth",
        )
    labels = evidence.split.teacher_labels
    if len(labels) < 2:
        return Finding(check=_NAME, state=FindingState.OK, text="there is one class, which cannot be confused")
    wrong = find_wrong_labels(labels)
    details = {"labels": {true: dict(found) for true, found in labels.items()}}
    found = sum(sum(counts.values()) - counts.get("", 0) for counts in labels.values())
    right = sum(counts.get(true, 0) for true, counts in labels.items())
    if wrong:
        pairs = "; ".join(
            f'the teacher calls {each.true} "{each.label}" in {each.fraction:.0%} of cases' for each in wrong
        )
        advice = (
            "the teacher calls nearly everything by one name, so it has hardly learned the classes: train it longer"
            if _has_one_name(labels, wrong)
            else "check the order of the classes of the teacher's weights: give teacher.classes in the order of its "
            "training (teacher.class_aliases for other names), or train the teacher on these data"
        )
        return Finding(check=_NAME, state=FindingState.PROBLEM, text=pairs, advice=advice, details=details)
    if found == 0:
        return Finding(
            check=_NAME, state=FindingState.UNKNOWN, text="the teacher's detections overlap no object", details=details
        )
    text = f"the teacher gives the right class to {right / found:.0%} of the {found} objects that it finds"
    return Finding(check=_NAME, state=FindingState.OK, text=text, details=details)


def find_wrong_labels(labels: Mapping[str, Mapping[str, int]]) -> list[WrongLabel]:
    """Return the classes that the teacher systematically calls by another name.

    Args:
        labels: true class to the labels that the teacher gives, label to number; an empty label is "not found".

    Returns:
        Those with at least ``MIN_OBJECTS`` found objects, of which ``WRONG_FRACTION`` have one other label.
    """
    wrong = []
    for true, counts in labels.items():
        found = {label: number for label, number in counts.items() if label}
        total = _num_found(counts)
        if total < MIN_OBJECTS:
            continue
        label, number = max(found.items(), key=lambda item: item[1])
        if label != true and number / total >= WRONG_FRACTION:
            wrong.append(WrongLabel(true, label, number / total))
    return wrong


def _has_one_name(labels: Mapping[str, Mapping[str, int]], wrong: Sequence[WrongLabel]) -> bool:
    """Return whether the teacher gives one label to all classes of which it finds enough objects."""
    names = {each.label for each in wrong}
    found = {true for true, counts in labels.items() if _num_found(counts) >= MIN_OBJECTS}
    return (
        len(names) == 1 and {each.true for each in wrong} == found - names and all(_is_right(labels, n) for n in names)
    )


def _num_found(counts: Mapping[str, int]) -> int:
    """Return the number of objects of a class that the teacher finds."""
    return sum(number for label, number in counts.items() if label)


def _is_right(labels: Mapping[str, Mapping[str, int]], name: str) -> bool:
    """Return whether most objects of a class that are found have their own label."""
    counts = labels.get(name, {})
    return counts.get(name, 0) >= WRONG_FRACTION * max(1, _num_found(counts))
