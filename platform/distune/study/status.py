"""Status of a study, read from its folder and its Optuna storage while it may be running."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.load import LoadedExperiment, trial_experiment
from distune.config.metric_names import cost_names, metric_name
from distune.distillation.epoch_warnings import warnings_of
from distune.errors import ConfigError, StudyError
from distune.evidence.confirmation_result import ConfirmationResult
from distune.evidence.shared_classes import describe_teacher, unknown_classes
from distune.records import EpochReport, Outcome, TrialRecord, best_finished, control_score
from distune.study.damaged_epochs import DamagedEpochs, find_damaged_epochs
from distune.study.failures.failed_study import describe_failed_search
from distune.study.failures.identical_trials import IdenticalTrials, index_trials
from distune.study.files.runs_progress import RunsProgress
from distune.study.files.study_folder import StudyFolder, StudyState, study_title
from distune.study.files.study_place import original_of
from distune.study.planning.study_plan import plan_study
from distune.study.planning.study_time import MeasuredEpochs, StudyTime, TrialTime, epoch_times, study_time
from distune.study.search.pareto import pareto_front
from distune.study.search.stored_trial import StoredTrial
from distune.study.storage.read_trials import read_stored_trials
from distune.study.trial_progress import best_epoch, rung_reached
from distune.study.trial_spec import trial_seed
from distune.study.unrecorded import describe_unrecorded, lost_records, unrecorded_trials, with_scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyStatus:
    """Status of a study.

    Attributes:
        study: its name.
        state: ``running``, ``finished``, ``interrupted`` (``distune resume`` continues it), or ``failed``: all trials
            have ended, and none has finished because they failed, or too many in a row failed for the same reason.
        metric: name of the metric that is maximized, such as ``search/AP``.
        trials: all trials, the controls first.
        reason: why it failed, or finished with fewer trials than requested; None otherwise.
        identical_trials: groups of searched trials with different parameters and identical losses and scores.
        costs: names of the metrics that are minimized, such as ``student/latency_ms``; empty for a single objective.
        confirmation: result of training the best trials again with new seeds; None before the first confirmation.
        simulated: whether its learning curves are simulated.
        runs: a confirmation or an ablation that runs now; None without one.
        time: start, end or time left, and seconds per epoch; None for a simulated study.
        teacher_value: the teacher's metric; None for a simulated study, and before a session has prepared the teacher.
        teacher_unknown: classes that the teacher does not know, and that ``teacher_value`` leaves out.
        unrecorded: keys of trials that were trained and that Optuna's records lack.
        damaged: the trials with damaged lines in their ``metrics.jsonl``.
        lost: a line for each trial whose folder lacks epochs that Optuna knows.
        copied_from: the study that its folder was copied from, while both have the same key; None otherwise. The
            folder of the study when it is in another home.
    """

    study: str
    state: StudyState
    metric: str
    trials: list[TrialRecord]
    reason: str | None = None
    identical_trials: tuple[IdenticalTrials, ...] = ()
    costs: tuple[str, ...] = ()
    confirmation: ConfirmationResult | None = None
    simulated: bool = False
    runs: RunsProgress | None = None
    time: StudyTime | None = None
    teacher_value: float | None = None
    teacher_unknown: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    damaged: tuple[DamagedEpochs, ...] = ()
    lost: tuple[str, ...] = ()
    copied_from: str | None = None

    @property
    def title(self) -> str:
        """Title of tables and figures; says when the study is simulated."""
        return study_title(self.study, simulated=self.simulated)

    @property
    def teacher_line(self) -> str | None:
        """The score of the teacher in a line; None without one."""
        if self.teacher_value is None:
            return None
        return describe_teacher(self.teacher_value, self.metric, self.teacher_unknown, self.trials)

    @property
    def pareto_front(self) -> list[TrialRecord]:
        """Trials that no other trial dominates in metric and costs; empty for a single objective."""
        return pareto_front(self.trials, self.metric, self.costs) if self.costs else []

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; numbers that are not finite become None."""
        objectives: dict[str, Any] = {}
        if self.costs:
            objectives = {"costs": list(self.costs), "pareto_front": [trial.number for trial in self.pareto_front]}
        return {
            "study": self.study,
            "state": self.state,
            "reason": self.reason,
            "simulated": self.simulated,
            "metric": self.metric,
            "teacher": self.teacher_value,
            "teacher_unknown_classes": list(self.teacher_unknown),
            "runs": None if self.runs is None else dataclasses.asdict(self.runs),
            "time": None if self.time is None else self.time.to_dict(),
            "trials": [record_to_dict(record) for record in self.trials],
            "unrecorded_trials": list(self.unrecorded),
            "damaged_records": [str(each) for each in self.damaged],
            "lost_records": list(self.lost),
            "copied_from": self.copied_from,
            "identical_trials": [group.to_dict() for group in self.identical_trials],
            **objectives,
            "confirmation": None if self.confirmation is None else self.confirmation.to_dict(),
        }


