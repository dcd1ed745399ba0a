"""Everything that the report page shows, as plain values. ``api/report_study.py`` gathers them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.shared_classes import mean_without
from distune.explanation.explanation import Explanation
from distune.records import EpochReport, Outcome, TrialRecord, control_score
from distune.reports.model_sizes import ModelSizes
from distune.reports.page.page_blocks import CropRow, Figure, PictureGrid


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """A study: its trials, their epochs, and its result.

    Attributes:
        study: its name.
        title: its name, and that it is simulated.
        simulated: whether its learning curves are simulated.
        state: ``running``, ``finished``, ``interrupted`` or ``failed``.
        reason: why it failed, or finished with fewer trials than asked for; None otherwise.
        metric: such as ``search/AP``.
        trials: all, controls included.
        reports: epochs of each trial, by its number.
        num_trials: searched trials that were asked for.
        num_epochs: epochs of a whole trial.
        scheduler: kind of the early stopping: ``asha``, ``median`` or ``none``.
        rungs: epochs at which trials are compared; empty without rungs.
        winner: the confirmed trial, before a confirmation the best one; None while no trial has finished.
        teacher_score: the teacher's metric, on the classes that it knows; None without a teacher.
        teacher_unknown: classes that the teacher does not know.
        teacher_reports: epochs of the teacher, where it was trained here.
        costs: names of the metrics that are minimized.
        pareto_front: numbers of the trials on the Pareto front.
        sizes: of teacher, control and student; None if they were not measured.
        confirmation: its result; None before.
        confirmation_lines: the result in lines of text.
        warnings: about the trials.
        description: of the experiment.
    """

    study: str
    title: str
    simulated: bool
    state: str
    reason: str | None
    metric: str
    trials: Sequence[TrialRecord]
    reports: Mapping[int, Sequence[EpochReport]]
    num_trials: int
    num_epochs: int
    scheduler: str
    rungs: tuple[int, ...] = ()
    winner: TrialRecord | None = None
    teacher_score: float | None = None
    teacher_unknown: tuple[str, ...] = ()
    teacher_reports: Sequence[EpochReport] = ()
    costs: tuple[str, ...] = ()
    pareto_front: frozenset[int] = frozenset()
    sizes: ModelSizes | None = None
    confirmation: ConfirmationResult | None = None
    confirmation_lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    description: str = ""

    @property
    def searched(self) -> list[TrialRecord]:
        """The searched trials."""
        return [trial for trial in self.trials if not trial.control]

    @property
    def controls(self) -> list[TrialRecord]:
        """The trials without distillation."""
        return [trial for trial in self.trials if trial.control]

    @property
    def finished(self) -> list[TrialRecord]:
        """The searched trials that have done all epochs."""
        return [trial for trial in self.searched if trial.outcome is Outcome.FINISHED]

    @property
    def control_score(self) -> float | None:
        """Mean metric of the finished controls; None while none has finished."""
        return control_score(self.trials, self.metric)

    @property
    def metric_title(self) -> str:
        """The metric without its split, such as ``AP``."""
        return self.metric.removeprefix("search/")

    @property
    def shared_scores(self) -> dict[str, float | None]:
        """Metrics of teacher, control and best student on the classes that the teacher knows."""
        controls = [trial for trial in self.controls if trial.outcome is Outcome.FINISHED]
        students = [] if self.winner is None else [self.winner]
        return {
            "teacher": self.teacher_score,
            "control": mean_without(controls, self.metric, self.teacher_unknown),
            "student": mean_without(students, self.metric, self.teacher_unknown),
        }

    def score(self, trial: TrialRecord) -> float | None:
        """Return the metric of a trial at its best epoch; None without one."""
        return trial.metrics.get(self.metric)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParameterPlots:
    """Importances and figures of the searched parameters.

    Attributes:
        importances: name of an evaluator to the importance of each parameter, of 1 in total, most important first.
        figures: of Optuna.
        problems: sentences that say why an importance or a figure is missing.
    """

    importances: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    figures: Sequence[Figure] = ()
    problems: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of the study; what is missing is explained in ``problems``, a sentence each.

    Attributes:
        images: search images with the boxes of all models; None without any.
        prototypes: instances selected as prototypes, a row per class.
        filtered: instances with their weights in the filter.
        problems: of the images.
        prototype_problems: of prototypes and filter; empty where the best trial uses none.
    """

    images: PictureGrid | None = None
    prototypes: Sequence[CropRow] = ()
    filtered: Sequence[CropRow] = ()
    problems: Sequence[str] = ()
    prototype_problems: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings and commands that repeat the study.

    Attributes:
        experiment: as YAML, without secrets.
        space: the search space as YAML.
        commands: command lines.
        versions: library to version.
        data_card: as ``report/data_card.json`` holds it; None without one.
    """

    experiment: str
    space: str
    commands: Sequence[str]
    versions: Mapping[str, str]
    data_card: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageInput:
    """All values of the page."""

    facts: StudyFacts
    settings: Settings
    explanation: Explanation | None = None
    parameters: ParameterPlots = ParameterPlots()
    pictures: Pictures = Pictures()
