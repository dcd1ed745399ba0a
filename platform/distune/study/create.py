"""Creates the folder of a study, atomically."""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

from filelock import FileLock

from distune.config.experiment import MAX_NAME_LENGTH
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.config.metric_names import metric_name
from distune.errors import StudyError, UsageError
from distune.study.files.session_files import LOCK, remove_abandoned
from distune.study.files.study_folder import RUNNERS, Runner, StudyFolder, StudyIdentity
from distune.study.preflight import check_before_start
from distune.study.settings_update import update_settings
from distune.study.storage.optuna_storage import STORAGE_ERRORS, open_studies, reason_of
from distune.study.storage.storage_url import open_storage, optuna_name
from distune.version import VERSION

_SIMULATED = "-simulated"
_NEW, _OLD = ".new", ".old"
_KEY_PATTERN = 32 * "[0-9a-f]"


def create_study(
    loaded: LoadedExperiment, home: Home, *, name: str, simulate: bool, runner: Runner, replace: bool
) -> StudyFolder:
    """Create a study without training anything. On an error, nothing is written.

    Args:
        loaded: the experiment and its space.
        home: folder of all studies.
        name: of the study.
        simulate: simulate learning curves instead of training.
        runner: runner of its trials.
        replace: remove an existing study of that name, unless it is running.

    Returns:
        The folder of the study.

    Raises:
        StudyError: the name is in use, the study to replace is running or was trained while this one is simulated, or
            the folder cannot be written.
        UsageError: the name is no valid file name, or the storage is not supported.
        ResourceError: this machine lacks resources for one trial, or the package of the sampler.
    """
    target = StudyFolder(home.study(name))
    check_before_start(loaded.experiment, simulate=simulate)
    check_name_and_runner(home, name, runner, replace=replace, simulate=simulate)
    identity = StudyIdentity(
        name=name,
        key=uuid.uuid4().hex,
        created_at=time.time(),
        simulate=simulate,
        runner=runner,
        metric=metric_name(loaded.experiment),
        version=VERSION,
    )
    remove_unfinished(home)
    fresh = StudyFolder(home.studies / f".{name}.{identity.key}{_NEW}")
    lock = FileLock(fresh.path / LOCK, timeout=0)  # shows other launches that this one lives
    try:
        fresh.path.mkdir(parents=True)
        lock.acquire()
        fresh.write_identity(identity)
        update_settings(fresh, loaded)
        search = loaded.experiment.search
        with open_storage(fresh, search.storage) as storage:
            open_studies(storage, optuna_name(identity, search.storage), num_costs=len(search.costs))
        if target.path.exists():
            _remove(target)
        _rename(fresh.path, target)
    except STORAGE_ERRORS as error:
        raise StudyError(f"study {name} cannot be created in {home.studies}: {reason_of(error)}") from error
    finally:
        lock.release()
        shutil.rmtree(fresh.path, ignore_errors=True)
    return target


def remove_unfinished(home: Home) -> None:
    """Remove folders of launches that were killed while they created or replaced a study.

    Args:
        home: folder of all studies.
    """
    if home.studies.is_dir():
        remove_abandoned(path for end in (_NEW, _OLD) for path in home.studies.glob(f".*.{_KEY_PATTERN}{end}"))


def default_name(experiment: str, *, simulate: bool) -> str:
    """Return the name of a study that was given none: the experiment's, with a suffix for a simulated study."""
    return f"{experiment[: MAX_NAME_LENGTH - len(_SIMULATED)]}{_SIMULATED}" if simulate else experiment


def check_name_and_runner(home: Home, name: str, runner: Runner, *, replace: bool, simulate: bool) -> None:
    """Check the name of a new study and its runner.

    Args:
        home: folder of all studies.
        name: of the study.
        runner: of its trials.
        replace: whether an existing study of that name is removed.
        simulate: whether the new study is simulated.

    Raises:
        StudyError: a study of that name exists and is kept; a simulated study does not replace one that was trained.
        UsageError: the runner is unknown, or the name is not valid.
    """
    if runner not in RUNNERS:
        raise UsageError(f"runner {runner}: must be one of {', '.join(RUNNERS)}")
    existing = StudyFolder(home.study(name))
    if not existing.path.exists():
        return
    is_simulated = existing.study_file.is_file() and existing.identity().simulate
    if simulate and not is_simulated and existing.study_file.is_file():
        raise StudyError(
            f"study {name} exists already and is not simulated, so a simulated study does not take its name; choose "
            f"another one (--name {default_name(name, simulate=True)})"
        )
    if not replace:
        raise _name_in_use(name, is_simulated=is_simulated and not simulate)


def _remove(study: StudyFolder) -> None:
    """Remove a study that is not running. It is renamed first, so that no half of it is ever visible."""
    trash = study.path.with_name(f".{study.name}.{uuid.uuid4().hex}{_OLD}")
    with study.lock():
        study.path.rename(trash)
    shutil.rmtree(trash)


def _rename(source: Path, target: StudyFolder) -> None:
    try:
        source.rename(target.path)
    except OSError:
        # Another launch was faster: a folder can replace only an empty folder.
        raise _name_in_use(target.name) from None


def _name_in_use(name: str, *, is_simulated: bool = False) -> StudyError:
    if is_simulated:
        return StudyError(
            f"study {name} exists already and is simulated: replace it (--replace), or choose another name "
            f"(--name OTHER)"
        )
    return StudyError(
        f"study {name} exists already: resume it (distune resume {name}), choose another name (--name OTHER, in "
        f"Python name=OTHER), or replace it (--replace, in Python replace=True)"
    )
