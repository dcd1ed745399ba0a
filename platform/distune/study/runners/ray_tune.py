"""Runs a study with Ray Tune: many trials at a time, on this machine or on a cluster.

Tune starts workers, hands out trials and returns results. The engine makes all decisions and keeps all records: Tune's
folder is temporary, and neither its checkpoints nor its restore are used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import ray
from ray import tune

from distune.config.search import ResourceSettings
from distune.study.callback import StudyCallback
from distune.study.cohort_plan import MostByMemory, plan_cohorts
from distune.study.engine import StudyEngine
from distune.study.planning.cohort_text import describe_cohorts
from distune.study.planning.gpu_text import describe_gpus
from distune.study.resources import Resources, num_concurrent, num_fitting, trial_resources
from distune.study.runners.exclusive_devices import ExclusiveDevices
from distune.study.runners.ray_adapters import (
    EngineBridge,
    EngineScheduler,
    EngineSearcher,
    EngineStopper,
    Placement,
)
from distune.study.runners.ray_cohorts import CohortTrialTrainable, CohortWorkers
from distune.study.runners.ray_connection import machines, ray_session
from distune.study.runners.ray_servers import servers_check
from distune.study.runners.ray_trainable import RESOURCES, TrialTrainable

_NEARLY_NOTHING = {"memory": 1.0}
"""Resources of a trial of Tune that the worker of a cohort trains: one byte, since Tune requires some."""


def run_on_ray(
    engine: StudyEngine,
    settings: ResourceSettings,
    *,
    num_trials: int,
    most_by_memory: MostByMemory | None = None,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    """Run the trials of a study until all have ended, the session cannot continue, or ``should_stop`` returns True.

    Ray is started on this machine and shut down at the end, unless the settings name a cluster or this process is
    connected to one already.

    Args:
        engine: gives out the trials.
        settings: resources of a trial, and the address of the cluster.
        num_trials: searched trials over all sessions.
        most_by_memory: bound of the size of cohorts; None knows none.
        simulate: simulate learning curves instead of training.
        should_stop: called several times a second. Trials in flight stay so; their current epoch has seconds to end.
        callback: receives the messages of workers and of the watchdog.

    Raises:
        ResourceError: Ray cannot be used, or no machine has the resources of a trial.
    """
    starts_ray = not ray.is_initialized() and settings.address is None
    with ray_session(settings, simulate=simulate) as folder, contextlib.ExitStack() as stack:
        found = machines()
        trial = trial_resources(settings, found, simulate=simulate)
        bound = num_concurrent(settings, trial, found)
        if settings.address is not None:
            callback.on_message(
                describe_gpus(settings, found=sum(machine.gpus for machine in found), per_trial=trial.gpus)
            )
        cohort = plan_cohorts(
            settings,
            num_trials=num_trials,
            num_workers=bound,
            simulate=simulate,
            num_at_start=num_fitting(trial, found),
            most_by_memory=most_by_memory,
        )
        if settings.address is not None and cohort.size > 1:
            callback.on_message(describe_cohorts(cohort))
        placement: Placement = ExclusiveDevices(trial, machines)
        trainable: type[tune.Trainable] = TrialTrainable
        if cohort.size > 1:
            num_at_start = cohort.num_at_start or cohort.num_workers
            num_first = min(cohort.size, math.ceil(engine.num_remaining / num_at_start))
            placement = stack.enter_context(
                CohortWorkers(
                    number=cohort.num_workers,
                    num_at_start=num_at_start,
                    size=cohort.size,
                    num_first=num_first,
                    reserved=trial,
                    simulate=simulate,
                )
            )
            trainable = CohortTrialTrainable
        bridge = EngineBridge(
            engine,
            trial=trial,
            placement=placement,
            should_stop=should_stop,
            check_servers=servers_check(starts_ray=starts_ray),
            callback=callback,
        )

        def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            if cohort.size > 1:
                return tune.PlacementGroupFactory([_NEARLY_NOTHING])  # the worker of the cohort holds them
            reserved: Resources = config.get(RESOURCES, trial)
            return tune.PlacementGroupFactory([{"CPU": reserved.cpus, "GPU": reserved.gpus}])

        tune.run(
            tune.with_resources(trainable, resources),
            name="study",
            storage_path=str(folder),
            search_alg=EngineSearcher(bridge, simulate=simulate),
            scheduler=EngineScheduler(bridge),
            stop=EngineStopper(bridge),
            num_samples=-1,
            max_concurrent_trials=cohort.num_trials,
            reuse_actors=True,
            max_failures=0,
            raise_on_failed_trial=False,
            trial_dirname_creator=_trial_folder_name,
            verbose=0,
        )
        if bridge.error is not None:
            raise bridge.error


def _trial_folder_name(trial: tune.experiment.Trial) -> str:
    name: str = trial.trial_id
    return name
