"""Repairs the files of a study beside its trials: settings, the note of the session, and the key of a copy."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

from distune.config.load import LoadedExperiment
from distune.errors import ConfigError, StudyError
from distune.records import TrialState
from distune.study.files.study_folder import SessionNote, StudyFolder, StudyIdentity
from distune.study.search.stored_trial import StoredTrial
from distune.study.settings_update import recorded_settings, write_settings
from distune.study.storage.storage_url import JOURNAL


def repair_settings(folder: StudyFolder) -> tuple[LoadedExperiment, list[str], list[str]]:
    """Repair ``settings.json`` from the files for the user, or these from ``settings.json``.

    Args:
        folder: of the study.

    Returns:
        The settings; what was found; what was done.

    Raises:
        ConfigError: the files for the user are damaged, and cannot be restored from ``settings.json``.
    """
    try:
        loaded = folder.load()
    except ConfigError as damage:
        recorded = _restorable(folder)
        if recorded is None:
            raise
        kept = [keep_aside(file) for file in (folder.experiment_file, folder.space_file)]
        write_settings(folder, recorded)
        names = ", ".join(path.name for path in kept if path is not None)
        done = "restored experiment.yaml and space.yaml from settings.json, with the default settings of tracking"
        return recorded, [str(damage)], [done, *([f"the former files are kept as {names}"] if names else [])]
    try:
        recorded_settings(folder)
    except StudyError:
        write_settings(folder, loaded)
        return loaded, [f"{folder.record_file} is damaged"], ["recorded the settings of experiment.yaml and space.yaml"]
    return loaded, [], []


def repair_session_note(
    folder: StudyFolder, loaded: LoadedExperiment, stored: list[StoredTrial]
) -> tuple[list[str], list[str]]:
    """Replace a damaged note of the session. Returns what was found, and what was done."""
    if not folder.session_file.is_file() or folder.session() is not None:
        return [], []
    started = sum(trial.number >= 0 and trial.state is not TrialState.WAITING for trial in stored)
    total = max(loaded.experiment.search.num_trials, started)
    folder.write_session(SessionNote(state="interrupted", num_trials=total))
    return [f"{folder.session_file} is damaged"], [f"wrote it again, with {total} trials in total"]


def own_identity(folder: StudyFolder) -> StudyIdentity:
    """Return the identity that a copied study gets: its folder's name, and a new key."""
    return dataclasses.replace(folder.identity(), name=folder.name, key=uuid.uuid4().hex)


def keep_aside(file: Path) -> Path | None:
    """Rename a file so that nothing of it is lost; return its new place, None when there is no file."""
    if not file.exists():
        return None
    count = 1
    while (place := file.with_name(f"{file.name}.before-repair-{count}")).exists():
        count += 1
    return file.rename(place)


def _restorable(folder: StudyFolder) -> LoadedExperiment | None:
    """Return the recorded settings, None when they are damaged or lack a secret address."""
    try:
        recorded = recorded_settings(folder)
    except StudyError:
        return None
    has_address = recorded is not None and recorded.experiment.search.storage not in (None, JOURNAL)
    return None if has_address else recorded
