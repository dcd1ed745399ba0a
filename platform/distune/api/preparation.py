"""Steps before training: open and check the data, make the teacher ready, open the tracker.

Modules that load torch are imported where they are used: ``distune status`` and ``--help`` run without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from distune.config.data import GeneratedData
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.metric_names import metric_name
from distune.errors import StudyError
from distune.records import EpochReport
from distune.study.failures.release_memory import free_memory
from distune.study.files.study_folder import StudyFolder
from distune.tracking.build import build_tracker
from distune.tracking.tracker import Tracker

if TYPE_CHECKING:
    from distune.data.data_card import DataCard
    from distune.data.splits import Splits
    from distune.training.teacher import Teacher

_NUM_SHOWN = 5

OnMessage = Callable[[str], None]
"""Receives messages for the user, one line each."""


@contextlib.contextmanager
def locked_tracker(folder: StudyFolder, experiment: Experiment, home: Home) -> Iterator[Tracker]:
    """Hold the lock of a study, and open its tracker in it: two trackers at a time would send each event twice.

    Args:
        folder: folder of the study.
        experiment: experiment of the study.
        home: gives the default MLflow store.

    Yields:
        The tracker.

    Raises:
        StudyError: another session runs the study.
        UsageError: the tracker cannot work, such as for a bad tracking URI.
    """
    with folder.lock(), contextlib.closing(open_tracker(folder, experiment, home)) as tracker:
        yield tracker


def open_tracker(folder: StudyFolder, experiment: Experiment, home: Home) -> Tracker:
    """Open the tracker of a study whose lock is held; see ``locked_tracker``."""
    identity = folder.identity()
    return build_tracker(
        experiment.tracking,
        home=home,
        study_folder=folder.path,
        study=folder.name,
        study_key=identity.tracking_key,
        experiment=experiment.name,
        simulated=identity.simulate,
    )


def open_data(experiment: Experiment, *, on_message: OnMessage, decode: bool = True) -> Splits:
    """Open the splits of an experiment and check them. Skipped faults are reported as messages.

    Args:
        experiment: says where the data is.
        on_message: receives a line for each note, and one for each skipped fault, five at most.
        decode: decode images to find damaged ones before they are trained on. Where few images are read afterwards,
            this would be most of the work.

    Returns:
        The training, search and test splits.

    Raises:
        DataError: images or annotations are missing or too damaged.
    """
    from distune.data.build import build_splits
    from distune.data.check import check_splits

    splits = build_splits(experiment.data, with_masks=experiment.learns_masks)
    faults = list(splits.faults)
    if decode and not isinstance(experiment.data, GeneratedData):
        faults += check_splits(splits)
    for note in splits.notes:
        on_message(f"data: {note}")
    for fault in faults[:_NUM_SHOWN]:
        on_message(f"data: skipped {fault}")
    if len(faults) > _NUM_SHOWN:
        on_message(f"data: ... and {len(faults) - _NUM_SHOWN} more skipped")
    return dataclasses.replace(splits, faults=tuple(faults))


def data_card(experiment: Experiment, splits: Splits) -> DataCard:
    """Return what the data of an experiment contain, and what seems wrong."""
    from distune.data.data_card import make_data_card
    from distune.data.stream_notes import stream_notes

    notes = stream_notes(splits.train, experiment.data, batch_size=experiment.training.batch_size)
    splits = dataclasses.replace(splits, notes=(*splits.notes, *notes))
    size = {"min_size_px": experiment.data.min_size_px, "max_size_px": experiment.data.max_size_px}
    return make_data_card(splits, **size)


def describe_data(splits: Splits) -> str:
    """Return the sizes of the splits and the classes in one line."""
    sizes = f"{len(splits.train)} training, {len(splits.search)} search"
    test = f", {len(splits.test)} test" if splits.test is not None else ""
    return f"{sizes}{test} images; classes: {', '.join(splits.classes)}"


def check_same_data(folder: StudyFolder, splits: Splits, *, remedy: str) -> None:
    """Raise ``StudyError`` if the data is not that of a study's trials; data of earlier versions is not on record."""
    recorded = folder.data_fingerprint()
    if recorded is not None and recorded != splits.fingerprint:
        raise StudyError(
            f"study {folder.name}: its data is not that of its trials any more: images, boxes or splits have changed "
            f"({recorded} before, {splits.fingerprint} now); {remedy}"
        )


def check_all_weights(
    experiment: Experiment,
    splits: Splits | None,
    *,
    download: bool,
    on_message: OnMessage,
    with_teacher: bool = True,
) -> None:
    """Check the weights that an experiment names for teacher and student, before anything is trained.

    Args:
        experiment: names the weights.
        splits: give the classes; None where the data is not known.
        download: download torchvision's weights that are not in torch's cache; otherwise say that they are not.
        on_message: receives a line for each of the weights that says where they come from, and warnings.
        with_teacher: check those of the teacher as well.

    Raises:
        WeightsError: weights are missing, damaged or do not fit. Begins with the setting.
    """
    roles = {"teacher": experiment.teacher, "student": experiment.student}
    if not with_teacher:
        del roles["teacher"]
    if not any(settings.weights or settings.backbone_weights for settings in roles.values()):
        return  # without loading torch
    from distune.detectors.weights_check import DetectorInUse, check_weights

    terms = experiment.distillation.terms
    for role, settings in roles.items():
        detector = DetectorInUse(
            role=role,
            settings=settings,
            is_trained=role == "student" or experiment.teacher_training is not None,
            classes=None if splits is None else tuple(splits.classes),
            needed_by=tuple(name for name, term in terms.items() if term.weight > 0 and term.compares_heads),
            min_size_px=experiment.data.min_size_px,
            max_size_px=experiment.data.max_size_px,
        )
        for line in check_weights(detector, download=download):
            on_message(line)


def ready_teacher(experiment: Experiment, splits: Splits, home: Home, *, on_message: OnMessage) -> Teacher:
    """Find the teacher of an experiment, or train it, with a message per epoch.

    Args:
        experiment: determines the teacher.
        splits: data of the experiment.
        home: keeps all teachers.
        on_message: receives a line per epoch, and one with the teacher's metric.

    Returns:
        The teacher, with the file of its weights.

    Raises:
        WeightsError: the weights that the experiment names are missing or do not fit.
        TrialError: training diverged.
    """
    from distune.training.precision import pick_device
    from distune.training.teacher import prepare_teacher

    metric = metric_name(experiment)

    def report_epoch(report: EpochReport, num_epochs: int) -> None:
        on_message(
            f"teacher: epoch {report.epoch}/{num_epochs}  {metric} {report.metrics[metric]:.1f}  "
            f"loss {report.metrics['loss/task']:.3f}  {report.metrics['time/epoch_s']:.1f} s"
        )

    device = pick_device(experiment.resources.gpus_per_trial)
    teacher = prepare_teacher(experiment, splits, home=home, device=device, on_progress=report_epoch)
    free_memory()  # this process does not train any more, and the trials' processes need the memory of the GPU
    state = "ready" if teacher.is_new else "found"
    score = f"{teacher.metrics[metric]:.1f}" if metric in teacher.metrics else "not measured"
    on_message(f"teacher: {state}, {metric} {score}, {teacher.weights}")
    return teacher
