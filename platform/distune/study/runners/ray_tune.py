"""Runs a study with Ray Tune: many trials at a time, on this machine or on a cluster.

Tune starts workers, hands out trials and carries results; all decisions and all records are the engine's. Tune's own
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
"""Small: nothing but specifications and reports passes through it."""

_WORKER_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of an experiment mean what they mean to the driver
}
_ENVIRONMENT = {
    **_WORKER_ENVIRONMENT,
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table of the configuration, however quiet it is told to be
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
    "ray._private.authentication.authentication_token_setup",  # it warns that it asks for a token
)


def run_on_ray(
    engine: StudyEngine,
    settings: ResourceSettings,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    """Work on the trials of a study until there is none left, the session cannot go on, or it is asked to stop.

    Ray is started on this machine and ended with the study, unless the settings name a cluster or this process is
    connected to one already.

    Args:
        engine: gives out trials and decides about them.
        settings: what a trial gets, and where.
        simulate: make up learning curves instead of training.
        should_stop: asked several times a second. Trials in flight stay so; an epoch at hand gets seconds to end.
        callback: hears when nothing has happened for long.

    Raises:
        ResourceError: Ray cannot be had, or not one trial fits.
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
    """What a process must know to be let in by the Ray of this process.

    Ray listens on all networks of the machine, whatever it is told, and runs what it is sent. It asks for a token when
    there is one (``RAY_AUTH_MODE=disabled`` turns that off), which it would write into the user's home folder; in the
    environment, nobody but the user's own processes can read it. Ray reads it once in a process: it stays the same.
    """
    return secrets.token_hex(32)


def machines() -> list[Resources]:
    """Return the resources of each machine that the cluster has now."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return [Resources(float(each.get("CPU", 0.0)), float(each.get("GPU", 0.0))) for each in alive]


@contextlib.contextmanager
def ray_session(settings: ResourceSettings, *, simulate: bool) -> Iterator[None]:
    """A connection to Ray for the length of a session, with Ray and Tune as quiet as they can be."""
    with environment(_ENVIRONMENT), _quiet_logs(), _connected(settings, simulate=simulate):
        yield


def _trial_folder_name(trial: tune.experiment.Trial) -> str:
    name: str = trial.trial_id
    return name


@contextlib.contextmanager
def _connected(settings: ResourceSettings, *, simulate: bool) -> Iterator[None]:
    """A connection to Ray: the one that is there, or a new one that ends here."""
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
    """Connect to a cluster, or start Ray here; again when it has not come up, as on a machine with much else to do.

    Raises:
        ResourceError: it cannot be had.
    """
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
                    f"Ray cannot be used {where}: {redact_uri(' '.join(str(error).split()))}; look at the machine and "
                    f"try again, or work without Ray: --runner local"
                ) from error
        else:
            return


@contextlib.contextmanager
def _signals_kept_from_ray() -> Iterator[None]:
    """Hold signals back and keep this process's handlers, which Ray replaces.

    The processes that Ray starts meanwhile inherit that SIGTERM is held back, for good. Slurm sends it to all processes
    of a job, and a Ray without its head takes a minute to give up; so only this process hears of it and ends in order.
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
    """Silence Tune, which reports every trial that we stop or lose as an error. The engine tells what matters."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
