"""What this machine has, and whether it is enough for the trials of an experiment."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from distune.config.search import ResourceSettings
from distune.errors import ResourceError

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def check_resources(settings: ResourceSettings, *, simulate: bool) -> None:
    """Make sure that one trial fits on this machine.

    A cluster is not checked, since it may grow, nor are simulated trials, which take what there is.

    Raises:
        ResourceError: the address is one of Ray Client, a GPU is asked for and not there, or more CPUs per trial than
            there are.
    """
    if settings.address is not None and settings.address.startswith("ray://"):
        raise ResourceError(
            f"resources.address = {settings.address}: a study keeps its records where it is started, and Ray Client "
            f"would move it to the cluster; start distune on a machine of the cluster, with the address auto"
        )
    if simulate or settings.address is not None:
        return
    cpus = available_cpus()
    if settings.cpus_per_trial > cpus:
        raise ResourceError(
            f"resources.cpus_per_trial = {settings.cpus_per_trial:g}: this machine has {cpus}; lower it, or name a "
            f"cluster with resources.address"
        )
    if settings.gpus_per_trial > 0:
        gpus = available_gpus()
        if settings.gpus_per_trial > gpus:
            raise ResourceError(
                f"resources.gpus_per_trial = {settings.gpus_per_trial:g}: torch finds {gpus or 'no'} GPU"
                f"{'s' if gpus > 1 else ''} here; lower it (0 trains on the CPU), or name a cluster with "
                f"resources.address"
            )


def available_cpus() -> int:
    """CPUs that this process may use: bound by its affinity and by the limit of its container."""
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cpus = os.cpu_count() or 1
    limit = cgroup_cpus(_CGROUP_LIMIT)
    return cpus if limit is None else max(1, min(cpus, int(limit)))


def available_gpus() -> int:
    """GPUs that torch can use, which is what a trial needs."""
    import torch  # slow to load, and only studies that ask for GPUs need it here

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def cgroup_cpus(limit_file: Path) -> float | None:
    """The CPU limit of the container in CPUs, None without one. The file holds a quota and a period, or ``max``."""
    try:
        quota, period = limit_file.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        return None


def trial_resources(settings: ResourceSettings, *, simulate: bool) -> tuple[float, float]:
    """CPUs and GPUs that one trial reserves. A simulated trial on this machine takes no more than there is."""
    if simulate and settings.address is None:
        return min(settings.cpus_per_trial, float(available_cpus())), 0.0
    return settings.cpus_per_trial, settings.gpus_per_trial


def alone_resources(trial: tuple[float, float], machines: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What a trial reserves so that no other one is on its device.

    Args:
        trial: CPUs and GPUs of one trial.
        machines: CPUs and GPUs of each.

    Returns:
        CPUs and GPUs: whole GPUs, or all CPUs of the largest machine when trials train on CPUs.
    """
    cpus, gpus = trial
    return (cpus, float(math.ceil(gpus))) if gpus > 0 else (max([cpus, *(each for each, _ in machines)]), 0.0)


def num_concurrent(
    settings: ResourceSettings, trial: tuple[float, float], machines: Sequence[tuple[float, float]]
) -> int:
    """How many trials run at a time, at most: as many as there is room for, or fewer when the settings say so.

    A trial is on one machine: what is left over on several does not add up to a place.

    Args:
        settings: of the experiment.
        trial: CPUs and GPUs of one trial.
        machines: CPUs and GPUs of each.

    Raises:
        ResourceError: not even one fits. A cluster that grows when it is asked to may begin with no place at all: it is
            not looked at when the settings say how many trials run at a time.
    """
    if settings.address is not None and settings.max_concurrent is not None:
        return settings.max_concurrent
    room = sum(
        min(int(total / each + 1e-6) for total, each in zip(machine, trial, strict=True) if each > 0)
        for machine in machines
    )
    if room < 1:
        there = ", ".join(f"{cpus:g} and {gpus:g}" for cpus, gpus in sorted(set(machines), reverse=True)) or "none yet"
        raise ResourceError(
            f"a trial asks for {trial[0]:g} CPUs and {trial[1]:g} GPUs, but no machine has both ({there}); lower "
            f"resources.cpus_per_trial or resources.gpus_per_trial, or, where the cluster is going to grow, say how "
            f"many trials run at a time with resources.max_concurrent"
        )
    return room if settings.max_concurrent is None else min(room, settings.max_concurrent)
