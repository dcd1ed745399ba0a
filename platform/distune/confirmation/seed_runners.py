"""Runs the jobs of a confirmation: one after the other in this process, or each as a task on Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from distune.config.search import ResourceSettings
from distune.confirmation.joint_training import JobContext
from distune.confirmation.seed_job import SeedJob
from distune.errors import TrialError
from distune.study.resources import Resources, num_concurrent, trial_resources, with_reserved_gpus
from distune.study.runners.env_vars import RAY_IMPORT_ENVIRONMENT, environment
from distune.study.runners.epoch_timeout import kill_after
from distune.study.runners.ray_servers import RayLostError, servers_check

_POLL_S = 0.5


def run_jobs_locally(jobs: Sequence[SeedJob], context: JobContext) -> None:
    """Run the jobs in order; see ``SeedJob.run``."""
    for job in jobs:
        if not context.should_stop():
            job.run(context)
            context.on_progress()


def run_jobs_on_ray(
    jobs: Sequence[SeedJob], settings: ResourceSettings, context: JobContext, *, simulate: bool
) -> None:
    """Run as many jobs at a time as fit. Each reserves the resources of a trial.

    A worker that dies, or whose epoch takes too long, fails its seed, and the others continue. When the session is to
    stop, workers are ended at once, and only their current epochs are lost.

    Args:
        jobs: to run.
        settings: resources of a trial, and the address of the cluster.
        context: of the session. Its time limit is not used: workers are ended by ``kill_after``.
        simulate: the jobs are simulated and need no GPU.

    Raises:
        ResourceError: no machine has the resources of a job.
        RayLostError: a server of a Ray that was started here has ended.
    """
    with environment(RAY_IMPORT_ENVIRONMENT):
        import ray

        from distune.study.runners.ray_connection import machines, ray_session

    starts_ray = not ray.is_initialized() and settings.address is None
    with ray_session(settings, simulate=simulate):
        check_servers = servers_check(starts_ray=starts_ray)
        found = machines()
        each = trial_resources(settings, found, simulate=simulate)
        room = num_concurrent(settings, each, found)
        remote = ray.remote(num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0)(_run)
        waiting = list(jobs)
        running: dict[Any, SeedJob] = {}
        try:
            while (waiting or running) and not context.should_stop():
                check_servers()
                while waiting and len(running) < room:
                    job = waiting.pop(0)
                    running[remote.remote(_with_reserved_gpus(job, each))] = job
                ended, _ = ray.wait(list(running), timeout=_POLL_S)
                check_servers()  # a task that Ray has lost is no failure of its seed
                for task in ended:
                    settle(running.pop(task), task)
                context.on_progress()
        except RayLostError:
            raise  # cancelling would wait for the servers
        except BaseException:
            _cancel(running)
            raise
        _cancel(running)


def _cancel(tasks: Iterable[Any]) -> None:
    import ray

    for task in tasks:
        ray.cancel(task, force=True)


def settle(job: SeedJob, task: Any) -> None:
    """Handle a task that has ended. One that has lost its worker or machine fails its seed.

    Args:
        job: of the task.
        task: reference to the result of the task.

    Raises:
        TrialError: the job was to score students on the test split: a test evaluation must be complete.
        Exception: the exception of the task.
    """
    import ray

    from distune.study.runners.ray_failures import describe_worker_failure

    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = job.timeout or describe_worker_failure(str(error))
        if job.split == "test":
            raise TrialError(f"{reason}; run distune {job.command} {job.specs[0].study} again") from None
        job.fail(reason)


def _with_reserved_gpus(job: SeedJob, trial: Resources) -> SeedJob:
    return dataclasses.replace(job, specs=tuple(with_reserved_gpus(spec, trial) for spec in job.specs))


def _run(job: SeedJob) -> None:
    if not job.simulate:
        from distune.study.runners.ray_trainable import limit_threads

        limit_threads(float(job.specs[0].experiment["resources"]["cpus_per_trial"]))
    job.run(JobContext(time_limit=kill_after))
