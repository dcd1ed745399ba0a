"""Training and scoring without a search: one student, one teacher, one checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from filelock import FileLock, Timeout

from distune.api.evaluation import SplitChoice, score_file
from distune.api.preparation import check_all_weights, describe_data, open_data, ready_teacher
from distune.api.progress import open_callbacks
from distune.config.experiment import Experiment, without_distillation
from distune.config.hashing import content_hash
from distune.config.home import Home
from distune.config.load import ExperimentLike, load_experiment, trial_experiment
from distune.config.training_identity import experiment_identity
from distune.errors import DataError, TrialError, UsageError
from distune.records import EpochReport, Outcome, TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.files.artifacts import write_trial_file
from distune.study.files.recorded_spec import recorded_values, spec_mismatch
from distune.study.resources import this_machine, trial_resources
from distune.study.trial_progress import TrialProgress
from distune.training.trial_folder import TrialFolder

if TYPE_CHECKING:
    from distune.training.teacher import Teacher

_TAKEOVER_TIMEOUT_S = 5.0
"""Time to wait until a process that was killed releases a folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """A student that was trained without a search.

    Attributes:
        folder: folder with its metrics and checkpoints.
        weights: file of the student at its best epoch.
        best: report of the best epoch.
        metric: metric by which it is the best, such as ``search/AP``.
    """

    folder: Path
    weights: Path
    best: EpochReport
    metric: str


def train(
    experiment: ExperimentLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    control: bool = False,
    folder: str | PathLike[str] | None = None,
    callbacks: Sequence[StudyCallback] | None = None,
    home: str | PathLike[str] | None = None,
) -> TrainedStudent:
    """Train one student with an experiment's own values, without a search.

    Args:
        experiment: a shipped experiment's name, a YAML file, plain data, or an ``Experiment``.
        overrides: path to value, applied over the experiment.
        control: train without distillation.
        folder: where metrics and checkpoints go: a new or empty folder, or one of an interrupted training with the
            same settings, which is continued. A folder in ``HOME/trained`` when None.
        callbacks: receive the events; None shows progress on standard error, an empty list shows nothing.
        home: folder of teachers and trained students; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The student's files and its best epoch.

    Raises:
        ConfigError: the experiment is wrong.
        DataError: images or annotations are missing or too damaged.
        UsageError: the folder holds other files, or a training with other settings, or another process trains in it.
        TrialError: training diverged.
    """
    from distune.training.open_run import open_run
    from distune.training.teacher_hash import teacher_hash

    with open_callbacks(callbacks) as callback:
        loaded = load_experiment(experiment, overrides=overrides, check_space=False).experiment
        root = Home.at(home)
        values = _with_counted_gpus(trial_experiment(loaded, {}), loaded)
        values = without_distillation(values) if control else values
        splits = open_data(loaded, on_message=callback.on_message)
        callback.on_message(f"data: {describe_data(splits)}")
        needs_teacher = loaded.distillation.is_active and not control
        check_all_weights(loaded, splits, download=True, on_message=callback.on_message, with_teacher=needs_teacher)
        weights = TrialFolder(root.teachers / teacher_hash(loaded, splits.fingerprint)).best_checkpoint
        spec = TrialSpec(
            study="",
            number=-1 if control else 0,
            control=control,
            seed=loaded.training.seed,
            num_epochs=loaded.training.epochs,
            params={},
            experiment=values,
            folder=str(folder or root.root / "trained" / f"{loaded.name}-{content_hash(experiment_identity(values))}"),
            teacher_weights=str(weights) if needs_teacher else None,
            data_fingerprint=splits.fingerprint,
        )
        _check_folder(spec, is_given=folder is not None)
        if needs_teacher:
            ready_teacher(loaded, splits, root, on_message=callback.on_message)
        write_trial_file(spec)
        files, progress = TrialFolder.of(spec), TrialProgress(spec, spec.metric)
        with _locked(files.path):
            run = open_run(spec)
            callback.on_trial_start(spec)
            try:
                while run.epochs_done < spec.num_epochs:
                    report = run.run_epoch()
                    warnings = progress.add_epoch(report)
                    if (reason := report.divergence(spec.metric)) is not None:
                        raise TrialError(f"training diverged ({reason}); lower training.optimizer.learning_rate")
                    callback.on_epoch_end(spec, report, Decision.STOP if progress.is_done else Decision.CONTINUE)
                    for warning in warnings:
                        callback.on_message(f"warning: {warning}")
            finally:
                run.close()
        callback.on_trial_end(progress.record(Outcome.FINISHED))
        best = max(files.reports(), key=lambda each: each.metrics[spec.metric])
        return TrainedStudent(folder=files.path, weights=files.best_checkpoint, best=best, metric=spec.metric)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder. Raises ``UsageError`` while one trains in it."""
    lock = FileLock(folder / "work.lock")
    try:
        lock.acquire(timeout=_TAKEOVER_TIMEOUT_S)
    except Timeout:
        raise UsageError(f"another process trains in {folder}; wait for it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()


def _check_folder(spec: TrialSpec, *, is_given: bool) -> None:
    """Refuse a folder that holds anything but a training of this specification."""
    place = Path(spec.folder)
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is a file; name a new folder, or an empty one")
    mismatch = spec_mismatch(place, spec)
    if mismatch is None or (not is_given and recorded_values(place) is None):
        return  # an earlier version recorded no specification; the name of its folder has the hash of the settings
    what = "other files" if recorded_values(place) is None else f"a training {mismatch}"
    raise UsageError(f"{place} holds {what}; name a new folder, or an empty one")


def _with_counted_gpus(values: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Replace ``auto`` by the GPUs of a trial here, which are part of the name of the folder."""
    resources = experiment.resources
    gpus = trial_resources(resources, [this_machine(resources)], simulate=False).gpus
    return {**values, "resources": {**values["resources"], "gpus_per_trial": gpus}}


