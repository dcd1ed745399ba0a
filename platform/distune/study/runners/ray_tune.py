"""Runs a study with Ray Tune: many trials at a time, on this machine or on a cluster.

Tune starts workers, hands out trials and returns results. The engine makes all decisions and keeps all records: Tune's
folder is temporary, and neither its checkpoints nor its restore are used.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import tune

from distune.config.search import ResourceSettings
from distune.errors import ResourceError
from distune.study.callback import StudyCallback
from distune.study.engine import StudyEngine
from distune.study.resources import Resources, available_cpus, available_gpus, num_concurrent, trial_resources
from distune.study.runners.env_vars import environment
from distune.study.runners.ray_adapters import EngineBridge, EngineScheduler, EngineSearcher, EngineStopper
from distune.study.runners.ray_trainable import RESOURCES, TrialTrainable
from distune.study.runners.signals import SIGNALS
from distune.tracking.uris import redact_uri

_OBJECT_STORE_BYTES = 128 * 2**20
"""Small, because only specifications and reports pass through it."""

_WORKER_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of an experiment are those of the driver
}
_ENVIRONMENT = {
    **_WORKER_ENVIRONMENT,
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a table of the configuration at any verbosity
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the session handles it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(sys.maxsize),
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}

_QUIET = (
    "ray.tune",
    "ray.air",
    "ray.train",
    "ray._private.worker",
    "ray._private.authentication.authentication_token_setup",  # it warns that it requires a token
)


def run_on_ray(
    engine: StudyEngine,
    settings: ResourceSettings,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    """Run the trials of a study until none is left, the session cannot continue, or ``should_stop`` returns True.

    Ray is started on this machine and shut down at the end, unless the settings name a cluster or this process is
    connected to one already.

    Args:
        engine: gives out the trials.
        settings: resources of a trial, and the address of the cluster.
        simulate: make up learning curves instead of training.
        should_stop: called several times a second. Trials in flight stay so; their current epoch has seconds to end.
        callback: receives the messages of workers and of the watchdog.

    Raises:
        ResourceError: Ray cannot be used, or no machine has the resources of a trial.
    """
    with ray_session(settings, simulate=simulate):
        trial = trial_resources(settings, simulate=simulate)
        bound = num_concurrent(settings, trial, machines())
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


@functools.cache
def _token() -> str:
    """Return the token of this process's Ray, the same one each time because Ray reads it once per process.

    Ray listens on all networks of the machine and runs the code that it receives. With a token it refuses others
    (``RAY_AUTH_MODE=disabled`` turns that off). The token is passed in the environment, which only processes of the
    user can read; Ray would write it into the user's home folder.
    """
    return secrets.token_hex(32)


def machines() -> list[Resources]:
    """Return the resources of each machine that the cluster has now."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return [Resources(float(each.get("CPU", 0.0)), float(each.get("GPU", 0.0))) for each in alive]


@contextlib.contextmanager
def ray_session(settings: ResourceSettings, *, simulate: bool) -> Iterator[None]:
    """Connect to Ray for the length of a session, and silence the output of Ray and Tune."""
    with environment(_ENVIRONMENT), _quiet_logs(), _connected(settings, simulate=simulate):
        yield


def _trial_folder_name(trial: tune.experiment.Trial) -> str:
    name: str = trial.trial_id
    return name


@contextlib.contextmanager
def _connected(settings: ResourceSettings, *, simulate: bool) -> Iterator[None]:
    """Use the existing connection to Ray, or open one and close it after the block."""
    if ray.is_initialized():
        yield
        return
    with _signals_kept_from_ray():
        _connect(settings, simulate=simulate)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(settings: ResourceSettings, *, simulate: bool) -> None:
    """Connect to a cluster, or start Ray here. Try twice, because the start may time out on a busy machine."""
    where = f"on {redact_uri(settings.address)}" if settings.address is not None else "on this machine"
    for is_last in (False, True):
        try:
            if settings.address is not None:
                ray.init(
                    address=settings.address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": _WORKER_ENVIRONMENT},
                )
            else:
                os.environ.setdefault("RAY_AUTH_TOKEN", _token())
                ray.init(
                    address="local",
                    num_cpus=available_cpus(),
                    num_gpus=available_gpus() if settings.gpus_per_trial > 0 and not simulate else 0,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:  # Ray raises plain exceptions here
            ray.shutdown()
            if is_last:
                raise ResourceError(
                    f"Ray cannot be used {where}: {redact_uri(' '.join(str(error).split()))}; check the machine and "
                    f"try again, or use --runner local, which needs no Ray"
                ) from error
        else:
            return


@contextlib.contextmanager
def _signals_kept_from_ray() -> Iterator[None]:
    """Block signals in the block, and restore this process's handlers, which Ray replaces.

    The processes that Ray starts in the block inherit the blocked SIGTERM. Slurm sends it to all processes of a job,
    and a Ray without its head node takes a minute to give up; so only this process receives it and shuts Ray down.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence the logs of Tune, which reports every stopped or failed trial as an error."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
