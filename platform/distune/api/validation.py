"""Validation before a study: check an experiment, its space and its data, and estimate the cost of a study."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distune.api.dry_run import DryRun
from distune.api.dry_run import dry_run as run_dry
from distune.api.preparation import check_all_weights, data_card, describe_data, open_data
from distune.api.progress import open_callbacks
from distune.api.time_estimate import estimate_time
from distune.config.data import GeneratedData
from distune.config.format_value import format_value
from distune.config.home import Home
from distune.config.load import ExperimentLike, LoadedExperiment, SpaceLike, load_experiment
from distune.errors import ConfigError, UsageError
from distune.records import ParameterValue
from distune.study.callback import StudyCallback
from distune.study.planning.plan_text import describe_plan, describe_sizes
from distune.study.planning.study_plan import StudyPlan, plan_study
from distune.study.planning.time_plan import TimePlan, describe_time_plan
from distune.study.search.samplers import check_sampler

if TYPE_CHECKING:
    from distune.data.data_card import DataCard
    from distune.data.splits import Splits
    from distune.training.probe.findings import Finding

NUM_PROBE_IMAGES = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a validation. Problems are raised as errors instead.

    Attributes:
        loaded: the experiment and its search space.
        data: sizes and classes of the splits in one line, None when the data was not checked.
        card: what the data contain, and what seems wrong; None when the data was not checked.
        plan: trials and epochs of a study.
        plan_lines: the plan, disk, memory and estimated time as text.
        time_plan: estimated time of a study; None when the data was not checked, or nothing is measured.
        findings: the probe's result per searched parameter; empty without a probe.
        dry_run: a few real steps at full size; None unless it was asked for.
    """

    loaded: LoadedExperiment
    data: str | None
    card: DataCard | None
    plan: StudyPlan
    plan_lines: tuple[str, ...]
    time_plan: TimePlan | None = None
    findings: tuple[Finding, ...] = ()
    dry_run: DryRun | None = None

    def raise_for_findings(self) -> None:
        """Raise ``ConfigError`` with a line for each parameter without an effect or with a value that fails."""
        problems = [f"{finding.path}  {_problem(finding)}" for finding in self.findings if finding.is_problem]
        if problems:
            raise ConfigError(f"{self.loaded.source}, search space {self.loaded.space.name}", problems)


