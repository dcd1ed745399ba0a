"""The teacher of a study: trained once, kept under the hash of all that decided it, and used again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from distune.config.experiment import Experiment
from distune.config.hashing import content_hash
from distune.config.home import Home
from distune.data.build import Splits
from distune.detectors.weights import is_torchvision_name
from distune.errors import TrialError, WeightsError
from distune.records import EpochReport
from distune.training import checkpoint
from distune.training.assembly import Bench
from distune.training.evaluate import evaluate
from distune.training.folder import TrialFolder, write_atomically
from distune.training.precision import autocast_dtype
from distune.training.run import SoloRun

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
    """

    hash: str
    weights: Path
    metrics: dict[str, float]
    was_ready: bool


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
    summary_file = folder.path / "teacher.json"
    bench = Bench(experiment, splits, device)
    if experiment.teacher_training is None:
        bench.teacher(None)  # refuses weights that do not fit before anything is written
    folder.path.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.path / "teacher.lock"):
        if summary_file.is_file():
            summary = json.loads(summary_file.read_text())
            return Teacher(name, folder.best_checkpoint, summary["metrics"], was_ready=True)
        metrics = _adopt(bench, folder) if experiment.teacher_training is None else _train(bench, folder, progress)
        summary = {"metrics": metrics, "classes": list(splits.classes), "detector": _settings(experiment)}
        write_atomically(summary_file, json.dumps(summary, indent=2).encode())
        folder.last_checkpoint.unlink(missing_ok=True)
    return Teacher(name, folder.best_checkpoint, metrics, was_ready=False)


def _train(bench: Bench, folder: TrialFolder, progress: Progress) -> dict[str, float]:
    experiment = bench.experiment
    training = experiment.teacher_training
    assert training is not None
    metric = f"search/{experiment.search.metric}"
    run = SoloRun(
        bench,
        experiment.teacher,
        training,
        seed=training.seed,
        teacher=None,
        folder=folder,
        metric=metric,
        num_pictures=experiment.tracking.pictures,
    )
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


def _adopt(bench: Bench, folder: TrialFolder) -> dict[str, float]:
    """A teacher that came with weights: evaluate it once and keep it like a trained one."""
    experiment = bench.experiment
    teacher = bench.teacher(None)
    teacher.model.to(bench.device)
    figures = evaluate(
        teacher.model,
        bench.splits.search,
        device=bench.device,
        batch_size=experiment.training.batch_size,
        autocast_dtype=autocast_dtype(experiment.training.precision, bench.device),
    )
    state: dict[str, Any] = {
        "model": teacher.model.state_dict(),
        "classes": list(bench.splits.classes),
        "detector": _settings(experiment),
    }
    checkpoint.save(state, folder.best_checkpoint)
    return {f"search/{name}": value for name, value in figures.items()}


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
