"""Rebuilds Optuna's records of a study: those that can be read, and the trials that only their folders hold."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from distune.config.load import LoadedExperiment
from distune.config.metric_names import cost_names, metric_name
from distune.config.space import Parameter
from distune.errors import StudyError
from distune.records import Outcome, ParameterValue, trial_key
from distune.study.files.study_folder import StudyFolder, StudyIdentity
from distune.study.repair.folder_record import FolderRecord, SpoolRecord, read_folder_record
from distune.study.repair.spool_records import read_spool_records
from distune.study.search.samplers import distribution_of
from distune.study.search.stored_trial import StoredTrial
from distune.study.search.trial_attributes import EPOCHS, OUTCOME, PROPOSED, REASON
from distune.study.search.trial_store import read_trials
from distune.study.storage.optuna_storage import open_studies
from distune.study.storage.read_trials import SQLITE_SUFFIXES, open_for_reading
from distune.study.storage.storage_url import (
    JOURNAL,
    exists,
    open_storage,
    optuna_name,
    storage_location,
)
from distune.study.unrecorded import folder_numbers, is_recorded, unrecorded_trials

_STATES = {
    Outcome.FINISHED: TrialState.COMPLETE,
    Outcome.STOPPED: TrialState.PRUNED,
    Outcome.DIVERGED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}


def rebuild_records(
    folder: StudyFolder, loaded: LoadedExperiment, *, new_identity: StudyIdentity | None = None
) -> tuple[list[str], list[str]]:
    """Rebuild Optuna's records if they are damaged or lack trained trials. The caller holds the study's lock.

    Damaged files are kept under another name.

    Args:
        folder: of the study.
        loaded: its settings.
        new_identity: write the records under this identity, which the study gets next; None keeps its own.

    Returns:
        What was found, and what was done; both empty when the records are complete.

    Raises:
        StudyError: a shared database cannot be read.
    """
    setting = loaded.experiment.search.storage
    place = storage_location(folder, setting)
    known, damage = _read(folder, setting)
    stored = {number: trial for number, (trial, _) in known.items()}
    missing = unrecorded_trials(stored.values(), folder.trials)
    if damage is None and not missing and new_identity is None:
        return [], []
    found = [f"{place} cannot be read: {damage}"] if damage is not None else []
    found += [f"Optuna's records lack {len(missing)} trained trials: {', '.join(missing)}"] if missing else []
    records = _all_trials(folder, loaded, known)
    kept = _write(folder, loaded, records, new_identity or folder.identity())
    done = [f"rebuilt {place} with {len(records)} trials, {len(missing)} of them from their folders"]
    return found, [*done, *kept]


def _read(folder: StudyFolder, setting: str | None) -> tuple[dict[int, tuple[StoredTrial, FrozenTrial]], str | None]:
    """Return the trials in Optuna by distune's number, and why they cannot be read, None when they can."""
    if not exists(folder, setting):
        return {}, None
    try:
        with open_for_reading(folder, setting) as storage:
            search, controls = open_studies(storage, optuna_name(folder.identity(), setting))
            frozen = [*controls.get_trials(), *search.get_trials()]
            stored = read_trials(search, controls)
            return {each.number: (each, trial) for each, trial in zip(stored, frozen, strict=True)}, None
    except StudyError as error:
        cause = error.__cause__
        is_damaged = cause is not None and not isinstance(cause, StudyError | OSError)
        if setting not in (None, JOURNAL) or not is_damaged:
            raise
        return {}, " ".join(str(cause).split("\n")[0].split())


def _all_trials(
    folder: StudyFolder, loaded: LoadedExperiment, known: Mapping[int, tuple[StoredTrial, FrozenTrial]]
) -> dict[int, FrozenTrial]:
    """Return a trial for each number up to the last: Optuna's own record where it has one, else the folder's."""
    experiment = loaded.experiment
    spool = read_spool_records(folder.path / "spool.jsonl")
    numbers = {number for number, (stored, _) in known.items() if is_recorded(stored)}
    numbers |= {number for number in folder_numbers(folder.trials) if folder.trial(number).is_trained}
    trials = {}
    for number in (*range(-1, min(numbers, default=0) - 1, -1), *range(max(numbers, default=-1) + 1)):
        stored, frozen = known.get(number, (None, None))
        if stored is not None and frozen is not None and is_recorded(stored):
            trials[number] = frozen
            continue
        record = read_folder_record(
            folder.trials,
            number,
            spool.get(trial_key(number), SpoolRecord()),
            metric=metric_name(experiment),
            costs=cost_names(experiment),
            num_epochs=experiment.training.epochs,
            simulated=folder.identity().simulate,
        )
        trials[number] = frozen_trial(record, loaded.searched)
    return trials


