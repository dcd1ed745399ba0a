"""Checks before a study starts, of everything that would otherwise fail later."""

from __future__ import annotations

from distune.config.experiment import Experiment
from distune.study.resources import check_resources
from distune.study.search.samplers import check_sampler
from distune.study.storage.storage_url import check_storage


def check_before_start(experiment: Experiment, *, simulate: bool) -> None:
    """Check resources, sampler and storage of an experiment. Opens no connection.

    Args:
        experiment: of the study.
        simulate: whether its trials are simulated.

    Raises:
        ResourceError: this machine lacks resources for one trial, or the package of the sampler.
        UsageError: the storage is not supported, or the driver of its database is missing.
    """
    check_resources(experiment.resources, simulate=simulate)
    check_sampler(experiment.search.sampler)
    check_storage(experiment.search.storage)
