"""Tables that show where the gain is: by class and size, by kind of error, and by object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distune.evidence.error_comparison import compare_found, shared_errors
from distune.evidence.error_costs import costs_of
from distune.evidence.error_kinds import DetectorErrors, ErrorKind
from distune.evidence.score_differences import ScoreDifference
from distune.explanation.explanation import Cell, ExplanationTable

_MEANINGS = {
    ErrorKind.CLASSIFICATION: "right place, wrong class",
    ErrorKind.LOCALIZATION: "right class, inaccurate box",
    ErrorKind.BOTH: "wrong class and inaccurate box",
    ErrorKind.DUPLICATE: "found already",
    ErrorKind.BACKGROUND: "nothing there",
    ErrorKind.MISSED: "object not found",
}


def score_table(
    student_lead: Mapping[str, ScoreDifference],
    teacher_lead: Mapping[str, ScoreDifference],
    *,
    runs: str,
    unknown_classes: Sequence[str] = (),
    shared: ScoreDifference | None = None,
) -> ExplanationTable:
    """Return the average precision of teacher, control and student: overall, by size and by class.

    Args:
        student_lead: the student minus the control, by metric.
        teacher_lead: the teacher minus the control, on the classes that it knows; metrics may be missing.
        runs: names of student and control.
        unknown_classes: classes that the teacher does not know.
        shared: AP of the student minus that of the control on the other classes; None where it is not known.

    Returns:
        A row for each metric, with the gain and twice its standard error due to the images. Where the teacher does not
        know a class, it has no score of all classes, and there is a row for the classes that it knows.
    """
    rows: list[tuple[Cell, ...]] = []

    def add(name: str, teacher: ScoreDifference | None, lead: ScoreDifference) -> None:
        first = None if teacher is None else teacher.first
        rows.append(
            (name, _points(first), _points(lead.second), _points(lead.first), _points(lead.mean), _margin(lead))
        )

    for name, lead in student_lead.items():
        is_of_all = bool(unknown_classes) and not name.startswith("AP/")
        add(name, None if is_of_all else teacher_lead.get(name), lead)
        if is_of_all and name == "AP" and name in teacher_lead and shared is not None:
            add("AP, classes of teacher", teacher_lead[name], shared)
    return ExplanationTable(
        title="Average precision on the search split",
        columns=("metric", "teacher", "control", "student", "gain", "images ±"),
        rows=tuple(rows),
        note=f"{runs}; points; images ±: twice the standard error of the gain due to the choice of images; one seed"
        + _unknown(unknown_classes),
    )


def error_table(
    student: DetectorErrors,
    control: DetectorErrors,
    teacher: DetectorErrors | None,
    unknown_classes: Sequence[str] = (),
) -> ExplanationTable:
    """Return number and cost of each kind of error.

    Args:
        student: errors of the student.
        control: of its control.
        teacher: of its teacher; None if its weights are missing.
        unknown_classes: classes that the teacher does not know.

    Returns:
        A row for each kind.
    """
    each = [teacher, control, student]
    counts = [None if errors is None else errors.counts(min_score=errors.working_score()) for errors in each]
    costs = [None if errors is None else costs_of(errors) for errors in each]
    meanings = "; ".join(f"{kind}: {meaning}" for kind, meaning in _MEANINGS.items())
    rows: list[tuple[Cell, ...]] = []
    for kind in ErrorKind:
        numbers: list[Cell] = [None if found is None else found[kind] for found in counts]
        points: list[Cell] = [None if found is None else _points(found[kind]) for found in costs]
        of_control, of_student = costs[1], costs[2]
        assert of_control is not None
        assert of_student is not None
        change = _points(of_student[kind] - of_control[kind])
        rows.append((str(kind), *numbers, *points, change))
    return ExplanationTable(
        title="Errors by kind, at IoU 0.5",
        columns=("kind", "teacher", "control", "student", "cost, teacher", "cost, control", "cost, student", "change"),
        rows=tuple(rows),
        note=f"numbers at the score at which a detector makes as many detections as there are objects; cost: points by "
        f"which AP50 would rise if this kind alone were fixed; {meanings}"
        f"{_unknown(unknown_classes, ': it misses all their objects')}",
    )


def object_table(
    student: DetectorErrors, control: DetectorErrors, teacher: DetectorErrors | None, classes: Sequence[str]
) -> ExplanationTable:
    """Return how many objects the student finds and the control misses, and conversely.

    Args:
        student: errors of the student.
        control: of its control.
        teacher: of its teacher; None if its weights are missing.
        classes: names of the classes.

    Returns:
        A row for all objects, and one for each class if there are several.
    """
    truth = student.truth
    by_student, by_control = (each.found(min_score=each.working_score()) for each in (student, control))
    by_teacher = None if teacher is None else teacher.found(min_score=teacher.working_score())
    groups = {"all": ~truth.ignored_N}
    if len(classes) > 1:
        groups |= {name: ~truth.ignored_N & (truth.labels_N == label) for label, name in enumerate(classes, start=1)}
    rows: list[tuple[Cell, ...]] = []
    for name, counted_N in groups.items():
        numbers = compare_found(by_student, by_control, counted_N)
        learned = None if by_teacher is None else int((by_student & ~by_control & by_teacher & counted_N).sum())
        rows.append(
            (
                name,
                int(counted_N.sum()),
                numbers.both,
                numbers.student_only,
                learned,
                numbers.control_only,
                numbers.neither,
            )
        )
    return ExplanationTable(
        title="Objects found, at IoU 0.5",
        columns=("class", "objects", "both", "student only", "of these teacher", "control only", "neither"),
        rows=tuple(rows),
        note="at the score at which a detector makes as many detections as there are objects; of "
        "these teacher: the teacher finds them as well",
    )


def inherited_table(student: DetectorErrors, control: DetectorErrors, teacher: DetectorErrors) -> ExplanationTable:
    """Return which errors the student has in common with its teacher, beyond those of the control.

    Args:
        student: errors of the student.
        control: of its control.
        teacher: of its teacher.

    Returns:
        A row for each kind.
    """
    rows: list[tuple[Cell, ...]] = []
    for kind, shared in shared_errors(student, control, teacher).items():
        fractions = [
            100 * part / whole if whole else None
            for part, whole in ((shared.student_shared, shared.student), (shared.control_shared, shared.control))
        ]
        rows.append((str(kind), shared.student, *(_points(each) for each in fractions), shared.student_inherited))
    return ExplanationTable(
        title="Errors that the teacher makes as well",
        columns=("kind", "student, number", "student, % shared", "control, % shared", "inherited"),
        rows=tuple(rows),
        note="shared: the teacher makes an error of the same kind on the same object or place; inherited: shared "
        "errors of the student that the control does not make",
    )


def gain_tables(
    student: DetectorErrors,
    control: DetectorErrors,
    teacher: DetectorErrors | None,
    classes: Sequence[str],
    unknown_classes: Sequence[str] = (),
) -> list[ExplanationTable]:
    """Return the tables of errors and objects; those that need the teacher only with one."""
    if not np.any(~student.truth.ignored_N):
        return []
    tables = [error_table(student, control, teacher, unknown_classes), object_table(student, control, teacher, classes)]
    return tables if teacher is None else [*tables, inherited_table(student, control, teacher)]


def _unknown(classes: Sequence[str], consequence: str = "") -> str:
    return f"; the teacher does not know {', '.join(classes)}{consequence}" if classes else ""


def _points(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _margin(lead: ScoreDifference) -> float | None:
    return round(2 * lead.error, 1) if lead.error else None
