"""Changes the settings of a study, or refuses to, and records the settings of the latest session."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

import optuna

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.config.load import LoadedExperiment, experiment_from_dict
from distune.config.yaml import write_yaml
from distune.errors import ConfigError, StudyError
from distune.study.files.settings_diff import SettingChange, compare_settings, describe_changes
from distune.study.files.study_folder import StudyFolder
from distune.study.files.study_place import record_place
from distune.study.search.samplers import distribution_of
from distune.study.storage.optuna_storage import open_studies
from distune.study.storage.storage_url import (
    JOURNAL,
    damage_reported,
    exists,
    open_storage,
    optuna_name,
    shown_storage,
)
from distune.study.trial_spec import ADDRESSES
from distune.study.unrecorded import check_records
from distune.tracking.uris import redact_uri


def recorded_settings(folder: StudyFolder) -> LoadedExperiment | None:
    """Return the settings of the latest session; None before the first session.

    Args:
        folder: of the study.

    Returns:
        The settings.

    Raises:
        StudyError: the file is damaged.
    """
    if not folder.record_file.exists():
        return None
    try:
        values = json.loads(read_bounded(folder.record_file))
        source = str(folder.record_file)
        return experiment_from_dict(values["experiment"], source=source, space=values["space"], saved=True)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise StudyError(
            f"study {folder.name}: {folder.record_file} cannot be read ({_reason(error)}); check experiment.yaml and "
            f"space.yaml beside it, then record them again: distune repair {folder.name}"
        ) from None


def _reason(error: Exception) -> str:
    """Return the reason on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if isinstance(error, KeyError | TypeError) else text


def update_settings(folder: StudyFolder, loaded: LoadedExperiment) -> list[SettingChange]:
    """Change the settings of a study, if its trials stay comparable. The caller holds the study's lock.

    Rewrites the folder's ``experiment.yaml`` and ``space.yaml``, and adds a line to ``changes.jsonl``. Settings of
    tracking are stored as well, but are no changes, because an address may hold a secret.

    Args:
        folder: of the study.
        loaded: the new settings: the folder's own files, which may have been edited, or others.

    Returns:
        The changes since the latest session.

    Raises:
        StudyError: the study cannot continue with these settings, the message is a table of the changes; or Optuna
            lacks trials that were trained.
    """
    before = recorded_settings(folder)
    if before is not None:
        _check_storage(folder, before.experiment.search.storage, loaded.experiment.search.storage)
    if before is not None or folder.trials.is_dir():
        check_records(folder, loaded.experiment)
        record_place(folder)
    changes = []
    if before is not None:
        tried = _tried(folder, loaded.experiment.search.storage)
        changes = compare_settings(before, loaded, [trial.params for trial in tried], moved=_moved(tried, loaded))
    refused = [change for change in changes if change.refusal is not None]
    if refused:
        table = "\n".join(f"  {line}" for line in describe_changes(refused))
        raise StudyError(
            f"study {folder.name} cannot continue with changed settings:\n{table}\n"
            f"undo these changes, or launch a new study that tries the best trials of this one first: "
            f"distune launch EXPERIMENT --name OTHER --warm-start {folder.name}"
        )
    if before is None or changes or _has_other_tracking(folder, loaded):
        write_settings(folder, loaded)
    if changes:
        line = {"at": time.time(), "changes": [dataclasses.asdict(change) for change in changes]}
        with folder.changes_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return changes


def write_settings(folder: StudyFolder, loaded: LoadedExperiment) -> None:
    """Write the settings of a study: its files for the user, and the record of the latest session."""
    experiment, space = loaded.experiment.to_dict(), loaded.space.to_dict()
    text = write_yaml(experiment)
    # An address may hold a secret, in whatever form.
    is_private = any(experiment[section][name] not in (None, JOURNAL) for section, name in ADDRESSES)
    write_atomically(folder.experiment_file, text.encode(), is_private=is_private or redact_uri(text) != text)
    write_atomically(folder.space_file, write_yaml(space).encode())
    # Without addresses, which may hold secrets. Those of tracking may change at any time.
    kept = {name: value for name, value in experiment.items() if name != "tracking"}
    kept["search"] = {**kept["search"], "storage": shown_storage(loaded.experiment.search.storage)}
    record = json.dumps({"experiment": kept, "space": space})
    write_atomically(folder.record_file, record.encode(), is_private=is_private)


def _has_other_tracking(folder: StudyFolder, loaded: LoadedExperiment) -> bool:
    """Return whether the folder's own file has other settings of tracking, which the record does not hold."""
    try:
        return folder.load().experiment.tracking != loaded.experiment.tracking
    except ConfigError:
        return True  # it is damaged, and the new settings come from another file


def _check_storage(folder: StudyFolder, before: str | None, now: str | None) -> None:
    """Refuse another storage. This comes first, because the trials are read from the storage."""
    if before != shown_storage(now):
        raise StudyError(
            f"study {folder.name} cannot continue with search.storage = {shown_storage(now)}: its trials are in "
            f"{before or folder.database.name}; undo this change"
        )


def _tried(folder: StudyFolder, setting: str | None) -> list[optuna.trial.FrozenTrial]:
    if not exists(folder, setting):
        return []
    with damage_reported(folder, setting), open_storage(folder, setting) as storage:
        return open_studies(storage, optuna_name(folder.identity(), setting))[0].get_trials()


def _moved(tried: Iterable[optuna.trial.FrozenTrial], loaded: LoadedExperiment) -> list[str]:
    """Return the paths whose values some trials drew from another range than the present one."""
    distributions = {path: distribution_of(parameter) for path, parameter in loaded.searched.items()}
    return [
        path
        for path, distribution in distributions.items()
        if any(trial.distributions.get(path, distribution) != distribution for trial in tried)
    ]
