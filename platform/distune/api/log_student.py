"""Logs an exported student to MLflow as a model, and registers it with the verdict of the study."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from distune.api.export_student import Export
from distune.api.preparation import open_data
from distune.api.study_models import StudyModel, find_model
from distune.config.home import Home
from distune.errors import StudyError, UsageError
from distune.study.callback import StudyCallback
from distune.study.files.study_folder import StudyFolder
from distune.study.status import StudyStatus, best_trial
from distune.study.trial_progress import best_epoch
from distune.training.trial_folder import TrialFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distune.tracking.logged_student import LoggedStudent

_PACKAGES = ("mlflow", "torch", "torchvision", "numpy", "pandas", "pillow")


def log_student_model(
    folder: StudyFolder,
    home: Home,
    status: StudyStatus,
    export: Export,
    *,
    register: str | None,
    alias: str | None,
    callback: StudyCallback,
) -> LoggedStudent:
    """Log an exported student to MLflow; see ``Study.log_model``.

    Args:
        folder: of the study.
        home: has the default store.
        status: of the study.
        export: of format ``torchvision``.
        register: name in the model registry; None does not register it.
        alias: of the registered version.
        callback: receives messages.

    Returns:
        The model in MLflow.

    Raises:
        StudyError: the study is not tracked.
        UsageError: the export has another format, is of the teacher, or MLflow does not take the model.
    """
    from distune.export.templates import render
    from distune.export.torchvision_format import PROGRAM_FILE, WEIGHTS_FILE
    from distune.tracking.build import follow_home
    from distune.tracking.logged_student import StudentFiles, log_student
    from distune.tracking.run_names import experiment_name

    experiment, identity = folder.load().experiment, folder.identity()
    if not experiment.tracking.enabled:
        raise StudyError(f"study {status.study}: it is not tracked, since tracking.enabled = false")
    check_model_options(export.format, register=register, alias=alias)
    model = _model_of(folder, home, status, export)
    if experiment.tracking.uri is None:
        follow_home(home)
    uses_timm = "timm" in export.notes.get("needs", "")
    callback.on_message("export: logging the student to MLflow")
    epoch = best_epoch(TrialFolder(model.weights.parent).reports(), status.metric)
    verdict = _verdict(status, model)
    return log_student(
        experiment.tracking.uri or home.tracking_uri,
        experiment=experiment_name(experiment.tracking.experiment, experiment.name, simulated=identity.simulate),
        study_key=identity.tracking_key,
        trial=_run_key(model),
        name=f"{status.study}-{model.name}",
        files=StudentFiles(
            model=render("mlflow_model.py.j2"),
            program=export.folder / PROGRAM_FILE,
            weights=export.folder / WEIGHTS_FILE,
            requirements=_requirements((*_PACKAGES, "timm") if uses_timm else _PACKAGES),
            example=_example(model, callback),
        ),
        best=epoch,
        params={path: str(value) for path, value in (model.record.params if model.record else {}).items()},
        tags={"distune.study": status.study, "distune.trial": model.name, "distune.verdict": verdict},
        description=f"{verdict}\n\n{_card(export)}",
        register=register,
        alias=alias,
    )


def check_model_options(format_name: str, *, register: str | None, alias: str | None) -> None:
    """Raise ``UsageError`` for options that do not fit, before anything is exported."""
    if format_name != "torchvision":
        raise UsageError(f"format {format_name}: MLflow gets the format torchvision (--format torchvision)")
    if alias is not None and register is None:
        raise UsageError("an alias needs a registered model (--register NAME)")


def _card(export: Export) -> str:
    """Return the model card without its header."""
    return (export.folder / "model_card.md").read_text(encoding="utf-8").split("---", 2)[-1].strip()


def _model_of(folder: StudyFolder, home: Home, status: StudyStatus, export: Export) -> StudyModel:
    if export.is_confirmed:
        return find_model(folder, home, status, None)
    model = find_model(folder, home, status, export.name)
    if model.record is None:
        raise UsageError("the teacher has no run in MLflow: export a trial")
    return model


def _run_key(model: StudyModel) -> str:
    """Return the key of the run in MLflow: that of the confirmation for a confirmed student."""
    return f"confirm-{model.name}-seed-{model.seed}" if model.is_confirmed else model.name


def _verdict(status: StudyStatus, model: StudyModel) -> str:
    if model.is_confirmed and status.confirmation is not None:
        return f"{status.confirmation.summary}, {status.confirmation.split} split"
    if model.record is not None and model.record.control:
        return "trained without distillation"
    leader, gain = best_trial(status)
    known = f"gain {gain:+.1f} in the search" if gain is not None and leader.key == model.name else "gain unknown"
    return f"{known}; not confirmed: one seed"


def _example(model: StudyModel, callback: StudyCallback) -> NDArray[np.uint8]:
    """Return the first search image, uint8 (1, H, W, 3)."""
    splits = open_data(model.experiment, on_message=callback.on_message, decode=False)
    pixels: Any = splits.search.image(0).permute(1, 2, 0).contiguous().numpy()
    image: NDArray[np.uint8] = pixels[None]
    return image


def _requirements(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Return the packages with the versions in use, without local parts such as ``+cu132``."""
    return tuple(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in packages)
