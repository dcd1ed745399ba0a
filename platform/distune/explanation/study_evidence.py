"""The records and measurements that the checks of a study are made from, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import stdev
from typing import Any

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.gain import Verdict
from distune.evidence.score_differences import ScoreDifference
from distune.records import Outcome, TrialRecord, best_finished, control_score

USUAL_SPREAD = 1.0
"""Standard deviation of a run's AP between seeds, in points, where it is not measured. A gain is the difference of two
runs, and varies by 1.4 times as much: the value that ``docs/confirmation.md`` assumes."""
MIN_RUNS = 3
"""Runs that differ in their seed alone, from which their spread is measured; fewer say nothing about it."""
SPREADS = 2.0
"""Standard errors beyond which a difference counts: about 95% of differences without a cause stay below."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEvidence:
    """A training.

    Attributes:
        name: of the trial, such as ``7`` or ``control-1``.
        epochs: the metrics of each epoch, in order.
        best: those of the best epoch.
    """

    name: str
    epochs: tuple[Mapping[str, float], ...]
    best: Mapping[str, float]

    def curve(self, metric: str) -> list[float]:
        """Return a metric over the epochs that have it."""
        return [each[metric] for each in self.epochs if metric in each]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitEvidence:
    """Measurements of the detectors of a study, most of them on the search split.

    Attributes:
        num_images: images with boxes: those of the split with a box that counts.
        boxes: class to its number of boxes that count.
        teacher_labels: true class to the labels that the teacher gives, label to number; an empty label is "not found".
        train_score: AP of the student on training images; None if it was not measured.
        search_score: AP of the student on the search split, measured likewise.
    """

    num_images: int
    boxes: Mapping[str, int]
    teacher_labels: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    train_score: float | None = None
    search_score: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyEvidence:
    """The records of a study.

    Attributes:
        study: its name.
        metric: that is maximized, such as ``search/AP``.
        simulated: nothing was trained.
        trials: all trials, controls included.
        num_epochs: budget of a trial.
        distillation: the settings of the student's distillation as plain data; empty without a student.
        student: the training of the best student; None while no trial has finished.
        control: the training of its control; None while none has finished.
        control_scores: best scores of controls that differ in the seed alone.
        teacher_lead: the teacher minus the control, by metric; empty without either.
        unknown_classes: classes that the teacher does not know.
        confirmation: its result; None before one.
        teacher: name of the teacher of the student.
        split: None if nothing was detected, because files are missing.
    """

    study: str
    metric: str
    simulated: bool
    trials: tuple[TrialRecord, ...]
    num_epochs: int
    distillation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    student: RunEvidence | None = None
    control: RunEvidence | None = None
    control_scores: tuple[float, ...] = ()
    teacher_lead: Mapping[str, ScoreDifference] = dataclasses.field(default_factory=dict)
    unknown_classes: tuple[str, ...] = ()
    confirmation: ConfirmationResult | None = None
    teacher: str = "the teacher"
    split: SplitEvidence | None = None

    @property
    def gain(self) -> float | None:
        """The confirmed gain, else that of the search; None while it is unknown."""
        if self.confirmation is not None:
            return self.confirmation.gain.mean
        best, control = best_finished(self.trials, self.metric), control_score(self.trials, self.metric)
        return None if best is None or control is None else best.metrics[self.metric] - control

    @property
    def has_gain(self) -> bool:
        """True if the gain is shown by a confirmation; before one, if it exceeds the spread between two runs."""
        if self.confirmation is not None and self.confirmation.verdict is not Verdict.UNDECIDED:
            return self.confirmation.verdict in (Verdict.GAIN, Verdict.UNSTABLE)
        return self.gain is not None and self.gain > SPREADS * self.spread

    @property
    def spread(self) -> float:
        """Standard deviation of a score between seeds: of the controls if there are enough, else the usual one."""
        return stdev(self.control_scores) if len(self.control_scores) >= MIN_RUNS else USUAL_SPREAD

    @property
    def started(self) -> list[TrialRecord]:
        """The trials that have started."""
        return [trial for trial in self.trials if trial.outcome is not Outcome.WAITING]

    @property
    def terms(self) -> dict[str, Mapping[str, Any]]:
        """The settings of the terms with a weight, by name."""
        return {
            name: each
            for name, each in self.distillation.items()
            if isinstance(each, dict) and "unit" in each and float(each.get("weight", 0)) > 0
        }
