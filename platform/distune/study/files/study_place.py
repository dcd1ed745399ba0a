"""The place of a study's folder at its latest session, by which a copy in another home is noticed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.config.experiment import Experiment
from distune.errors import StudyError
from distune.study.files.study_folder import StudyFolder

PLACE_FILE = "place.json"
_JOURNAL = "journal"


def original_of(folder: StudyFolder, experiment: Experiment) -> str | None:
    """Return the study that a folder was copied from, while both have the same key.

    A copy in another home has its own MLflow store and Optuna file there. Only if it shares a tracking server or a
    database with the first study, both would write into the same records.

    Args:
        folder: of the study.
        experiment: of the study.

    Returns:
        The name of a study in the same home, or the folder of one in another home; None for a study that has its own
        key, and for one that was moved or renamed.

    Raises:
        StudyError: the identity of the study is damaged.
    """
    beside = folder.copied_from()
    if beside is not None or not _is_shared(experiment):
        return beside
    former = _recorded_place(folder)
    if former is None or former == folder.path.absolute() or _is_same(former, folder.path):
        return None
    other = StudyFolder(former)
    with contextlib.suppress(StudyError):
        return str(former) if other.identity().key == folder.identity().key else None
    return None


def record_place(folder: StudyFolder) -> None:
    """Record the place of a study's folder. The caller holds the study's lock, and has checked that it is no copy."""
    place = folder.path.absolute()
    if _recorded_place(folder) != place:
        write_atomically(folder.path / PLACE_FILE, json.dumps({"folder": str(place)}).encode())


def _is_shared(experiment: Experiment) -> bool:
    has_server = experiment.tracking.enabled and experiment.tracking.uri is not None
    return has_server or experiment.search.storage not in (None, _JOURNAL)


def _recorded_place(folder: StudyFolder) -> Path | None:
    """Return the recorded place; None for a study of an earlier version, and when the file is damaged."""
    try:
        place = json.loads(read_bounded(folder.path / PLACE_FILE))["folder"]
        return Path(place) if isinstance(place, str) and "\0" not in place else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same study, such as by a link or a disk that is mounted twice."""
    try:
        first, second = ((path / "study.json").stat() for path in (one, other))
    except (OSError, ValueError):
        return False
    # The number of a device differs where a network disk is mounted twice; no copy has the same time of change.
    return first.st_ino == second.st_ino and first.st_ctime_ns == second.st_ctime_ns
