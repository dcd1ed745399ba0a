"""Recovery: the state of a study at the start of a session, read from the records of earlier sessions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from distune.records import EpochReport, TrialSpec, TrialState, trial_key
from distune.study.failures.identical_trials import IdenticalTrialsIndex, index_trials
from distune.study.failures.reasons import FailureStreak, streak_after
from distune.study.files.artifacts import TRIAL_FILE, write_trial_file
from distune.study.files.trial_outcome import read_outcome
from distune.study.schedulers.build import Scheduler
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_proposer import TrialProposer
from distune.study.trial_recorder import Ending
from distune.study.trial_spec import SpecMaker
from distune.training.trial_folder import TrialFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlierSessions:
    """The trials that earlier sessions started.

    Attributes:
        unfinished: trials that were running when their session ended, in the order in which they started.
        num_searched: number of searched trials that were started.
        num_controls: number of controls that were started.
        failures: failures in a row at the end of the latest session.
        identical_trials: index of the trials that ended. The user has been warned about its groups before.
    """

    unfinished: tuple[StoredTrial, ...]
    num_searched: int
    num_controls: int
    failures: FailureStreak
    identical_trials: IdenticalTrialsIndex


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnfinishedTrial:
    """A trial of an earlier session that this one resumes.

    Attributes:
        spec: of the trial.
        problem: why its parameters are incompatible, None when they are valid.
        recorded: epochs that Optuna knows.
        unrecorded: later epochs, which only the trial's folder holds.
        announced: the ending that a session announced and could not complete, None without one.
    """

    spec: TrialSpec
    problem: str | None
    recorded: list[EpochReport]
    unrecorded: list[EpochReport]
    announced: Ending | None


def read_earlier_sessions(stored: Sequence[StoredTrial], trials_folder: Path) -> EarlierSessions:
    """Return the state that earlier sessions left, from the trials in Optuna and their folders."""
    started = [trial for trial in stored if trial.state is not TrialState.WAITING]
    ended = sorted((trial for trial in started if trial.ended_at), key=lambda trial: trial.ended_at or 0.0)
    return EarlierSessions(
        unfinished=tuple(trial for trial in started if trial.state is TrialState.RUNNING),
        num_searched=sum(trial.number >= 0 for trial in started),
        num_controls=sum(trial.number < 0 for trial in started),
        failures=streak_after(trial.reason or "" if trial.state is TrialState.FAIL else None for trial in ended),
        identical_trials=index_trials(
            (trial.number, trial.params, trial.outcome, recorded_epochs(trial, trials_folder))
            for trial in ended
            if trial.number >= 0 and trial.scores
        ),
    )


def restore_scheduler(scheduler: Scheduler, stored: Sequence[StoredTrial]) -> None:
    """Give a scheduler the scores of all searched trials, in the order of their numbers."""
    for trial in stored:
        if trial.number >= 0 and trial.state is not TrialState.WAITING:
            scheduler.restore(trial_key(trial.number), trial.scores)


def read_unfinished(trial: StoredTrial, proposer: TrialProposer, specs: SpecMaker) -> UnfinishedTrial:
    """Return all that is known about an unfinished trial. Choose the parameters that it does not have yet."""
    spec, problem = specs.make(trial.number, proposer.complete_params(trial))
    folder = TrialFolder.of(spec)
    if not (folder.path / TRIAL_FILE).is_file():
        write_trial_file(spec)  # the session ended between the record in Optuna and the file
    recorded = recorded_epochs(trial, specs.trials_folder)
    num_recorded = recorded[-1].epoch if recorded else 0
    return UnfinishedTrial(
        spec=spec,
        problem=problem,
        recorded=recorded,
        unrecorded=[report for report in folder.reports() if report.epoch > num_recorded],
        announced=_announced(trial, folder),
    )


def _announced(trial: StoredTrial, folder: TrialFolder) -> Ending | None:
    """Return the ending that Optuna or the trial's folder holds: an older copy of Optuna's file lacks it."""
    if trial.ending is not None:
        return trial.ending, trial.reason
    ended = read_outcome(folder.path)
    return None if ended is None else (ended.outcome, ended.reason)


def recorded_epochs(trial: StoredTrial, trials_folder: Path) -> list[EpochReport]:
    """Return the epochs in a trial's folder that Optuna knows as well."""
    folder = TrialFolder(trials_folder / trial_key(trial.number))
    return [report for report in folder.reports() if report.epoch in trial.scores]
