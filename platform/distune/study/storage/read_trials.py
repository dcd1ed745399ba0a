"""Reads the trials of a study without writing, also from a folder that cannot be written to."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distune.errors import StudyError
from distune.study.files.study_folder import StudyFolder
from distune.study.search.stored_trial import StoredTrial
from distune.study.storage.sqlite_reader import read_sqlite
from distune.study.storage.study_names import controls_name

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_JOURNAL = "journal"
SQLITE_SUFFIXES = ("", "-wal", "-shm")
"""Ends of the names of the files of an SQLite database."""


def read_stored_trials(folder: StudyFolder, setting: str | None) -> list[StoredTrial]:
    """Return the trials in Optuna: controls first, each kind in the order in which it was started.

    Optuna is loaded only where the standard library cannot read the records.

    Args:
        folder: of the study.
        setting: ``search.storage``.

    Returns:
        The trials; none while there are no records.

    Raises:
        StudyError: the records cannot be read.
    """
    name = folder.identity().name
    if setting is None:
        if not folder.database.is_file():
            return []
        known = read_sqlite(folder.database, search_study=name, control_study=controls_name(name))
        if known is not None:
            return known
    from distune.study.search.trial_store import read_trials
    from distune.study.storage.optuna_storage import open_studies
    from distune.study.storage.storage_url import exists, optuna_name

    if not exists(folder, setting):
        return []
    with reading_errors(folder, setting), read_only_copy(folder, setting) as source:
        if setting is None:
            known = read_sqlite(source.database, search_study=name, control_study=controls_name(name))
            if known is not None:
                return known
        with open_copy(source, setting) as storage:
            return read_trials(*open_studies(storage, optuna_name(folder.identity(), setting)))


@contextlib.contextmanager
def open_for_reading(folder: StudyFolder, setting: str | None) -> Iterator[BaseStorage]:
    """Open Optuna's storage of a study to read it; see ``read_only_copy``. Raises ``StudyError`` when that fails."""
    with (
        reading_errors(folder, setting),
        read_only_copy(folder, setting) as source,
        open_copy(source, setting) as storage,
    ):
        yield storage


def open_copy(source: StudyFolder, setting: str | None) -> contextlib.AbstractContextManager[BaseStorage]:
    """Open the storage in a folder from ``read_only_copy``."""
    from distune.study.storage.storage_url import open_storage

    return open_storage(source, setting)


@contextlib.contextmanager
def reading_errors(folder: StudyFolder, setting: str | None) -> Iterator[None]:
    """Report all errors of reading Optuna's records as a ``StudyError``."""
    from distune.study.storage.optuna_storage import STORAGE_ERRORS, reason_of
    from distune.study.storage.storage_url import damage_reported, storage_location

    try:
        with damage_reported(folder, setting):
            yield
    except STORAGE_ERRORS as error:
        is_denied = isinstance(error, PermissionError)
        remedy = "make it readable" if is_denied else f"if it is damaged, rebuild it: distune repair {folder.name}"
        raise StudyError(
            f"study {folder.name}: {storage_location(folder, setting)} cannot be read: {reason_of(error)}; {remedy}"
        ) from error


@contextlib.contextmanager
def read_only_copy(folder: StudyFolder, setting: str | None) -> Iterator[StudyFolder]:
    """Yield a folder whose records Optuna may open, which creates missing tables: a copy, but of a shared database.

    Raises ``StudyError`` when the tables are of another release of Optuna.
    """
    if setting not in (None, _JOURNAL):
        yield folder
        return
    files = [Path(f"{folder.database}{suffix}") for suffix in SQLITE_SUFFIXES[:2]] if setting is None else []
    with tempfile.TemporaryDirectory(prefix="distune-records-") as place:
        copy = StudyFolder(Path(place) / folder.name)
        copy.path.mkdir()
        for file in files or [folder.journal]:
            if file.is_file():
                shutil.copyfile(file, copy.path / file.name)
        try:
            yield copy
        except StudyError as error:
            raise StudyError(str(error).replace(str(copy.path), str(folder.path))) from error
