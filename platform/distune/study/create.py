"""Creates the folder of a study: whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
import uuid
from pathlib import Path

import distune
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.config.metric_names import metric_name
from distune.errors import StudyError
from distune.study.files.study_folder import Runner, StudyFolder, StudyIdentity
from distune.study.resources import check_resources
from distune.study.search.samplers import check_sampler
from distune.study.settings_update import revise
from distune.study.storage.optuna_storage import STORAGE_ERRORS, open_studies, reason_of
from distune.study.storage.storage_url import check_storage, open_storage, optuna_name


def create_study(
    loaded: LoadedExperiment, home: Home, *, name: str, simulate: bool, runner: Runner, replace: bool
) -> StudyFolder:
    """Create a study. Nothing is trained yet, and nothing is written when something is wrong.

    Args:
        loaded: the experiment and its space.
        home: where studies are kept.
        name: of the study.
        simulate: make up learning curves instead of training.
        runner: what its trials run on.
        replace: remove an earlier study of that name, unless it is running.

    Raises:
        StudyError: the name is in use, or the study to be replaced is running.
        UsageError: the name is no file name, or there can be no such storage.
        ResourceError: the machine does not have what a trial or the sampler asks for.
    """
    target = StudyFolder(home.study(name))
    check_resources(loaded.experiment.resources, simulate=simulate)
    check_sampler(loaded.experiment.search.sampler)
    check_storage(loaded.experiment.search.storage)
    if target.path.exists() and not replace:
        raise _in_use(name)
    identity = StudyIdentity(
        name=name,
        key=uuid.uuid4().hex,
        created_at=time.time(),
        simulate=simulate,
        runner=runner,
        metric=metric_name(loaded.experiment),
        version=distune.__version__,
    )
    fresh = StudyFolder(home.studies / f".{name}.{identity.key}.new")
    try:
        fresh.path.mkdir(parents=True)
        fresh.study_file.write_text(json.dumps(dataclasses.asdict(identity), indent=1), encoding="utf-8")
        revise(fresh, loaded)
        search = loaded.experiment.search
        with open_storage(fresh, search.storage) as storage:
            open_studies(storage, optuna_name(identity, search.storage), num_costs=len(search.costs))
        if target.path.exists():
            _remove(target)
        _rename(fresh.path, target)
    except STORAGE_ERRORS as error:
        raise StudyError(f"study {name} cannot be made in {home.studies}: {reason_of(error)}") from error
    finally:
        shutil.rmtree(fresh.path, ignore_errors=True)
    return target


def _remove(study: StudyFolder) -> None:
    """Remove a study that is not running; under another name first, so that it is never half there."""
    trash = study.path.with_name(f".{study.name}.{uuid.uuid4().hex}.old")
    with study.lock():
        study.path.rename(trash)
    shutil.rmtree(trash)


def _rename(source: Path, target: StudyFolder) -> None:
    try:
        source.rename(target.path)
    except OSError:
        # Another launch was faster: a folder can only be renamed over an empty one.
        raise _in_use(target.name) from None


def _in_use(name: str) -> StudyError:
    return StudyError(
        f"study {name} exists already: go on with it (distune resume {name}), give this one another name "
        f"(--name OTHER), or start anew (--replace)"
    )
