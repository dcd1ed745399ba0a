"""Files of a trial: those that the tracker gets, and those that are removed when the trial has ended."""

from __future__ import annotations

import json
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.yaml import write_yaml
from distune.records import Outcome, TrialSpec
from distune.study.files.study_folder import StudyFolder
from distune.study.trial_spec import ADDRESSES
from distune.tracking.tracker import Tracker
from distune.tracking.uris import redact_uri, shown_address
from distune.training.trial_folder import TrialFolder

ERROR_FILE = "error.txt"
"""Traceback of a trial that failed."""
TRIAL_FILE = "trial.json"
"""The specification of a trial, its resolved experiment included."""
_PATHS = ("folder", "teacher_weights")
PICTURES_FOLDER = "pictures"
"""Figures of a trial."""
STUDENT_FOLDER = "student"
"""The student of a finished trial, at its best epoch."""


def write_trial_file(spec: TrialSpec) -> None:
    """Write the specification of a trial into its folder, with paths relative to the home, which may be moved."""
    values, home = dict(vars(spec)), Home.around(Path(spec.folder))
    if home is not None:
        values |= {name: home.relative(values[name]) for name in _PATHS if values[name] is not None}
    write_atomically(Path(spec.folder) / TRIAL_FILE, json.dumps(values, indent=1).encode())


def trial_artifacts(folder: TrialFolder, outcome: Outcome) -> list[tuple[Path, str]]:
    """Return the files of a trial for the tracker, each with its artifact folder."""
    found = [(folder.path / name, "") for name in (TRIAL_FILE, ERROR_FILE)]
    pictures = folder.path / PICTURES_FOLDER
    found += [(path, PICTURES_FOLDER) for path in sorted(pictures.glob("*"))]
    if outcome is Outcome.FINISHED:
        found.append((folder.best_checkpoint, STUDENT_FOLDER))
        found += [(path, STUDENT_FOLDER) for path in folder.prototype_files()]
    return [(path, target) for path, target in found if path.is_file()]


def shown_settings(experiment: Experiment) -> str:
    """Return an experiment as YAML, without the secrets of its addresses."""
    values = experiment.to_dict()
    for section, name in ADDRESSES:
        address = values[section][name]
        values[section] = {**values[section], name: None if address is None else shown_address(address)}
    return redact_uri(write_yaml(values))


def log_settings(folder: StudyFolder, experiment: Experiment, tracker: Tracker) -> None:
    """Log the experiment and the space of a study, without the secrets of its addresses.

    The experiment in the study's folder keeps them, because resuming needs them.
    """
    shown = shown_settings(experiment)
    path = folder.experiment_file
    if shown != path.read_text(encoding="utf-8"):
        path = folder.path / "report" / path.name
        write_atomically(path, shown.encode())
    tracker.log_file(None, path, "")
    tracker.log_file(None, folder.space_file, "")


def log_artifacts(tracker: Tracker, key: str, folder: TrialFolder, outcome: Outcome) -> None:
    """Log the files of a trial that has ended."""
    for path, target in trial_artifacts(folder, outcome):
        tracker.log_file(key, path, target)


def clean_up(folder: TrialFolder, outcome: Outcome) -> None:
    """Remove files that are no longer needed: the previous checkpoint, and weights of a stopped or diverged trial."""
    folder.previous_checkpoint.unlink(missing_ok=True)
    if outcome in (Outcome.STOPPED, Outcome.DIVERGED):
        folder.last_checkpoint.unlink(missing_ok=True)
        for path in (folder.best_checkpoint, *folder.prototype_files()):
            path.unlink(missing_ok=True)
