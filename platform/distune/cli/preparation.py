"""What several verbs do before training: open and check the data, get the teacher ready, and say so.

Whatever loads torch is imported where it is used: `distune status` and `--help` answer without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distune.cli.output import progress
from distune.config.experiment import Experiment
from distune.config.home import Home
from distune.config.metric_names import metric_name
from distune.records import EpochReport
from distune.study.files.study_folder import StudyFolder
from distune.tracking.build import build_tracker
from distune.tracking.tracker import Tracker

if TYPE_CHECKING:
    from distune.data.splits import Splits
    from distune.training.teacher import Teacher

_SHOWN = 5


def open_tracker(folder: StudyFolder, experiment: Experiment, home: Home) -> Tracker:
    """The tracker of a study. Raises ``UsageError`` when it cannot work."""
    return build_tracker(
        experiment.tracking,
        home=home,
        study_folder=folder.path,
        study=folder.name,
        study_key=folder.identity().tracking_key,
        experiment=experiment.name,
    )


def open_data(experiment: Experiment) -> Splits:
    """The splits of an experiment, checked; faults that were skipped are named. Raises ``DataError``."""
    from distune.data.build import build_splits
    from distune.data.check import check_splits

    splits = build_splits(experiment.data, with_masks=experiment.learns_masks)
    faults = list(splits.faults)
    if experiment.data.kind != "shapes":
        faults += check_splits(splits)
    for fault in faults[:_SHOWN]:
        progress.print(f"data: skipped {fault}")
    if len(faults) > _SHOWN:
        progress.print(f"data: ... and {len(faults) - _SHOWN} more skipped")
    return splits


def describe_data(splits: Splits) -> str:
    """One line on the sizes of the splits and the classes."""
    sizes = f"{len(splits.train)} training, {len(splits.search)} search"
    test = f", {len(splits.test)} test" if splits.test is not None else ""
    return f"{sizes}{test} images; classes: {', '.join(splits.classes)}"


def ready_teacher(experiment: Experiment, splits: Splits, home: Home) -> Teacher:
    """The teacher, trained if need be, with a line per epoch."""
    from distune.training.precision import pick_device
    from distune.training.teacher import prepare_teacher

    device = pick_device(experiment.resources.gpus_per_trial)
    metric = metric_name(experiment)

    def say(report: EpochReport, num_epochs: int) -> None:
        progress.print(
            f"teacher: epoch {report.epoch}/{num_epochs}  {metric} {report.metrics[metric]:.1f}  "
            f"loss {report.metrics['loss/task']:.3f}  {report.metrics['time/epoch_s']:.1f} s"
        )

    teacher = prepare_teacher(experiment, splits, home=home, device=device, on_progress=say)
    state = "ready" if teacher.is_new else "found"
    score = f"{teacher.metrics[metric]:.1f}" if metric in teacher.metrics else "not measured"
    progress.print(f"teacher: {state}, {metric} {score}, {teacher.weights}")
    return teacher
