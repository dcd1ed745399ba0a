"""Tries an experiment at full size without its data: a few real steps, their time and memory, and an estimate."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distune.api.preparation import OnMessage, open_data
from distune.config.data import FileDataSettings, GeneratedData
from distune.config.experiment import Experiment
from distune.config.load import LoadedExperiment
from distune.config.several_gpus import processes_of_trial
from distune.study.planning.dry_run_plan import DryRunPlan, ImageSeconds, describe_image_seconds, plan_dry_run
from distune.study.planning.study_plan import plan_study

if TYPE_CHECKING:
    from distune.data.splits import Splits
    from distune.training.full_size_steps import DrySteps

_NUM_SYNTHETIC_IMAGES = 8
_BYTES_PER_MB = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun:
    """The result of a dry run.

    Attributes:
        is_synthetic: whether the data is synthetic, because ``data.root`` is not set.
        steps: measured seconds per image, and memory.
        plans: estimates of a study: on this device, and on the one that ``expects`` of the experiment names. Empty when
            the number of training images is not known.
        lines: all of it as text.
    """

    is_synthetic: bool
    steps: DrySteps
    plans: tuple[DryRunPlan, ...]
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        plans = [plan.to_dict() for plan in self.plans]
        return {"is_synthetic": self.is_synthetic, "steps": dataclasses.asdict(self.steps), "plans": plans}


def dry_run(loaded: LoadedExperiment, *, on_message: OnMessage) -> DryRun:
    """Build all models of an experiment and train each for two steps at full image size.

    Args:
        loaded: the experiment and its space. Without ``data.root``, images of noise are written in its format.
        on_message: receives a line before the steps.

    Returns:
        Seconds, memory and estimates.

    Raises:
        DataError: the data is missing or too damaged.
        UsageError: there is no synthetic data of this format, or student and teacher do not fit each other.
        WeightsError: a file of weights is missing or does not fit.
        TrialError: a loss is not finite.
    """
    from distune.training.epoch_timing import cpu_threads
    from distune.training.full_size_steps import NUM_STEPS, run_steps
    from distune.training.precision import pick_device, visible_gpus

    experiment = loaded.experiment
    wants_gpu = experiment.resources.gpus_per_trial != 0 and visible_gpus() > 0
    device = pick_device("auto" if wants_gpu else 0.0)
    where = "the GPU" if wants_gpu else "the CPU"
    with _with_data(experiment) as (ready, is_synthetic), cpu_threads(experiment.resources.cpus_per_trial):
        splits = open_data(ready, on_message=on_message, decode=False)
        data = (
            f"synthetic images of {len(splits.classes)} classes"
            if is_synthetic
            else f"images of {ready.data.kind} data"
        )
        on_message(f"dry run: {NUM_STEPS} steps of each model on {data} on {where}; this takes minutes on a CPU")
        steps = run_steps(ready, splits, device)
        counts = _expected_counts(experiment) if is_synthetic else _counts(experiment, splits)
    seconds = ImageSeconds(
        where=f"this {'GPU' if wants_gpu else 'CPU'}",
        control=steps.control_s,
        distilled=steps.control_s if steps.distilled_s is None else steps.distilled_s,
        teacher=steps.teacher_s,
        evaluate=steps.evaluate_s,
    )
    plans = _plans(loaded, seconds, counts)
    return DryRun(
        is_synthetic=is_synthetic, steps=steps, plans=plans, lines=(*_lines(experiment, steps, seconds, plans, counts),)
    )


@contextlib.contextmanager
def _with_data(experiment: Experiment) -> Iterator[tuple[Experiment, bool]]:
    """Give the experiment with data that can be read, in this process, and whether they are synthetic."""
    resources = experiment.resources.model_copy(update={"loader_workers": 0})
    experiment = experiment.model_copy(update={"resources": resources})
    data = experiment.data
    if isinstance(data, GeneratedData) or data.root is not None:
        yield experiment, False
        return
    from distune.data.synthetic_files import write_synthetic_data

    with tempfile.TemporaryDirectory(prefix="distune-dry-run-") as folder:
        write_synthetic_data(data, Path(folder), num_images=_NUM_SYNTHETIC_IMAGES)
        found = {"root": folder, "train_share": 1.0}  # of the few synthetic images all are used
        yield experiment.model_copy(update={"data": data.model_copy(update=found)}), True


def _counts(experiment: Experiment, splits: Splits) -> tuple[int, int]:
    """Return the numbers of training images in an epoch, repeated ones included, and of search images."""
    from distune.data.build import build_stream

    stream = build_stream(splits.train, experiment.data, batch_size=1, seed=0)
    return stream.num_presentations, len(splits.search)


def _expected_counts(experiment: Experiment) -> tuple[int, int] | None:
    """Return the numbers of training and search images that the experiment expects, without a held-out part."""
    num_train = experiment.expects.get("train_images")
    data = experiment.data
    if not isinstance(num_train, int) or not isinstance(data, FileDataSettings):
        return None
    has_search = any(getattr(data, name, None) is not None for name in ("search", "search_set"))
    num_search = experiment.expects.get("search_images", 0) if has_search else round(data.search_share * num_train)
    num_held_out = (0 if has_search else data.search_share) + data.test_share
    return round(num_train * (1 - num_held_out) * data.train_share), int(num_search)


def _plans(loaded: LoadedExperiment, seconds: ImageSeconds, counts: tuple[int, int] | None) -> tuple[DryRunPlan, ...]:
    if counts is None:
        return ()
    experiment = loaded.experiment
    devices = [seconds]
    published, where = (experiment.expects.get(name) for name in ("control_s_per_image", "control_s_measured_on"))
    if isinstance(published, int | float) and isinstance(where, str):
        devices.append(seconds.scaled_to(float(published), where))
    teacher_epochs = 0 if experiment.teacher_training is None else experiment.teacher_training.epochs
    plan = plan_study(experiment, loaded.searched)
    return tuple(
        plan_dry_run(each, plan, num_train_images=counts[0], num_search_images=counts[1], teacher_epochs=teacher_epochs)
        for each in devices
    )


def _lines(
    experiment: Experiment,
    steps: DrySteps,
    seconds: ImageSeconds,
    plans: tuple[DryRunPlan, ...],
    counts: tuple[int, int] | None,
) -> Iterator[str]:
    from distune.training.epoch_timing import batch_of_one_gpu

    asked, number = batch_of_one_gpu(experiment), processes_of_trial(experiment.resources.gpus_per_trial)
    batch = f"{steps.batch_size} image{'s' * (steps.batch_size > 1)} per step"
    if number > 1:
        batch += f" on one of the {number} GPUs of a trial"
    if steps.batch_size < asked:
        batch += f" instead of {asked}, to fit a CPU; memory grows with it"
    yield f"dry run: {batch}; peak memory {steps.peak_mb * _BYTES_PER_MB / 1e9:.1f} GB"
    yield f"dry run: {describe_image_seconds(seconds)}"
    if counts is None:
        yield "dry run: no estimate of a study: set data.root, or expects.train_images in the experiment"
    for plan in plans:
        yield f"dry run: {plan.describe()}"
