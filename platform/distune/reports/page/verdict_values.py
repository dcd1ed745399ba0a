"""The verdict of a study in a sentence, and the figures of its models. Pure functions."""

from __future__ import annotations

from distune.config.format_value import format_value
from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import Verdict
from distune.records import Outcome
from distune.reports.model_sizes import compression, size_rows
from distune.reports.page.page_blocks import Headline, Table
from distune.reports.page.page_input import StudyFacts

_EXPLANATIONS = {
    Verdict.GAIN: "The whole interval is above zero: the student is better with distillation than without.",
    Verdict.NOT_SHOWN: "The interval contains zero: the gain may be the luck of seeds and images.",
    Verdict.LOSS: "The whole interval is below zero: the student is better without distillation.",
    Verdict.NO_RELEVANT_GAIN: "The interval ends below the smallest gain that matters.",
    Verdict.UNDECIDED: "There are too few seeds or images for an interval that can be trusted.",
    Verdict.UNSTABLE: "The student diverged under other seeds, which are not in the interval.",
}
_TONES = {Verdict.GAIN: "good", Verdict.LOSS: "bad"}
_ABSENT = "–"


def headline(facts: StudyFacts) -> Headline:
    """Return the verdict: that of the confirmation, else the gain of the search, which is an estimate."""
    if facts.confirmation is not None:
        return _confirmed(facts.confirmation)
    winner, base = facts.winner, facts.control_score
    if winner is None:
        return Headline(text="No trial has finished.", explanation="There is no student to deliver.", tone="open")
    score = winner.metrics[facts.metric]
    if base is None:
        return Headline(
            text=f"Trial {winner.key} reaches {score:.1f} {facts.metric_title}; its gain is unknown.",
            explanation="No control has finished, so there is nothing to compare it with.",
            tone="open",
        )
    return Headline(
        text=f"Gain {score - base:+.1f} {facts.metric_title} in the search, not confirmed: one seed.",
        explanation=(
            "There is no interval. The search reports the best of its trials, on the images that chose it: the "
            f"estimate is optimistic. To measure the gain: distune confirm {facts.study}"
        ),
        tone="open",
    )


def _confirmed(result: ConfirmationResult) -> Headline:
    gain = result.gain
    covered = "training seeds and images" if gain.num_seeds > 1 else "images alone"
    covered = "teachers, training seeds and images" if gain.num_teachers > 1 else covered
    return Headline(
        text=f"{result.summary[0].upper()}{result.summary[1:]}.",
        explanation=(
            f"{_EXPLANATIONS[result.verdict]} It was measured on the {result.split} split; the "
            f"interval covers {covered}."
        ),
        tone=_TONES.get(result.verdict, "open"),
    )


def state_lines(facts: StudyFacts) -> list[str]:
    """Return sentences about the state of the study: what was run, and why it failed or is not complete."""
    counts = {outcome: sum(trial.outcome is outcome for trial in facts.searched) for outcome in Outcome}
    shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    controls = f"{len(facts.controls)} control{'s' * (len(facts.controls) != 1)}"
    lines = [f"{len(facts.searched)} of {facts.num_trials} trials: {shown or 'none has started'}. {controls}."]
    reason = f": {facts.reason}" if facts.reason else ""
    match facts.state:
        case "failed":
            lines.append(f"The study failed{reason}")
        case "interrupted":
            lines.append(f"The study was interrupted{reason}. To continue it: distune resume {facts.study}")
        case "running":
            lines.append("The study is running: this page shows it as it was when the page was written.")
        case _ if facts.reason:
            lines.append(f"The study has finished with fewer trials{reason}")
    failed = [trial for trial in facts.trials if trial.reason is not None]
    if facts.state != "failed" and failed:
        lines += [f"Trial {trial.key} {trial.outcome}: {trial.reason}" for trial in failed[:3]]
    return lines


def model_table(facts: StudyFacts) -> Table:
    """Return scores and sizes of teacher, control and best student."""
    result, winner = facts.confirmation, facts.winner
    searched = {
        "teacher": None if facts.teacher_unknown else facts.teacher_score,
        "control": facts.control_score,
        "student": None if winner is None else winner.metrics[facts.metric],
    }
    titles = {"teacher": "teacher", "control": "control", "student": "best student"}
    if winner is not None:
        titles["student"] += f" (trial {winner.key})"
    columns = ["model", f"{facts.metric_title}, search split"]
    cells = {name: [_points(value)] for name, value in searched.items()}
    if facts.teacher_unknown:
        columns.append(f"{facts.metric_title}, classes that the teacher knows")
        for name, value in facts.shared_scores.items():
            cells[name].append(_points(value))
    if result is not None:
        gain = result.gain
        columns.append(f"{result.metric}, {result.split} split, mean of {gain.num_seeds} seeds")
        confirmed = {"control": gain.control, "student": gain.student}
        for name, row in cells.items():
            row.append(_points(confirmed.get(name)))
    if facts.sizes is not None:
        columns += ["parameters", "FLOPs", "latency", "file"]
        sizes = {row[0]: list(row[1:]) for row in size_rows(facts.sizes)}
        for name, row in cells.items():
            row += sizes.get(name, [_ABSENT] * 4)
    rows = [[titles[name], *row] for name, row in cells.items() if any(cell != _ABSENT for cell in row)]
    return Table(title="The three models", columns=columns, rows=rows, note=_class_note(facts) + _size_note(facts))


def chosen_table(facts: StudyFacts) -> Table | None:
    """Return the searched parameters of the best trial; None while no trial has finished."""
    if facts.winner is None or not facts.winner.params:
        return None
    rows = [[path, format_value(value, digits=4)] for path, value in facts.winner.params.items()]
    return Table(title=f"Chosen: the parameters of trial {facts.winner.key}", columns=["parameter", "value"], rows=rows)


def _class_note(facts: StudyFacts) -> str:
    unknown = ", ".join(facts.teacher_unknown)
    return f"The teacher does not know {unknown}, so it has no score on all classes. " if unknown else ""


def _size_note(facts: StudyFacts) -> str:
    sizes = facts.sizes
    if sizes is None:
        return ""
    student, teacher = sizes.of("student"), sizes.of("teacher")
    ratio = "" if student is None or teacher is None else f"Student against teacher: {compression(student, teacher)}. "
    return (
        f"{ratio}Latency and FLOPs: one image of {sizes.image_size_px} x {sizes.image_size_px} pixels, float32, "
        f"{sizes.device}."
    )


def _points(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.1f}"