def prepare_teacher(
    experiment: ExperimentLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    callbacks: Sequence[StudyCallback] | None = None,
    home: str | PathLike[str] | None = None,
) -> Teacher:
    """Train the teacher of an experiment, or find it where it was trained before.

    A teacher is kept under the hash of everything that determines it, so that all studies that need it share it.

    Args:
        experiment: a shipped experiment's name, a YAML file, plain data, or an ``Experiment``.
        overrides: path to value, applied over the experiment.
        callbacks: receive a message per epoch; None shows them on standard error, an empty list shows nothing.
        home: folder of all teachers; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The teacher: hash, weights and metrics.

    Raises:
        ConfigError: the experiment is wrong.
        WeightsError: the weights that the experiment names are missing or do not fit.
        TrialError: training diverged.
    """
    with open_callbacks(callbacks) as callback:
        loaded = load_experiment(experiment, overrides=overrides, check_space=False).experiment
        splits = open_data(loaded, on_message=callback.on_message)
        return ready_teacher(loaded, splits, Home.at(home), on_message=callback.on_message)


def evaluate(
    experiment: ExperimentLike,
    checkpoint: str | PathLike[str],
    *,
    split: SplitChoice = "search",
    overrides: Mapping[str, Any] | None = None,
    callbacks: Sequence[StudyCallback] | None = None,
) -> dict[str, float]:
    """Score a checkpoint, student or teacher, on the data of an experiment.

    The test split is meant for confirmed students alone: choosing by it makes it a search split.

    Args:
        experiment: a shipped experiment's name, a YAML file, plain data, or an ``Experiment``.
        checkpoint: a distune checkpoint, such as a trial's ``best.pt``.
        split: the split to score on.
        overrides: path to value, applied over the experiment.
        callbacks: receive messages; None shows them on standard error, an empty list shows nothing.

    Returns:
        Metric to value, such as ``{"search/AP": 31.4}``, in points from 0 to 100.

    Raises:
        DataError: the experiment names no test split, or its data is damaged.
        WeightsError: the file is no distune checkpoint, or does not fit the classes.
        UsageError: there is no such split.
    """
    if split not in get_args(SplitChoice):
        raise UsageError(f"split {split}: must be one of {', '.join(get_args(SplitChoice))}")
    loaded = load_experiment(experiment, overrides=overrides, check_space=False)
    settings = loaded.experiment
    with open_callbacks(callbacks) as callback:
        splits = open_data(settings, on_message=callback.on_message)
        dataset = splits.search if split == "search" else splits.test
        if dataset is None:
            raise DataError(f"{loaded.source}: the experiment names no test split")
        return score_file(Path(checkpoint), settings, splits, split=split)
