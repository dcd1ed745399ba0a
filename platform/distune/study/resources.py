"""CPUs and GPUs: available ones, those of a trial, and the number of concurrent trials that follows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from distune.config.search import ResourceSettings, gpus_of_trial
from distune.errors import ResourceError
from distune.records import TrialSpec

_TOLERANCE = 1e-6
"""Fractions of a CPU or GPU that rounding may lose."""


@dataclasses.dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of a machine, or those that a trial reserves. Fractions are allowed."""

    cpus: float
    gpus: float = 0.0

    def capacity_for(self, trial: Resources) -> int:
        """Return the number of trials that fit at a time."""
        needed = ((self.cpus, trial.cpus), (self.gpus, trial.gpus))
        return min(int(total / each + _TOLERANCE) for total, each in needed if each > 0)


def check_resources(settings: ResourceSettings, *, simulate: bool) -> None:
    """Check that one trial fits on this machine.

    Clusters are not checked, because they may grow. Simulated trials take the CPUs that there are.

    Args:
        settings: of the experiment.
        simulate: whether trials are simulated.

    Raises:
        ResourceError: the address is one of Ray Client, a GPU is required and none is found, or a trial requires more
            CPUs than there are.
    """
    if settings.address is not None and settings.address.startswith("ray://"):
        raise ResourceError(
            f"resources.address = {settings.address}: Ray Client is not supported, because a study keeps its records "
            f"on the machine that starts it; start distune on a machine of the cluster, with the address auto"
        )
    if simulate or settings.address is not None:
        return
    cpus = available_cpus()
    if settings.cpus_per_trial > cpus:
        raise ResourceError(
            f"resources.cpus_per_trial = {settings.cpus_per_trial:g}: this machine has {cpus}; lower it, or name a "
            f"cluster with resources.address"
        )
    if settings.gpus_per_trial not in ("auto", 0):
        gpus = available_gpus()
        if gpus_of_trial(settings.gpus_per_trial, found=gpus) > gpus:
            raise ResourceError(
                f"resources.gpus_per_trial = {settings.gpus_per_trial:g}: torch finds {gpus} "
                f"{'GPU' if gpus == 1 else 'GPUs'} here; lower it (auto takes what there is, 0 trains on the CPU), or "
                f"name a cluster with resources.address"
            )


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, given its affinity and the CPU limit of its container."""
    import joblib  # slow to load

    cpus: int = joblib.cpu_count()
    return cpus


def available_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    from distune.training.precision import visible_gpus  # here: torch loads slowly

    return visible_gpus()


def this_machine(settings: ResourceSettings, *, simulate: bool = False) -> Resources:
    """Return the resources of this machine. GPUs are not counted, which loads torch, when no trial may use one."""
    return Resources(available_cpus(), 0 if simulate or settings.gpus_per_trial == 0 else available_gpus())


def trial_resources(settings: ResourceSettings, machines: Sequence[Resources], *, simulate: bool) -> Resources:
    """Return what one trial reserves.

    Args:
        settings: of the experiment.
        machines: resources of each machine: this one, or those of the cluster.
        simulate: whether trials are simulated. On this machine they take no more CPUs than there are, and no GPU.

    Returns:
        CPUs and GPUs.
    """
    if simulate and settings.address is None:
        return Resources(min(settings.cpus_per_trial, float(available_cpus())))
    found = max((machine.gpus for machine in machines), default=0.0)
    return Resources(settings.cpus_per_trial, gpus_of_trial(settings.gpus_per_trial, found=found))


def with_reserved_gpus(spec: TrialSpec, trial: Resources) -> TrialSpec:
    """Return a specification that names the GPUs that the trial has reserved, instead of ``auto``."""
    resources = {**spec.experiment["resources"], "gpus_per_trial": trial.gpus}
    return dataclasses.replace(spec, experiment={**spec.experiment, "resources": resources})


def exclusive_resources(trial: Resources, machines: Sequence[Resources]) -> Resources:
    """Return what a trial reserves to have its device for itself.

    Args:
        trial: resources of an ordinary trial.
        machines: resources of each machine.

    Returns:
        Whole GPUs, or, when trials train on CPUs, all CPUs of the largest machine.
    """
    if trial.gpus > 0:
        return Resources(trial.cpus, float(math.ceil(trial.gpus)))
    return Resources(max([trial.cpus, *(machine.cpus for machine in machines)]))


def num_fitting(trial: Resources, machines: Sequence[Resources]) -> int:
    """Return how many trials fit on the machines at a time, each on one of them."""
    return sum(machine.capacity_for(trial) for machine in machines)


def num_concurrent(settings: ResourceSettings, trial: Resources, machines: Sequence[Resources]) -> int:
    """Return the maximum number of concurrent trials: as many as fit, or fewer when the settings say so.

    A trial runs on one machine, so resources that are left over on several machines are not added up.

    Args:
        settings: of the experiment.
        trial: resources of one trial.
        machines: resources of each machine.

    Returns:
        At least 1. On a cluster, ``max_concurrent`` alone decides when it is given: the cluster may still grow.

    Raises:
        ResourceError: not even one trial fits.
    """
    if settings.address is not None and settings.max_concurrent is not None:
        return settings.max_concurrent
    capacity = num_fitting(trial, machines)
    if capacity < 1:
        sizes = sorted({(machine.cpus, machine.gpus) for machine in machines}, reverse=True)
        found = ", ".join(f"{cpus:g} and {gpus:g}" for cpus, gpus in sizes) or "none yet"
        raise ResourceError(
            f"a trial requires {trial.cpus:g} CPUs and {trial.gpus:g} GPUs, but no machine has both ({found}); lower "
            f"resources.cpus_per_trial or resources.gpus_per_trial, or, if the cluster will grow, set "
            f"resources.max_concurrent to the number of concurrent trials"
        )
    return capacity if settings.max_concurrent is None else min(capacity, settings.max_concurrent)
