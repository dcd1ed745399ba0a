"""Copies the searched trials of a study into memory, for Optuna's own functions."""

from __future__ import annotations

import warnings

import optuna

from distune.study.files.study_folder import StudyFolder
from distune.study.storage.optuna_storage import open_studies
from distune.study.storage.read_trials import open_for_reading
from distune.study.storage.storage_url import optuna_name


def copy_search_study(folder: StudyFolder, setting: str | None) -> optuna.Study:
    """Return the searched trials of a study as an Optuna study in memory. Changes to it have no effect on the study.

    Args:
        folder: of the study.
        setting: ``search.storage``.

    Returns:
        The copy; controls are not in it.

    Raises:
        StudyError: the records cannot be read.
    """
    with open_for_reading(folder, setting) as storage:
        original, _ = open_studies(storage, optuna_name(folder.identity(), setting))
        copy = optuna.create_study(study_name=folder.name, directions=original.directions)
        copy.add_trials(original.get_trials())
        if original.metric_names is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                copy.set_metric_names(original.metric_names)
    return copy