def record_to_dict(record: TrialRecord) -> dict[str, Any]:
    """Return a trial as a JSON-ready dictionary; metrics that are not finite become None."""
    return {**record.to_dict(), "metrics": finite_or_none(record.metrics)}


def finite_or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics with None for values that JSON does not know."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def find_study(home: Home, name: str) -> StudyFolder:
    """Return the folder of a study.

    Args:
        home: folder of all studies.
        name: of the study.

    Returns:
        The folder, which exists.

    Raises:
        StudyError: there is no study of that name; the message lists all studies.
    """
    folder = StudyFolder(home.study(name))
    if folder.study_file.is_file():
        return folder
    names = study_names(home)
    known = f"known studies: {', '.join(names)}" if names else "there is none yet"
    raise StudyError(f"study {name} was not found in {home.studies}{home.origin}; {known}")


def study_names(home: Home) -> list[str]:
    """Return the names of all studies, sorted."""
    if not home.studies.is_dir():
        return []
    folders = (path for path in home.studies.iterdir() if not path.name.startswith("."))
    return sorted(path.name for path in folders if StudyFolder(path).study_file.is_file())


def read_study(home: Home, name: str, *, is_running: bool | None = None) -> StudyStatus:
    """Return the status of a study.

    Args:
        home: folder of all studies.
        name: of the study.
        is_running: whether trials are running; None finds it out by the lock of the session. A session that holds the
            lock itself knows.

    Returns:
        The status.

    Raises:
        StudyError: the study is missing or cannot be read.
    """
    folder = find_study(home, name)
    is_running = folder.is_locked() if is_running is None else is_running
    loaded = folder.load()
    known = read_stored_trials(folder, loaded.experiment.search.storage)
    return status_of(folder, loaded, known, is_running=is_running)


def status_of(
    folder: StudyFolder, loaded: LoadedExperiment, known: list[StoredTrial], *, is_running: bool
) -> StudyStatus:
    """Return the status of a study from its trials ``known`` to Optuna and their folders."""
    experiment, identity = loaded.experiment, folder.identity()
    state = study_state(experiment, known, num_trials=folder.num_trials(experiment), is_running=is_running)
    note = folder.session()
    if state == "interrupted" and note is not None and note.reason is not None:
        # The trials alone do not show that a study failed, or that all configurations of its space were tried.
        state = note.state
    reason = note.reason if note is not None and state == note.state else None
    if state == "failed" and reason is None:  # of an earlier version, or the session was killed
        reason = describe_failed_search(known)
    records = {trial.number: folder.trial(trial.number).records() for trial in known}
    reports = {number: each.reports for number, each in records.items()}
    unrecorded = [] if is_running else unrecorded_trials(known, folder.trials)
    index = index_trials((trial.number, trial.params, trial.outcome, reports[trial.number]) for trial in known)
    runs = RunsProgress.read(folder.runs_file) if is_running else None
    is_searching = is_running and runs is None
    trials = [_record(experiment, trial, reports[trial.number], is_running=is_searching) for trial in known]
    teacher = folder.teacher()
    return StudyStatus(
        study=folder.name,
        state=state,
        metric=metric_name(experiment),
        trials=trials,
        reason=reason,
        identical_trials=tuple(index.groups),
        unrecorded=tuple(unrecorded),
        copied_from=original_of(folder, experiment),
        damaged=tuple(find_damaged_epochs(folder, known, records)),
        lost=() if is_running else tuple(lost_records(known, reports)),
        costs=cost_names(experiment),
        confirmation=folder.confirmation.read(),
        simulated=identity.simulate,
        runs=runs,
        time=None
        if identity.simulate
        else study_time(
            plan_study(experiment, loaded.searched, num_trials=folder.num_trials(experiment)),
            list(started_trials(trials).values()),
            measured_epochs(reports),
            started_at=identity.created_at,
            session_at=None if note is None else note.started_at,
            now=time.time() if is_searching else None,
        ),
        teacher_value=None if teacher is None else teacher.metrics.get(metric_name(experiment)),
        teacher_unknown=()
        if teacher is None
        else unknown_classes(teacher.metrics, next((trial.metrics for trial in trials if trial.metrics), {})),
    )