def frozen_trial(record: FolderRecord, searched: Mapping[str, Parameter]) -> FrozenTrial:
    """Return Optuna's record of a trial.

    Args:
        record: of the trial.
        searched: path to parameter.

    Returns:
        The trial. A value that its parameter does not contain any more widens the range; a choice that is gone is left
        out.
    """
    distributions = {
        path: distribution
        for path, value in record.params.items()
        if path in searched and (distribution := _distribution(searched[path], value)) is not None
    }
    state = TrialState.RUNNING if record.ended is None else _STATES[record.ended.outcome]
    attributes: dict[str, object] = {PROPOSED: record.params} if record.number >= 0 and record.params else {}
    if record.ended is not None:
        attributes |= {OUTCOME: record.ended.outcome.value, EPOCHS: max(record.scores, default=0)}
        attributes |= {} if record.ended.reason is None else {REASON: record.ended.reason}
    trial = optuna.trial.create_trial(
        state=state,
        values=list(record.values[: 1 if record.number < 0 else None]) if state is TrialState.COMPLETE else None,
        params={path: record.params[path] for path in distributions},
        distributions=distributions,
        intermediate_values=record.scores,
        user_attrs=attributes,
    )
    # Optuna's times are local and have no zone.
    started = datetime.datetime.fromtimestamp(record.started_at)
    trial.datetime_start = started
    if record.ended is not None:
        at = record.ended.ended_at
        trial.datetime_complete = started if at is None else datetime.datetime.fromtimestamp(at)
    return trial


def _distribution(parameter: Parameter, value: ParameterValue) -> BaseDistribution | None:
    distribution = distribution_of(parameter)
    if parameter.contains(value):
        return distribution
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isinstance(distribution, IntDistribution | FloatDistribution):
        return None
    assert isinstance(value, int | float)
    if isinstance(distribution, IntDistribution):
        bounds = min(distribution.low, int(value)), max(distribution.high, int(value))
        return IntDistribution(*bounds, log=distribution.log) if value == int(value) and bounds[0] > 0 else None
    low, high = min(distribution.low, value), max(distribution.high, value)
    return FloatDistribution(low, high, log=distribution.log) if low > 0 or not distribution.log else None


def _write(
    folder: StudyFolder, loaded: LoadedExperiment, trials: Mapping[int, FrozenTrial], identity: StudyIdentity
) -> list[str]:
    """Replace the records of a study. Files are written beside the old ones, which are kept under another name."""
    setting, num_costs = loaded.experiment.search.storage, len(loaded.experiment.search.costs)
    name = optuna_name(identity, setting)
    if setting not in (None, JOURNAL):
        with open_storage(folder, setting) as storage:
            for study in open_studies(storage, name, num_costs=num_costs):
                optuna.delete_study(study_name=study.study_name, storage=storage)
            _add(open_studies(storage, name, num_costs=num_costs), trials)
        return []
    fresh = StudyFolder(folder.path / ".records.new")
    _remove(fresh)
    fresh.path.mkdir()
    try:
        with open_storage(fresh, setting) as storage:
            _add(open_studies(storage, name, num_costs=num_costs), trials)
        file = folder.database if setting is None else folder.journal
        kept = _set_aside(file)
        (fresh.path / file.name).rename(file)
    finally:
        _remove(fresh)
    return [] if kept is None else [f"the former file is kept as {kept.name}"]


def _add(studies: tuple[optuna.Study, optuna.Study], trials: Mapping[int, FrozenTrial]) -> None:
    search, controls = studies
    controls.add_trials([trials[number] for number in sorted(trials, reverse=True) if number < 0])
    search.add_trials([trials[number] for number in sorted(trials) if number >= 0])


def _set_aside(file: Path) -> Path | None:
    """Rename a file and those that belong to it, so that nothing of it is lost or read again."""
    parts: Iterable[str] = [part for part in SQLITE_SUFFIXES if Path(f"{file}{part}").exists()]
    count = 1
    while any(Path(f"{file}.before-repair-{count}{part}").exists() for part in SQLITE_SUFFIXES):
        count += 1
    for part in parts:
        Path(f"{file}{part}").rename(f"{file}.before-repair-{count}{part}")
    return Path(f"{file}.before-repair-{count}") if parts else None


def _remove(folder: StudyFolder) -> None:
    """Remove the folder in which new records were written."""
    if folder.path.is_dir():
        for file in folder.path.iterdir():
            file.unlink()
        folder.path.rmdir()
