"""The teacher of a study: trained once, stored under the hash of its settings and data, and reused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.metric_names import metric_name
from distune.data.splits import Splits
from distune.detectors.classes import class_table
from distune.detectors.zoo import with_known_epsilon
from distune.errors import TrialError
from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.evaluation.known_classes import evaluate_known
from distune.training.precision import autocast_dtype
from distune.training.solo_run import SoloRun
from distune.training.teacher_hash import teacher_hash
from distune.training.trial_folder import TrialFolder

_LOG = logging.getLogger(__name__)

OnProgress = Callable[[EpochReport, int], None]
"""Called after each epoch with its report and the total number of epochs."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher on disk.

    Attributes:
        hash: name of its folder.
        weights: file of its weights.
        metrics: on the search split, such as ``search/AP``.
        is_new: it was trained, or loaded and evaluated, by this call.
        unknown_classes: classes of the data that it does not know; its metrics are on the others.
    """

    hash: str
    weights: Path
    metrics: dict[str, float]
    is_new: bool = False
    unknown_classes: tuple[str, ...] = ()


def load_teacher(experiment: Experiment, splits: Splits, *, home: Home) -> Teacher | None:
    """Load the teacher of an experiment. Writes nothing.

    Args:
        experiment: names the teacher.
        splits: its data.
        home: holds the teachers.

    Returns:
        The teacher; None if it has not been prepared yet.

    Raises:
        WeightsError: the file of weights that the experiment names is missing.
    """
    name = teacher_hash(experiment, splits.fingerprint)
    return _load(name, TrialFolder(home.teachers / name))


def prepare_teacher(
    experiment: Experiment, splits: Splits, *, home: Home, device: torch.device, on_progress: OnProgress
) -> Teacher:
    """Load the teacher of an experiment; if it is new, train it, or evaluate the weights that the experiment names.

    If several processes need the same teacher, one prepares it and the others wait. Interrupted training resumes.

    Args:
        experiment: names the teacher.
        splits: its data.
        home: holds the teachers.
        device: of the training.
        on_progress: called after each epoch of training.

    Returns:
        The teacher.

    Raises:
        WeightsError: the weights that the experiment names are missing or do not fit.
        TrialError: training diverged.
    """
    name = teacher_hash(experiment, splits.fingerprint)
    folder = TrialFolder(home.teachers / name)
    builder = TrialBuilder(experiment, splits, device)
    if experiment.teacher_training is None:
        builder.teacher(None)  # raises if the weights do not fit, before anything is written
    folder.path.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.path / "teacher.lock"):
        teacher = _load(name, folder)
        if teacher is None:
            _set_damaged_aside(folder, is_trained=experiment.teacher_training is not None)
            if experiment.teacher_training is None:
                summary = _evaluate_given(builder, folder)
            else:
                summary = {"metrics": _train(builder, folder, on_progress), "classes": list(splits.classes)}
            summary = {"unknown_classes": [], **summary, "detector": _settings(experiment)}
            summary["sha256"] = _sha256(folder.best_checkpoint)
            write_atomically(_summary_file(folder), json.dumps(summary, indent=2).encode())
            for path in (folder.last_checkpoint, folder.previous_checkpoint):
                path.unlink(missing_ok=True)
            teacher = _load(name, folder, is_new=True)
            assert teacher is not None
    if teacher.unknown_classes:
        _LOG.warning(
            "the teacher does not know the classes %s: its average precision is measured on the others",
            ", ".join(teacher.unknown_classes),
        )
    return teacher


def _load(name: str, folder: TrialFolder, *, is_new: bool = False) -> Teacher | None:
    """Load a teacher; None when there is none, or its files are damaged."""
    try:
        summary = json.loads(read_bounded(_summary_file(folder)))
        metrics = {str(metric): float(value) for metric, value in summary["metrics"].items()}
        expected, unknown = summary.get("sha256"), tuple(summary.get("unknown_classes", ()))
        is_intact = (
            checkpoint.is_intact(folder.best_checkpoint)  # of an earlier version
            if expected is None
            else is_new or _sha256(folder.best_checkpoint) == expected
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not is_intact:
        return None
    return Teacher(name, folder.best_checkpoint, metrics, is_new=is_new, unknown_classes=unknown)


def _set_damaged_aside(folder: TrialFolder, *, is_trained: bool) -> None:
    """Keep the files of a teacher that cannot be loaded under another name, so that it is prepared from the start."""
    if not _summary_file(folder).exists():
        return  # it has never been prepared as a whole
    _LOG.warning(
        "the teacher in %s is damaged: it is %s again; the former files end in .damaged",
        folder.path,
        "trained" if is_trained else "evaluated",
    )
    for path in (folder.best_checkpoint, folder.metrics_file, _summary_file(folder)):
        if path.exists():
            path.replace(path.with_name(f"{path.name}.damaged"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _summary_file(folder: TrialFolder) -> Path:
    return folder.path / "teacher.json"


def _train(builder: TrialBuilder, folder: TrialFolder, on_progress: OnProgress) -> dict[str, float]:
    experiment = builder.experiment
    training = experiment.teacher_training
    assert training is not None
    metric = metric_name(experiment)
    run = SoloRun(
        builder,
        experiment.teacher,
        training,
        seed=training.seed,
        teacher=None,
        folder=folder,
        metric=metric,
        num_pictures=experiment.tracking.pictures,
    )
    for note in run.notes:
        _LOG.warning("teacher: %s", note)
    try:
        while run.epochs_done < training.epochs:
            report = run.run_epoch()
            if (reason := report.divergence(metric)) is not None:
                raise TrialError(
                    f"the teacher's training diverged ({reason}); lower "
                    f"teacher_training.optimizer.learning_rate = {training.optimizer.learning_rate:g}"
                )
            on_progress(report, training.epochs)
    finally:
        run.close()
    return max(folder.reports(), key=lambda report: report.metrics[metric]).metrics


def _evaluate_given(builder: TrialBuilder, folder: TrialFolder) -> dict[str, Any]:
    """Evaluate a teacher with given weights, and store it like a trained one, with its own class list."""
    experiment = builder.experiment
    teacher = builder.teacher(None)
    teacher.model.to(builder.device)
    metrics = evaluate_known(
        teacher,
        builder.splits.search,
        device=builder.device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, builder.device),
    )
    table = class_table(teacher)
    classes = list(builder.splits.classes if table is None else table.teacher)
    state: dict[str, Any] = {
        "model": teacher.model.state_dict(),
        "classes": classes,
        "detector": _settings(experiment),
    }
    checkpoint.save(state, folder.best_checkpoint)
    return {
        "metrics": {f"search/{name}": value for name, value in metrics.items()},
        "classes": classes,
        "unknown_classes": [] if table is None else list(table.unknown),
    }


def _settings(experiment: Experiment) -> dict[str, Any]:
    return with_known_epsilon(experiment.teacher).model_dump(mode="json")
