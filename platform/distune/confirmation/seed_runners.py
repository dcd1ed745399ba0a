"""Does the jobs of a confirmation: one after the other in this process, or one task each on Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distune.config.search import ResourceSettings
from distune.confirmation.seed_job import SeedJob
from distune.errors import TrialError
from distune.study.resources import num_concurrent, trial_resources
from distune.study.runners.epoch_timeout import kill_after

_POLL_S = 0.5


def run_jobs_locally(jobs: Sequence[SeedJob], *, should_stop: Callable[[], bool], heard: Callable[[], None]) -> None:
    """Do the jobs in order; see ``SeedJob.run``."""
    for job in jobs:
        if not should_stop():
            job.run(should_stop=should_stop, heard=heard)
            heard()


def run_jobs_on_ray(
    jobs: Sequence[SeedJob],
    settings: ResourceSettings,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    heard: Callable[[], None],
) -> None:
    """Do the jobs, as many at a time as there is room for: a job reserves what a trial does.

    A worker that dies, or whose epoch takes too long, fails its seed, and the others go on. On a wish to stop, workers
    are ended at once: the epochs at hand are lost, and nothing else.

    Raises:
        ResourceError: not one job fits.
    """
    import ray

    from distune.study.runners.ray_tune import machines, ray_session

    with ray_session(settings, simulate=simulate):
        each = trial_resources(settings, simulate=simulate)
        room = num_concurrent(settings, each, machines())
        remote = ray.remote(num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0)(_run)
        waiting = list(jobs)
        running: dict[Any, SeedJob] = {}
        try:
            while (waiting or running) and not should_stop():
                while waiting and len(running) < room:
                    job = waiting.pop(0)
                    running[remote.remote(job)] = job
                ended, _ = ray.wait(list(running), timeout=_POLL_S)
                for task in ended:
                    settle(running.pop(task), task)
                heard()
        finally:
            for task in running:
                ray.cancel(task, force=True)


def settle(job: SeedJob, task: Any) -> None:
    """Take what a task has left behind. One whose worker or machine is gone fails its seed.

    Raises:
        TrialError: it was to score students on the test split: half a look at that is none.
        Exception: what the task has raised.
    """
    import ray

    from distune.study.runners.ray_adapters import describe_death

    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = job.timeout or describe_death(str(error))
        if job.split == "test":
            raise TrialError(f"{reason}; run distune confirm {job.specs[0].study} again") from None
        job.fail(reason)


def _run(job: SeedJob) -> None:
    if not job.simulate:
        from distune.study.runners.ray_trainable import limit_threads

        limit_threads(float(job.specs[0].experiment["resources"]["cpus_per_trial"]))
    job.run(deadline=kill_after)