def validate(
    experiment: ExperimentLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    fixed: Mapping[str, ParameterValue] | None = None,
    space: SpaceLike | None = None,
    probe: bool = False,
    num_probe_images: int = NUM_PROBE_IMAGES,
    pictures: str | PathLike[str] | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    measure_time: bool = False,
    dry_run: bool = False,
    callbacks: Sequence[StudyCallback] | None = None,
    home: str | PathLike[str] | None = None,
) -> Validation:
    """Check an experiment, its search space, its data and its weights. Writes only ``pictures``; downloads nothing.

    Data is checked when the experiment says where it is (``data.root``).

    Args:
        experiment: a shipped experiment's name, a YAML file, plain data, or an ``Experiment``.
        overrides: path to value, applied over the experiment.
        fixed: searched path to value: parameters of the search space that are not searched.
        space: the search space; the experiment's ``search.space`` when None.
        probe: try every searched parameter at two of its values on a few images: does it change a loss or a gradient?
            A teacher that is not trained yet is replaced by random weights.
        num_probe_images: images that a probe uses.
        pictures: folder for a sheet of images with their boxes per split, to see whether these lie on the objects.
        on_finding: called with each finding of the probe.
        measure_time: train a few batches of student and teacher, to estimate the time of a study. Without it the
            estimate is that of an earlier study with the same student, teacher and data, if there is one.
        dry_run: train each model for two steps at full image size, on synthetic images unless ``data.root`` is set.
        callbacks: receive messages; None shows them on standard error, an empty list shows nothing.
        home: folder of teachers; ``$DISTUNE_HOME`` or ``./runs`` when None.

    Returns:
        The loaded experiment, its plan, and the findings of the probe.

    Raises:
        ConfigError: the experiment or the search space is wrong; all problems are listed.
        DataError: images or annotations are missing or too damaged.
        WeightsError: weights that the experiment names are missing or do not fit.
        ResourceError: the sampler needs a package that is not installed.
        UsageError: the folder for pictures is a file, or images for a dry run cannot be synthesized in this format.
    """
    with open_callbacks(callbacks) as callback:
        loaded = load_experiment(experiment, overrides=overrides, fixed=fixed, space=space)
        settings, root = loaded.experiment, Home.at(home)
        check_sampler(settings.search.sampler)
        has_data = isinstance(settings.data, GeneratedData) or settings.data.root is not None
        is_needed = has_data or probe or measure_time or pictures is not None
        splits = open_data(settings, on_message=_ignore) if is_needed else None  # the card has the messages
        if pictures is not None and splits is not None:
            for path in _draw(splits, Path(pictures)):
                callback.on_message(f"pictures: {path}")
        check_all_weights(settings, splits, download=False, on_message=callback.on_message)
        findings: list[Finding] = []
        if probe and splits is not None:
            findings = _probe(loaded, splits, root, num_probe_images, on_finding, callback)
        time_plan = None if splits is None else estimate_time(loaded, splits, root, measure=measure_time)
        time_lines = [] if splits is None else describe_time_plan(time_plan)
        tried = run_dry(loaded, on_message=callback.on_message) if dry_run else None
        return Validation(
            loaded=loaded,
            data=None if splits is None else describe_data(splits),
            card=None if splits is None else data_card(settings, splits),
            plan=plan_study(settings, loaded.searched),
            plan_lines=(*describe_plan(loaded), *describe_sizes(loaded, splits, root), *time_lines),
            time_plan=time_plan,
            findings=tuple(findings),
            dry_run=tried,
        )


def _ignore(message: str) -> None:
    """Receive a message that is shown elsewhere."""


def _draw(splits: Splits, folder: Path) -> Iterator[Path]:
    """Write a sheet of images with their boxes for each split, and yield their paths."""
    from torchvision.transforms.v2.functional import to_pil_image

    from distune.data.box_sheet import draw_sheet

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder for the pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for dataset in (splits.train, splits.search, splits.test):
        if dataset is not None:
            path = folder / f"{dataset.name}.jpg"
            to_pil_image(draw_sheet(dataset)).save(path)
            yield path


def _probe(
    loaded: LoadedExperiment,
    splits: Splits,
    home: Home,
    num_images: int,
    on_finding: Callable[[Finding], None] | None,
    callback: StudyCallback,
) -> list[Finding]:
    from distune.training.precision import pick_device
    from distune.training.probe.probe import Probe
    from distune.training.teacher import load_teacher

    started = time.monotonic()
    teacher = load_teacher(loaded.experiment, splits, home=home)
    if teacher is None and loaded.experiment.teacher.weights is None:
        callback.on_message("probe: the teacher is not trained yet, so random weights are used")
    wants_gpu = loaded.experiment.resources.gpus_per_trial != 0
    probe = Probe(
        loaded,
        splits,
        teacher_weights=None if teacher is None else str(teacher.weights),
        device=pick_device("auto" if wants_gpu else 0.0),
        num_images=num_images,
    )
    findings = []
    for finding in probe.findings():
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    callback.on_message(f"probe: {len(findings)} parameters in {time.monotonic() - started:.1f} s")
    return findings


def _problem(finding: Finding) -> str:
    from distune.training.probe.findings import Verdict

    values = " and ".join(format_value(value, digits=3) for value in finding.values)
    if finding.verdict is Verdict.FAILS:
        return f"fails at {values}: {finding.remark}"
    cause = finding.remark or "remove it from the space, or find the setting that disables it"
    return f"changes neither a loss nor a gradient between {values}: {cause}"
