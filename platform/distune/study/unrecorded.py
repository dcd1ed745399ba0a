"""Differences between the trials' folders and Optuna's records: trained trials without records, and lost epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from distune.config.experiment import Experiment
from distune.errors import StudyError
from distune.records import EpochReport, Outcome, TrialState, trial_key
from distune.study.files.study_folder import StudyFolder
from distune.study.files.study_place import original_of
from distune.study.search.stored_trial import StoredTrial
from distune.study.storage.read_trials import read_stored_trials
from distune.training.trial_folder import TrialFolder

_CONTROL = "control-"
_NUM_SHOWN = 8


def folder_numbers(trials_folder: Path) -> list[int]:
    """Return the numbers of the trials that have a folder: controls first, in the order in which they started."""
    names = [path.name for path in trials_folder.iterdir() if path.is_dir()] if trials_folder.is_dir() else []
    numbers = [number for name in names if (number := _number(name)) is not None]
    return sorted(numbers, key=lambda number: (number >= 0, abs(number)))


def unrecorded_trials(stored: Iterable[StoredTrial], trials_folder: Path) -> list[str]:
    """Return the keys of the trials that were trained and that Optuna does not know.

    A trial that Optuna knows only as waiting, or without any parameter, is not known: a session would train it again.

    Args:
        stored: the trials in Optuna.
        trials_folder: holds a folder per trial.

    Returns:
        The keys, controls first.
    """
    known = {trial.number for trial in stored if is_recorded(trial)}
    return [
        trial_key(number)
        for number in folder_numbers(trials_folder)
        if number not in known and TrialFolder(trials_folder / trial_key(number)).is_trained
    ]


def unrecorded_in(folder: StudyFolder, setting: str | None) -> list[str]:
    """Return the keys of the trials of a study that were trained and that Optuna does not know.

    Args:
        folder: of the study.
        setting: ``search.storage``.

    Returns:
        The keys, controls first.

    Raises:
        StudyError: Optuna's records cannot be read.
    """
    if not folder_numbers(folder.trials):
        return []
    return unrecorded_trials(read_stored_trials(folder, setting), folder.trials)


def is_recorded(trial: StoredTrial) -> bool:
    """Return whether Optuna's record of a trial is more than that it waits or was about to start."""
    if trial.state is TrialState.WAITING:
        return False
    return trial.number < 0 or trial.state is not TrialState.RUNNING or bool(trial.params or trial.scores)


def check_records(folder: StudyFolder, experiment: Experiment) -> None:
    """Refuse to work on a study whose trained trials Optuna does not know, or whose folder is a copy.

    Args:
        folder: of the study.
        experiment: of the study.

    Raises:
        StudyError: a session would train trials again, or write into the runs of another study; or Optuna's records
            cannot be read.
    """
    original = original_of(folder, experiment)
    if original is not None:
        raise StudyError(
            f"study {folder.name} is a copy of study {original}, and would write into its runs; give it a key of its "
            f"own: distune repair {folder.name}"
        )
    check_all_recorded(folder.name, unrecorded_in(folder, experiment.search.storage))


def check_all_recorded(study: str, unrecorded: Sequence[str]) -> None:
    """Refuse to work on a study with trained trials that Optuna does not know: a session would train them again.

    Args:
        study: its name.
        unrecorded: keys of these trials.

    Raises:
        StudyError: there is one.
    """
    if unrecorded:
        raise StudyError(
            f"study {study}: {describe_unrecorded(unrecorded)}; nothing was changed. Rebuild the records from the "
            f"trials' folders: distune repair {study}"
        )


def describe_unrecorded(unrecorded: Sequence[str]) -> str:
    """Return which trained trials are missing in Optuna's records, for the user."""
    return f"Optuna's records lack {name_trials(unrecorded)}, which {_were(unrecorded)} trained"


def name_trials(keys: Sequence[str]) -> str:
    """Return the names of trials, the first ones of many."""
    more = f" and {len(keys) - _NUM_SHOWN} more" if len(keys) > _NUM_SHOWN else ""
    return f"trial{'' if len(keys) == 1 else 's'} {', '.join(keys[:_NUM_SHOWN])}{more}"


def lost_epochs(trial: StoredTrial, reports: Sequence[EpochReport]) -> list[int]:
    """Return the epochs whose scores Optuna holds and that are missing in the trial's folder."""
    present = {report.epoch for report in reports}
    return sorted(epoch for epoch in trial.scores if epoch not in present)


def describe_lost(trial: StoredTrial, reports: Sequence[EpochReport]) -> str | None:
    """Return which records of a trial are missing in its folder, for the user; None when they are complete."""
    lost = lost_epochs(trial, reports)
    if not lost:
        return None
    key = trial_key(trial.number)
    what = f"all {len(lost)} epochs" if not reports else f"epoch{'s' if len(lost) > 1 else ''} {_ranges(lost)}"
    rest = "the scores shown are those that Optuna holds"
    if trial.outcome is Outcome.INTERRUPTED and not reports:
        rest = "a resumed study trains it from the start"
    return f"trial {key}: its folder lacks {what}; {rest}"


def lost_records(stored: Iterable[StoredTrial], reports: Mapping[int, Sequence[EpochReport]]) -> list[str]:
    """Return a line for each trial whose folder lacks epochs that Optuna knows; ``reports`` by number."""
    lines = (describe_lost(trial, reports.get(trial.number, ())) for trial in stored)
    return [line for line in lines if line is not None]


def with_scores(trial: StoredTrial, reports: Sequence[EpochReport], metric: str) -> list[EpochReport]:
    """Return the epochs of a trial in order; for lost ones, reports with the score that Optuna holds, and no time."""
    known = [
        EpochReport(epoch=epoch, metrics={metric: trial.scores[epoch]}, finished_at=0.0)
        for epoch in lost_epochs(trial, reports)
    ]
    return sorted([*reports, *known], key=lambda report: report.epoch)


def _number(name: str) -> int | None:
    digits = name.removeprefix(_CONTROL)
    if not (digits.isascii() and digits.isdecimal()) or str(int(digits)) != digits:
        return None
    number = int(digits)
    if not name.startswith(_CONTROL):
        return number
    return -number if number > 0 else None


def _were(keys: Sequence[str]) -> str:
    return "was" if len(keys) == 1 else "were"


def _ranges(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:_NUM_SHOWN]]
    return ", ".join(shown) + (", ..." if len(numbers) > _NUM_SHOWN else "")
