"""The teacher of a study: trained once, kept under the hash of all that constants it, and used again."""

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
from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.home import Home
from distune.config.metric_names import metric_name
from distune.data.splits import Splits
from distune.detectors.classes import class_table
from distune.detectors.weights import is_torchvision_name
from distune.errors import TrialError, WeightsError
from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.builder import TrialBuilder
from distune.training.evaluation.known_classes import evaluate_known
from distune.training.precision import autocast_dtype
from distune.training.student_run import SoloRun
from distune.training.trial_folder import TrialFolder

_LOG = logging.getLogger(__name__)

Progress = Callable[[EpochReport, int], None]
"""Told after each epoch: the report, and the epochs in all."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher that is ready.

    Attributes:
        hash: names its folder.
        weights: the file of its weights.
        metrics: on the search split, ``search/AP`` and the like.
        was_ready: whether it was there already.
        unknown_classes: those of the data that it does not know; its metrics are about the others.
    """

    hash: str
    weights: Path
    metrics: dict[str, float]
    was_ready: bool
    unknown_classes: tuple[str, ...] = ()


def teacher_hash(experiment: Experiment, fingerprint: str) -> str:
    """The hash of everything that decides a teacher: detector, training, images as it sees them, and the data."""
    data = experiment.data
    return content_hash(
        {
            "detector": {
                **experiment.teacher.model_dump(mode="json"),
                "weights": _identity(experiment.teacher.weights),
                "backbone_weights": _identity(experiment.teacher.backbone_weights),
            },
            "training": None if experiment.teacher_training is None else experiment.teacher_training.model_dump(),
            "images": {
                "min_size_px": data.min_size_px,
                "max_size_px": data.max_size_px,
                "augmentation": data.augmentation.model_dump(),
            },
            "data": fingerprint,
            "metric": experiment.search.metric,
        }
    )


def find_teacher(experiment: Experiment, splits: Splits, *, home: Home) -> Teacher | None:
    """The teacher of an experiment when it is there already, None otherwise. Writes nothing.

    Raises:
        WeightsError: the file of weights that the experiment names is missing.
    """
    name = teacher_hash(experiment, splits.fingerprint)
    return _ready(name, TrialFolder(home.teachers / name))


def prepare_teacher(
    experiment: Experiment, splits: Splits, *, home: Home, device: torch.device, progress: Progress
) -> Teacher:
    """The teacher of an experiment: found, or trained, or loaded and evaluated.

    Several processes may ask for the same teacher; one trains it and the others wait. Training that was interrupted
    goes on after its last epoch.

    Raises:
        WeightsError: the weights that the experiment names are missing or do not fit.
        TrialError: training diverged.
    """
    name = teacher_hash(experiment, splits.fingerprint)
    folder = TrialFolder(home.teachers / name)
    builder = TrialBuilder(experiment, splits, device)
    if experiment.teacher_training is None:
        builder.teacher(None)  # refuses weights that do not fit before anything is written
    folder.path.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.path / "teacher.lock"):
        found = _ready(name, folder)
        if found is None:
            if experiment.teacher_training is None:
                summary = _adopt(builder, folder)
            else:
                summary = {"metrics": _train(builder, folder, progress), "classes": list(splits.classes)}
            summary = {"unknown_classes": [], **summary, "detector": _settings(experiment)}
            write_atomically(_summary_file(folder), json.dumps(summary, indent=2).encode())
            for path in (folder.last_checkpoint, folder.previous_checkpoint):
                path.unlink(missing_ok=True)
            found = dataclasses.replace(_read(name, folder), was_ready=False)
    if found.unknown_classes:
        _LOG.warning(
            "the teacher does not know the classes %s: its average precision is measured on the others",
            ", ".join(found.unknown_classes),
        )
    return found


def _ready(name: str, folder: TrialFolder) -> Teacher | None:
    return _read(name, folder) if _summary_file(folder).is_file() else None


def _read(name: str, folder: TrialFolder) -> Teacher:
    summary = json.loads(_summary_file(folder).read_text())
    return Teacher(
        name,
        folder.best_checkpoint,
        summary["metrics"],
        was_ready=True,
        unknown_classes=tuple(summary.get("unknown_classes", ())),
    )


def _summary_file(folder: TrialFolder) -> Path:
    return folder.path / "teacher.json"


def _train(builder: TrialBuilder, folder: TrialFolder, progress: Progress) -> dict[str, float]:
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
            if not report.is_finite(metric):
                raise TrialError(
                    f"the teacher's training diverged in epoch {report.epoch}; lower "
                    f"teacher_training.optimizer.learning_rate = {training.optimizer.learning_rate:g}"
                )
            progress(report, training.epochs)
    finally:
        run.close()
    return max(folder.reports(), key=lambda report: report.metrics[metric]).metrics


def _adopt(builder: TrialBuilder, folder: TrialFolder) -> dict[str, Any]:
    """A teacher that came with weights: evaluate it once and keep it like a trained one, with its own classes."""
    experiment = builder.experiment
    teacher = builder.teacher(None)
    teacher.model.to(builder.device)
    figures = evaluate_known(
        teacher,
        builder.splits.search,
        device=builder.device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, builder.device),
    )
    table = class_table(teacher)
    classes = list(builder.splits.classes if table is None else table.own)
    state: dict[str, Any] = {
        "model": teacher.model.state_dict(),
        "classes": classes,
        "detector": _settings(experiment),
    }
    checkpoint.save(state, folder.best_checkpoint)
    return {
        "metrics": {f"search/{name}": value for name, value in figures.items()},
        "classes": classes,
        "unknown_classes": [] if table is None else list(table.unknown),
    }


def _identity(weights: str | None) -> str | None:
    """What tells weights apart: torchvision's name, or the hash of a file's content, wherever the file lies.

    Raises:
        WeightsError: there is no such file.
    """
    if weights is None or is_torchvision_name(weights):
        return weights
    try:
        with Path(weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights {weights}: there is no such file, or it cannot be read: {error}") from None


def _settings(experiment: Experiment) -> dict[str, Any]:
    return experiment.teacher.model_dump(mode="json")
