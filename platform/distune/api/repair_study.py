"""Repairs a study: Optuna's records, settings, the key of a copy, and the runs in MLflow."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from distune.api.preparation import open_tracker
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.errors import UsageError
from distune.records import TrialState, trial_key
from distune.study.files.study_folder import StudyFolder
from distune.study.files.study_place import original_of, record_place
from distune.study.repair.rebuild_records import rebuild_records
from distune.study.repair.repair_files import own_identity, repair_session_note, repair_settings
from distune.study.search.stored_trial import StoredTrial
from distune.study.storage.optuna_storage import STORAGE_ERRORS, stopped_error
from distune.study.storage.read_trials import read_stored_trials
from distune.study.unrecorded import lost_records
from distune.tracking.build import follow_home, initialize_sqlite
from distune.tracking.mlflow_client import find_study_runs
from distune.tracking.resend import has_loss, num_refused, send_again, sent_bytes, unsent_bytes
from distune.tracking.run_names import experiment_name
from distune.tracking.uris import redact_uri, scheme_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repair:
    """The result of a repair.

    Attributes:
        study: its name.
        found: a line for each fault.
        done: a line for each change.
        left: a line for each fault that could not be repaired.
    """

    study: str
    found: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return dataclasses.asdict(self)


@dataclasses.dataclass
class _Notes:
    found: list[str] = dataclasses.field(default_factory=list)
    done: list[str] = dataclasses.field(default_factory=list)
    left: list[str] = dataclasses.field(default_factory=list)

    def add(self, found: list[str], done: list[str]) -> None:
        self.found += found
        self.done += done


def repair_study(folder: StudyFolder, home: Home, *, new_key: bool = False) -> Repair:
    """Find what is damaged or missing in a study, and repair it. A healthy study is not changed.

    Args:
        folder: of the study.
        home: keeps the MLflow store.
        new_key: give the study a key of its own although it is not known to be a copy.

    Returns:
        The faults, the changes, and the faults that remain.

    Raises:
        StudyError: a session runs the study, or a file that nothing can restore is damaged.
        StudyStoppedError: the files cannot be written.
    """
    notes = _Notes()
    try:
        with folder.lock():
            loaded, *changes = repair_settings(folder)
            notes.add(*changes)
            _repair_records(folder, loaded, notes, new_key=new_key)
            stored = read_stored_trials(folder, loaded.experiment.search.storage)
            notes.add(*repair_session_note(folder, loaded, stored))
            reports = {trial.number: folder.trial(trial.number).reports() for trial in stored}
            notes.left += lost_records(stored, reports)
            if loaded.experiment.tracking.enabled:
                _repair_tracking(folder, home, loaded, stored, notes)
    except STORAGE_ERRORS as error:
        raise stopped_error(folder.name, error, command="repair") from error
    return Repair(study=folder.name, found=tuple(notes.found), done=tuple(notes.done), left=tuple(notes.left))


def _repair_records(folder: StudyFolder, loaded: LoadedExperiment, notes: _Notes, *, new_key: bool) -> None:
    original = original_of(folder, loaded.experiment)
    if original is None and not new_key:
        notes.add(*rebuild_records(folder, loaded))
        return
    identity = own_identity(folder)
    if original is not None:
        notes.add([f"the folder is a copy of study {original} and has its key"], [])
    notes.add(*rebuild_records(folder, loaded, new_identity=identity))
    folder.write_identity(identity)
    record_place(folder)
    send_again(folder.path)
    notes.add([], [f"gave it a key of its own: {identity.tracking_key}"])


def _repair_tracking(
    folder: StudyFolder, home: Home, loaded: LoadedExperiment, stored: list[StoredTrial], notes: _Notes
) -> None:
    """Send the records again that the tracking server lacks."""
    experiment = loaded.experiment
    uri = experiment.tracking.uri or home.tracking_uri
    refused = num_refused(folder.path)
    if refused:
        notes.add([f"{refused} events were refused by the tracking server"], [])
    try:
        if scheme_of(uri) == "sqlite":
            initialize_sqlite(uri)
        if experiment.tracking.uri is None:
            follow_home(home)
        missing = _missing_runs(folder, uri, loaded, stored)
    except UsageError as error:
        notes.left.append(str(error))
        return
    is_lost = has_loss(folder.path) or (missing > 0 and sent_bytes(folder.path) > 0)
    if is_lost:
        notes.add([f"{redact_uri(uri)} has lost runs of the study"], [])
    elif not refused and not unsent_bytes(folder.path):
        return
    if is_lost or refused:
        send_again(folder.path)
    with contextlib.closing(open_tracker(folder, experiment, home)):
        pass  # closing it sends what is in the spool
    if unsent_bytes(folder.path):
        notes.left.append("not all records have reached the tracking server; run this command again")
    else:
        notes.add([], ["sent the records of the study to the tracking server again"])
    if num_refused(folder.path):
        notes.left.append(f"{num_refused(folder.path)} events were refused: {folder.path / 'spool.refused.jsonl'}")


def _missing_runs(folder: StudyFolder, uri: str, loaded: LoadedExperiment, stored: list[StoredTrial]) -> int:
    """Return how many runs of the study the tracking server lacks."""
    identity, experiment = folder.identity(), loaded.experiment
    name = experiment_name(experiment.tracking.experiment, experiment.name, simulated=identity.simulate)
    runs = find_study_runs(uri, experiment=name, study_key=identity.tracking_key)
    started = {trial_key(trial.number) for trial in stored if trial.state is not TrialState.WAITING}
    if runs is None:
        return len(started) + 1
    return len(started - runs.trial_run_ids.keys()) + (runs.study_run_id is None)
