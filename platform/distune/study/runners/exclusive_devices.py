"""Exclusive devices for trials that ran out of memory on a shared one: their reservations and the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.experiment import Trial

from distune.records import TrialSpec
from distune.study.failures.retries import Company
from distune.study.resources import Resources, exclusive_resources
from distune.study.runners.ray_trainable import EXCLUSIVE, RESOURCES


class ExclusiveDevices:
    """Reserves whole devices on a cluster that may change.

    Args:
        trial: resources of one trial.
        machines: returns the resources of each machine of the cluster.
    """

    def __init__(self, trial: Resources, machines: Callable[[], Sequence[Resources]]) -> None:
        self._trial, self._machines = trial, machines
        self._trials: list[Trial] = []

    def may_start(self) -> bool:
        """Return whether a trial may start now: not while one waits whose resources it would take."""
        return not self.is_one_awaited()

    def release(self, key: str, *, has_failed: bool = False) -> None:
        """Do nothing: Tune frees the resources of a trial."""

    def limit(self, key: str, number: int) -> None:
        """Do nothing: a worker has one trial."""

    def describe(self) -> str:
        """Return nothing: what an epoch does is not known."""
        return ""

    def config_of(self, spec: TrialSpec, company: Company) -> dict[str, Any]:
        """Return the part of Tune's configuration that says what a trial reserves."""
        is_exclusive = company is Company.ALONE
        resources = exclusive_resources(self._trial, self._machines()) if is_exclusive else self._trial
        return {EXCLUSIVE: is_exclusive, RESOURCES: resources}

    def add_queued(self, trial: Trial) -> None:
        """Remember a trial that Tune has queued, if it needs an exclusive device."""
        if trial.config[EXCLUSIVE]:
            self._trials.append(trial)

    def is_one_awaited(self) -> bool:
        """Return whether no other trial may start now, because it would take the resources of one that waits."""
        self._trials = [trial for trial in self._trials if trial.status in (Trial.PENDING, Trial.RUNNING)]
        return any(map(self._blocks_others, self._trials))

    def outdated(self) -> list[Trial]:
        """Return queued trials whose reservation is not that of a whole device any more, since the cluster changed."""
        queued = [trial for trial in self._trials if trial.status == Trial.PENDING]
        if not queued:
            return []
        machines = self._machines()
        fits_somewhere = any(machine.cpus >= self._trial.cpus for machine in machines)
        whole_device = exclusive_resources(self._trial, machines)
        return [trial for trial in queued if fits_somewhere and trial.config[RESOURCES] != whole_device]

    def _blocks_others(self, trial: Trial) -> bool:
        """Return whether another trial would share the device of this one.

        A running trial has reserved its device, unless no machine was known when it was given out.
        """
        if trial.status == Trial.PENDING:
            return True
        reserved: Resources = trial.config[RESOURCES]
        return reserved == self._trial != exclusive_resources(self._trial, self._machines())
