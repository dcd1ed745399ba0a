"""Comparison of the errors of a student with those of its control and its teacher.

Shape legend: ``D`` detections and ``N`` ground-truth boxes of the whole split.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from distune.evidence.error_kinds import MIN_IOU, DetectorErrors, ErrorKind, Flags, overlaps


@dataclasses.dataclass(frozen=True, kw_only=True)
class FoundObjects:
    """Numbers of objects, by the detectors that find them.

    Attributes:
        both: the student and the control find them.
        student_only: the student finds them, and the control does not.
        control_only: the reverse.
        neither: neither finds them.
    """

    both: int
    student_only: int
    control_only: int
    neither: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedErrors:
    """Errors of one kind that a student, or a control, has in common with the teacher.

    Attributes:
        student: errors of the student.
        student_shared: those that the teacher makes as well.
        student_inherited: those of them that the control does not make.
        control: errors of the control.
        control_shared: those that the teacher makes as well.
    """

    student: int
    student_shared: int
    student_inherited: int
    control: int
    control_shared: int


def compare_found(student_N: Flags, control_N: Flags, counted_N: Flags) -> FoundObjects:
    """Count objects by the detectors that find them.

    Args:
        student_N: the student finds the box.
        control_N: the control finds it.
        counted_N: boxes that count.

    Returns:
        The numbers.
    """
    return FoundObjects(
        both=int((student_N & control_N & counted_N).sum()),
        student_only=int((student_N & ~control_N & counted_N).sum()),
        control_only=int((~student_N & control_N & counted_N).sum()),
        neither=int((~student_N & ~control_N & counted_N).sum()),
    )


def shared_errors(
    student: DetectorErrors, control: DetectorErrors, teacher: DetectorErrors
) -> dict[ErrorKind, SharedErrors]:
    """Count the errors that the student and the control share with the teacher.

    An error is shared if the other detector has one of the same kind in the same image whose box overlaps it by at
    least 0.5; for a missed object, if the other misses the same object. Each detector is used with its working score.

    Args:
        student: errors of the student, on the same split as the others.
        control: of its control.
        teacher: of its teacher.

    Returns:
        The counts of each kind.
    """
    found = {}
    for kind in ErrorKind:
        of_student = _in_common(student, teacher, kind)
        of_control = _in_common(control, teacher, kind)
        found[kind] = SharedErrors(
            student=len(of_student),
            student_shared=int(of_student.sum()),
            student_inherited=int((of_student & ~_in_common(student, control, kind)).sum()),
            control=len(of_control),
            control_shared=int(of_control.sum()),
        )
    return found


def _in_common(errors: DetectorErrors, other: DetectorErrors, kind: ErrorKind) -> Flags:
    """Return for each error of a kind whether the other detector makes it as well."""
    own_score, other_score = errors.working_score(), other.working_score()
    if kind is ErrorKind.MISSED:
        is_shared: Flags = other.missed(min_score=other_score)[errors.missed(min_score=own_score)]
        return is_shared
    own = np.flatnonzero(errors.is_of_kind(kind, min_score=own_score))
    others = np.flatnonzero(other.is_of_kind(kind, min_score=other_score))
    shared = np.zeros(len(own), np.bool_)
    for image in np.unique(errors.detections.images_D[own]).tolist():
        first = errors.detections.images_D[own] == image
        second = others[other.detections.images_D[others] == image]
        if len(second):
            boxes = errors.detections.boxes_D4[own[first]], other.detections.boxes_D4[second]
            shared[first] = overlaps(*boxes, np.zeros(len(second), np.bool_)).max(axis=1) >= MIN_IOU
    return shared
