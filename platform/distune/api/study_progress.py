"""The progress of a study during a session, as text: time left, seconds per epoch, teacher, best trial so far."""

from __future__ import annotations

import dataclasses
import time

from distune.evidence.shared_classes import describe_teacher
from distune.records import TrialRecord, best_finished, control_score
from distune.study.planning.study_clock import StudyClock
from distune.study.planning.time_text import describe_study_time, show_left


@dataclasses.dataclass
class StudyProgress:
    """The progress of a whole study during a session: time left, the best trial so far, the teacher.

    Attributes:
        clock: measures the time.
        metric: of the study.
        teacher_value: the teacher's metric.
        teacher_unknown: classes that the teacher does not know.
        trials: key to the trials that have ended, those of earlier sessions included.
    """

    clock: StudyClock
    metric: str
    teacher_value: float | None
    trials: dict[str, TrialRecord]
    teacher_unknown: tuple[str, ...] = ()

    def end(self, record: TrialRecord) -> None:
        """Take a trial that ended or was interrupted."""
        self.clock.end(record)
        self.trials[record.key] = record

    def left(self) -> str:
        """Return the time left, after a comma; empty before it can be estimated."""
        left = show_left(self.clock.read(time.time()))
        return "" if left is None else f", {left}"

    def best(self) -> str | None:
        """Return the best finished trial and its gain in a line; None while none has finished."""
        winner = best_finished(self.trials.values(), self.metric)
        if winner is None:
            return None
        score, control = winner.metrics[self.metric], control_score(self.trials.values(), self.metric)
        gain = "no control has finished" if control is None else f"{score - control:+.1f} against the control"
        return f"best so far: trial {winner.key}, {self.metric} {score:.1f}, {gain}"

    def lines(self) -> list[str]:
        """Return the lines below a table: dates and seconds per epoch, the teacher, the best trial."""
        lines = [describe_study_time(self.clock.read(time.time()), "running", now=time.time())]
        if self.teacher_value is not None:
            trials = list(self.trials.values())
            lines.append(describe_teacher(self.teacher_value, self.metric, self.teacher_unknown, trials))
        best = self.best()
        return lines if best is None else [*lines, best]