def study_state(experiment: Experiment, known: list[StoredTrial], *, num_trials: int, is_running: bool) -> StudyState:
    """Return the state that follows from the recorded trials: when all have ended, finished or failed."""
    if is_running:
        return "running"
    ended = [trial for trial in known if trial.outcome not in (Outcome.WAITING, Outcome.INTERRUPTED)]
    has_open = any(trial.outcome is Outcome.INTERRUPTED for trial in known)
    num_controls = sum(trial.number < 0 for trial in ended)
    is_complete = num_controls >= experiment.search.controls and len(ended) - num_controls >= num_trials
    if not is_complete or has_open:
        return "interrupted"
    return "finished" if describe_failed_search(known) is None else "failed"


def best_trial(status: StudyStatus) -> tuple[TrialRecord, float | None]:
    """Return the best finished trial and its gain.

    Args:
        status: of the study.

    Returns:
        The trial, and the difference between the metric of its best epoch and the mean of the controls' best epochs.
        The gain is None while no control has finished.

    Raises:
        StudyError: no trial has finished.
    """
    winner = best_finished(status.trials, status.metric)
    if winner is None:
        raise StudyError(f"study {status.study}: {_nothing_finished(status)}")
    control = control_score(status.trials, status.metric)
    return winner, None if control is None else winner.metrics[status.metric] - control


def _nothing_finished(status: StudyStatus) -> str:
    """Return why there is no best trial."""
    if status.unrecorded:
        return f"{describe_unrecorded(status.unrecorded)}; rebuild them: distune repair {status.study}"
    if status.state != "failed" or status.reason is None:
        return "no trial has finished yet"
    if status.reason.startswith("no trial has finished"):
        return status.reason
    return f"no trial has finished: {status.reason}"


def confirmed_trial(status: StudyStatus) -> TrialRecord:
    """Return the confirmed trial; before a confirmation, the best trial of the search.

    Args:
        status: of the study.

    Returns:
        The trial whose student the study delivers.

    Raises:
        StudyError: no trial has finished.
    """
    leader, _ = best_trial(status)
    winner = leader.number if status.confirmation is None else status.confirmation.winner
    return next((trial for trial in status.trials if trial.number == winner), leader)


def started_trials(trials: Iterable[TrialRecord]) -> dict[str, TrialTime]:
    """Return key to times of the trials that have started."""
    return {trial.key: TrialTime.of(trial) for trial in trials if trial.outcome is not Outcome.WAITING}


def measured_epochs(reports: Mapping[int, Iterable[EpochReport]]) -> MeasuredEpochs:
    """Return the lengths of all epochs; ``reports`` are those of each trial, by its number."""
    searched, controls = (
        [each for number, found in reports.items() if (number < 0) is control for each in epoch_times(found)]
        for control in (False, True)
    )
    return MeasuredEpochs(searched=searched, controls=controls)


def _record(experiment: Experiment, trial: StoredTrial, reports: list[EpochReport], *, is_running: bool) -> TrialRecord:
    reports = with_scores(trial, reports, metric_name(experiment))
    best_report = best_epoch(reports, metric_name(experiment))
    epochs = reports[-1].epoch if reports else 0
    scheduler = experiment.search.scheduler.model_dump()
    outcome = Outcome.RUNNING if is_running and trial.outcome is Outcome.INTERRUPTED else trial.outcome
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        outcome=outcome,
        control=trial.number < 0,
        epochs=epochs,
        params=trial.params,
        metrics={} if best_report is None else best_report.metrics,
        seed=trial_seed(experiment, trial.number),
        reason=trial.reason,
        best_at=None if best_report is None else best_report.finished_at or None,
        rung=None
        if trial.number < 0
        else rung_reached(scheduler, max_epochs=experiment.training.epochs, epochs=epochs),
        warnings=_warnings(experiment, trial, reports),
    )


def _warnings(experiment: Experiment, trial: StoredTrial, reports: list[EpochReport]) -> dict[str, str]:
    if not reports or trial.number < 0:
        return {}
    try:
        values = trial_experiment(experiment, trial.params)
    except ConfigError:  # of an earlier version that allowed these values
        return {}
    return warnings_of(((report.epoch, report.metrics) for report in reports), values["distillation"])
