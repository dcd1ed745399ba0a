"""Runs a study with Ray Tune: many trials at a time, on this machine or on a cluster.

Tune starts workers, hands out trials and returns results. The engine makes all decisions and keeps all records: Tune's
folder is temporary, and neither its checkpoints nor its restore are used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from ray import tune

from distune.config.search import ResourceSettings
from distune.study.callback import StudyCallback
from distune.study.engine import StudyEngine
from distune.study.planning.gpu_text import describe_gpus
from distune.study.resources import Resources, num_concurrent, trial_resources
from distune.study.runners.ray_adapters import EngineBridge, EngineScheduler, EngineSearcher, EngineStopper
from distune.study.runners.ray_connection import machines, ray_session
from distune.study.runners.ray_trainable import RESOURCES, TrialTrainable


def run_on_ray(
    engine: StudyEngine,
    settings: ResourceSettings,
    *,
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
        simulate: simulate learning curves instead of training.
        should_stop: called several times a second. Trials in flight stay so; their current epoch has seconds to end.
        callback: receives the messages of workers and of the watchdog.

    Raises:
        ResourceError: Ray cannot be used, or no machine has the resources of a trial.
    """
    with ray_session(settings, simulate=simulate):
        found = machines()
        trial = trial_resources(settings, found, simulate=simulate)
        bound = num_concurrent(settings, trial, found)
        if settings.address is not None:
            callback.on_message(
                describe_gpus(settings, found=sum(machine.gpus for machine in found), per_trial=trial.gpus)
            )
        bridge = EngineBridge(engine, trial=trial, machines=machines, should_stop=should_stop, callback=callback)

        def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
            reserved: Resources = config.get(RESOURCES, trial)
            return tune.PlacementGroupFactory([{"CPU": reserved.cpus, "GPU": reserved.gpus}])

        with tempfile.TemporaryDirectory(prefix="distune-tune-", ignore_cleanup_errors=True) as folder:
            tune.run(
                tune.with_resources(TrialTrainable, resources),
                name="study",
                storage_path=folder,
                search_alg=EngineSearcher(bridge, simulate=simulate),
                scheduler=EngineScheduler(bridge),
                stop=EngineStopper(bridge),
                num_samples=-1,
                max_concurrent_trials=bound,
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
