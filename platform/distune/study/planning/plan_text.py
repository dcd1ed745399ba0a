"""The plan of a study as text: trials, epochs, configurations, disk and memory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from distune.config.cohort_groups import splitting_parameters
from distune.config.experiment import Experiment
from distune.config.format_value import format_value
from distune.config.home import Home
from distune.config.load import LoadedExperiment
from distune.config.sampling import sampler_remarks
from distune.config.several_gpus import processes_of_trial
from distune.errors import ResourceError
from distune.records import Outcome, TrialState
from distune.study.cohort_plan import CohortPlan, most_by_memory, plan_cohorts
from distune.study.planning.cohort_text import describe_cluster_cohorts, describe_cohorts
from distune.study.planning.gpu_text import plan_gpus
from distune.study.planning.study_plan import StudyPlan, plan_study
from distune.study.planning.without_effect import too_few_steps, without_effect
from distune.study.resources import available_cpus, num_concurrent, this_machine, trial_resources
from distune.study.status import StudyStatus

if TYPE_CHECKING:
    from distune.data.splits import Splits

_UNITS = ("B", "kB", "MB", "GB", "TB")


def describe_plan(loaded: LoadedExperiment, *, simulate: bool = False, is_local: bool = False) -> list[str]:
    """Return the plan of a study, as far as it follows from the experiment, its space and the machine.

    Args:
        loaded: the experiment and its space.
        simulate: whether trials are simulated.
        is_local: whether the local runner runs it.

    Returns:
        The lines.
    """
    experiment = loaded.experiment
    plan = plan_study(experiment, loaded.searched)
    resources, search = experiment.resources, experiment.search
    lines = [
        f"plan: {plan.num_trials} trials and {_controls(plan.num_controls)} of {plan.num_epochs} epochs, "
        f"{_early_stopping(experiment, plan)}; {_epochs(plan)}",
        f"plan: each trial gets {resources.cpus_per_trial:g} CPU{'s' * (resources.cpus_per_trial != 1)}; "
        f"sampler {search.sampler.kind} over the space {search.space}",
        plan_gpus(resources, simulate=simulate),
    ]
    if resources.address is None and not simulate and resources.cpus_per_trial > (found := available_cpus()):
        lines.append(
            f"warning: CPUs: {resources.cpus_per_trial:g} per trial, but {found} found: distune launch refuses this "
            "here"
        )
    cohorts = cohorts_here(experiment, simulate=simulate, is_local=is_local)
    of_cluster = None if simulate or is_local else describe_cluster_cohorts(resources, num_trials=search.num_trials)
    if cohorts.size > 1 or of_cluster is not None:
        text = of_cluster or describe_cohorts(cohorts)
        lines += [f"plan: {text}", _describe_groups(loaded)]
        lines[1] = lines[1].replace("each trial gets", "each worker gets")
    elif resources.max_concurrent is not None:
        at_a_time = "1 trial" if cohorts.num_trials == 1 else f"{cohorts.num_trials} trials"
        lines.append(f"plan: at most {at_a_time} at a time (resources.max_concurrent), each trained alone")
    if (number := processes_of_trial(resources.gpus_per_trial)) > 1 and not simulate:
        lines.append(
            f"plan: each trial trains on {number} GPUs, in {number} processes that share every batch "
            f"({experiment.training.batch_size // number} of {experiment.training.batch_size} images each), and alone: "
            "trials side by side would share one GPU (resources.cohort)"
        )
    if search.confirm == "race":
        lines.append(
            "plan: then the best trials race under other seeds, and the last one is compared with its control under "
            "further seeds until the question is decided (search.confirm); its epochs are not part of this plan"
        )
    if not experiment.data.has_test:
        lines.append(
            "warning: there is no test split, so a confirmation measures the gain on the search split, which is "
            "optimistic; name one, or hold one out of the training images with data.test_share"
        )
    if plan.num_controls == 0:
        lines.append(
            "warning: search.controls = 0: without a control the gain is unknown until distune confirm, which trains "
            "its own controls"
        )
    if plan.num_configurations is not None:
        lines.append(f"plan: the space has {plan.num_configurations} configurations; none is trained twice")
    num_initial = search.defaults_first + len(search.initial_configurations)
    if num_initial > search.num_trials:
        lines.append(
            f"warning: {num_initial} initial configurations are more than search.num_trials = {search.num_trials}: the "
            f"last {num_initial - search.num_trials} wait for distune resume NAME --trials N"
        )
    lines += without_effect(experiment, loaded.searched)
    lines += [f"plan: {remark}" for remark in sampler_remarks(search)]
    if "latency_ms" in search.costs and resources.gpus_per_trial != "auto" and 0 < resources.gpus_per_trial < 1:
        lines.append(
            "plan: trials share a GPU, so their latencies include each other's work: use whole GPUs to measure latency"
        )
    return lines


def describe_sizes(loaded: LoadedExperiment, splits: Splits | None, home: Home, *, is_local: bool = False) -> list[str]:
    """Return the disk and memory that a study needs.

    Args:
        loaded: the experiment and its space.
        splits: its data, which gives the classes.
        home: holds the study.
        is_local: whether the local runner runs it.

    Returns:
        The lines; none without data.
    """
    if splits is None:
        return []
    from distune.data.build import build_stream
    from distune.study.planning.disk_and_memory import disk_plan, trial_sizes

    experiment = loaded.experiment
    sizes, at_a_time = trial_sizes(experiment, splits), cohorts_here(experiment, is_local=is_local).num_trials
    has_copies = experiment.tracking.enabled and experiment.tracking.uri is None
    plan = plan_study(experiment, loaded.searched)
    disk = disk_plan(plan, sizes, num_concurrent=at_a_time, has_copies=has_copies)
    expected = "" if disk.expected_bytes is None else f"about {show_bytes(disk.expected_bytes)}, "
    copies = ", and a copy in MLflow's store" if has_copies else ""
    free = _free(home.root)
    lines = [
        f"disk: {expected}at most {show_bytes(disk.max_bytes)}; {show_bytes(free)} are free ({show_bytes(sizes.best)} "
        f"for the student of a finished trial, {show_bytes(sizes.last)} at most for its last checkpoint{copies})",
        f"memory: at least {show_bytes(sizes.memory)} for each of {at_a_time} trials at a time (weights, gradients, "
        "optimizer, teacher, features for prototypes); plus activations, which are not estimated",
    ]
    if disk.max_bytes > free:
        lines.append("warning: the study may need more disk than is free")
    lines += too_few_steps(experiment.training, num_images=len(splits.train))
    if sizes.maps_per_image > 0:
        stream = build_stream(splits.train, experiment.data, batch_size=experiment.training.batch_size, seed=0)
        lines.append(_describe_cache(experiment, sizes.maps_per_image * stream.num_presentations))
    return lines


def _describe_cache(experiment: Experiment, bytes_per_copy: int) -> str:
    copies, cache = experiment.data.augmentation.copies or 0, experiment.resources.teacher_cache
    needed, kept = copies * bytes_per_copy, (cache.memory_gb + cache.disk_gb) * 1e9
    number = "1 copy" if copies == 1 else f"{copies} copies"
    text = f"teacher's maps: about {show_bytes(needed)} for {number} of the training images"
    if needed <= kept:
        return f"{text}, which each worker keeps (resources.teacher_cache)"
    return (
        f"warning: {text}; a worker keeps {show_bytes(kept)} of them and computes the others in each epoch: raise "
        "resources.teacher_cache.memory_gb or disk_gb, or lower data.augmentation.copies"
    )


def describe_rest(status: StudyStatus, *, total: int, controls: int) -> str:
    """Describe how many trials of a study remain.

    Args:
        status: state of the study.
        total: searched trials asked for, over all sessions.
        controls: controls asked for.

    Returns:
        One line.
    """
    counts, num_open, to_start = _count_rest(status, total=total, controls=controls)
    if num_open + to_start == 0:
        return (
            f"study {status.study}: nothing left to run: {counts[False]} trials have been run, {total} were asked for; "
            f"run more with --trials {counts[False] + 10} (in Python: num_trials={counts[False] + 10})"
        )
    return (
        f"study {status.study}: {counts[False]} trials and {_controls(counts[True])} so far; {num_open} to continue, "
        f"{to_start} to start"
    )


def cohorts_here(experiment: Experiment, *, simulate: bool = False, is_local: bool = False) -> CohortPlan:
    """Return the workers and their trials.

    Args:
        experiment: of the study.
        simulate: whether trials are simulated.
        is_local: the local runner has one worker, this process.

    Returns:
        Those of this machine. On a cluster, which is not asked, the bound in the settings, else one.
    """
    resources = experiment.resources
    if is_local:
        num_workers = 1
    elif resources.address is not None:
        num_workers = resources.max_concurrent or 1
    else:
        machines = [this_machine(resources)]
        try:
            num_workers = num_concurrent(resources, trial_resources(resources, machines, simulate=simulate), machines)
        except ResourceError:
            num_workers = 1
    return plan_cohorts(
        resources,
        num_trials=experiment.search.num_trials,
        num_workers=num_workers,
        simulate=simulate,
        most_by_memory=most_by_memory(experiment),
    )


def _describe_groups(loaded: LoadedExperiment) -> str:
    """Describe the groups of trials that share batches: those that the space splits, and further controls."""
    splits = splitting_parameters(loaded.experiment, loaded.searched)
    controls = loaded.experiment.search.controls - 1
    own = f"; {_controls(controls)} with other seeds have their own batches" if controls > 0 else ""
    if not splits:
        return f"plan: all trials are of one group: no parameter of the space changes what they share{own}"
    groups = ", ".join(
        f"{path} = {' | '.join(', '.join(map(format_value, values)) for values in groups)}"
        for path, groups in splits.items()
    )
    return f"plan: trials of other groups do not share: {groups}{own}"


def has_rest(status: StudyStatus, *, total: int, controls: int) -> bool:
    """Return whether anything of a study is left to run; see ``describe_rest``."""
    _, num_open, to_start = _count_rest(status, total=total, controls=controls)
    return num_open + to_start > 0


def _count_rest(status: StudyStatus, *, total: int, controls: int) -> tuple[dict[bool, int], int, int]:
    """Count started trials, by whether they are controls, those to continue, and those to start."""
    counts = {True: 0, False: 0}
    num_open = 0
    for trial in status.trials:
        if trial.outcome is not Outcome.WAITING:
            counts[trial.control] += 1
            num_open += trial.state is TrialState.RUNNING
    return counts, num_open, max(0, total - counts[False]) + max(0, controls - counts[True])


def show_bytes(number: float) -> str:
    """Return bytes with a unit, such as ``1.2 GB``."""
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} {_UNITS[-1]}"


def _controls(number: int) -> str:
    return "1 control" if number == 1 else f"{number} controls"


def _early_stopping(experiment: Experiment, plan: StudyPlan) -> str:
    scheduler = experiment.search.scheduler
    if scheduler.kind == "median":
        return f"median stopping from epoch {scheduler.grace_epochs} on"
    return f"ASHA rungs at {', '.join(map(str, plan.rungs))}" if plan.rungs else "no early stopping"


def _epochs(plan: StudyPlan) -> str:
    if plan.expected_epochs is None:
        return f"at most {plan.max_epochs} epochs, fewer depending on the learning curves"
    return f"about {plan.expected_epochs:.0f} epochs of at most {plan.max_epochs}"


def _free(folder: Path) -> int:
    """Return the free bytes where a folder is or will be."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(there).free
