"""Cohorts on Ray: workers that hold the CPUs and GPUs, and trials of Tune that wait for their epochs there."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import Any, Self

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError

from distune.errors import ResourceError
from distune.records import TrialSpec
from distune.study.failures.reasons import WORKER_DIED
from distune.study.failures.retries import Company
from distune.study.resources import Resources
from distune.study.runners.cohort_worker import CohortWorker, ended_alone
from distune.study.runners.ray_failures import describe_worker_failure
from distune.study.runners.ray_servers import RayLostError
from distune.study.runners.ray_trainable import RESULT, SPEC, limit_threads
from distune.study.runners.trial_attempt import StepResult

WORKER, COMPANY, VISIT = "worker", "company", "visit"
_NAME = "distune-cohort-{index}"
_START_TIMEOUT_S = 60.0
_RESTART_TIMEOUT_S = 120.0
_RESTART_POLL_S = 0.2
_EXTRA_CALLS = 8
"""Calls beyond those that wait for epochs: trials that leave, those that take their place, and questions."""
_ASK_AFTER_S = 30.0
"""Time until a trial that has no answer asks whether its call has arrived, and between two questions."""
_SILENT_S = 900.0
"""Time without an answer to any question after which a worker counts as lost. Opening huge files takes minutes."""
_DESCRIBE_TIMEOUT_S = 2.0


class _RayCohortWorker(CohortWorker):
    """A ``CohortWorker`` in a process of its own."""

    def __init__(self, *, size: int, num_first: int, simulate: bool, cpus: float) -> None:
        if not simulate:
            limit_threads(cpus)
        was_restarted = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(size=size, num_first=0 if was_restarted else num_first, simulate=simulate)

    def is_ready(self) -> bool:
        """Return True once the process has started."""
        return True


class CohortWorkers:
    """The workers of a session. Each holds the resources of a trial, and trains a number of trials side by side.

    Ray restarts a worker that has died. A context manager: the workers end with the block.

    Args:
        number: of workers. Those that do not fit yet start when the cluster has grown.
        num_at_start: workers that are waited for, up to a minute.
        size: trials of each one.
        num_first: trials that the first epoch of each worker waits for.
        reserved: CPUs and GPUs of each worker.
        simulate: simulate learning curves instead of training.
    """

    def __init__(
        self, *, number: int, num_at_start: int, size: int, num_first: int, reserved: Resources, simulate: bool
    ) -> None:
        self._sizes: dict[str, int] = {}
        self._loads: dict[str, dict[str, int]] = {}
        self._visits = itertools.count()
        remote = ray.remote(_RayCohortWorker)
        self._handles: dict[str, Any] = {}
        for index in range(number):
            name = _NAME.format(index=index)
            options = remote.options(
                name=name,
                num_cpus=reserved.cpus,
                num_gpus=reserved.gpus,
                max_concurrency=size + _EXTRA_CALLS,
                max_restarts=-1,
                max_task_retries=0,
            )
            self._handles[name] = options.remote(size=size, num_first=num_first, simulate=simulate, cpus=reserved.cpus)
            self._loads[name], self._sizes[name] = {}, size
        # Workers that are not known to be ready, and the call that tells.
        self._starting = {name: handle.is_ready.remote() for name, handle in self._handles.items()}
        ray.wait(list(self._starting.values()), num_returns=num_at_start, timeout=_START_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is RayLostError:
            return  # the workers end with Ray
        for handle in self._handles.values():
            with contextlib.suppress(RayError):
                ray.kill(handle)

    def may_start(self) -> bool:
        """Return whether a worker has room for another trial now."""
        return self._best() is not None

    def config_of(self, spec: TrialSpec, company: Company) -> dict[str, Any]:
        """Return the part of Tune's configuration that says which worker trains a trial."""
        name = self._best()
        assert name is not None, "may_start was True"
        visit = self._loads[name][spec.key] = next(self._visits)
        return {WORKER: name, COMPANY: company, VISIT: visit}

    def release(self, key: str, *, has_failed: bool = False) -> None:
        """Let the worker of a trial stop working on it: the others there wait for its next epoch.

        The actor of the trial does the same before its next trial, but Tune may keep it for one that never comes. After
        a failure the worker may be lost: it gets no trial until it has answered.
        """
        for name, load in self._loads.items():
            visit = load.pop(key, None)
            if visit is not None:
                with contextlib.suppress(RayError):
                    self._handles[name].leave.remote(key, visit)
                if has_failed:
                    self._starting[name] = self._handles[name].is_ready.remote()

    def limit(self, key: str, number: int) -> None:
        """Note how many trials the worker of a trial has memory for."""
        for name, load in self._loads.items():
            if key in load:
                self._sizes[name] = min(self._sizes[name], number)

    def add_queued(self, trial: Any) -> None:
        """Do nothing: a trial waits for no resources of Tune."""

    def outdated(self) -> list[Any]:
        """Return no trial: none waits for resources of Tune."""
        return []

    def describe(self) -> str:
        """Return what each worker does. A worker has two seconds to answer."""
        asked = {name: handle.describe.remote() for name, handle in self._handles.items() if self._loads[name]}
        if asked:
            ray.wait(list(asked.values()), num_returns=len(asked), timeout=_DESCRIBE_TIMEOUT_S)
        return "; ".join(f"{name} {_answer_now(answer)}" for name, answer in asked.items())

    def _best(self) -> str | None:
        """Return the worker with the fewest trials among those that are ready and have room.

        Returns:
            Its name, None without one.

        Raises:
            ResourceError: no worker can start.
        """
        reasons = [reason for name in list(self._starting) if (reason := self._why_dead(name)) is not None]
        if len(reasons) == len(self._handles):
            raise ResourceError(f"no worker of a cohort can start; {describe_worker_failure(reasons[0])}")
        names = [
            name for name, load in self._loads.items() if name not in self._starting and len(load) < self._sizes[name]
        ]
        return min(names, key=lambda name: len(self._loads[name]), default=None)

    def _why_dead(self, name: str) -> str | None:
        """Note whether a worker has become ready. Return why it never will, None if it may."""
        call = self._starting[name]
        if not ray.wait([call], timeout=0)[0]:
            return None
        try:
            ray.get(call)
        except ActorUnavailableError:
            self._starting[name] = self._handles[name].is_ready.remote()  # Ray starts it again
        except RayError as error:
            return str(error)
        else:
            del self._starting[name]
        return None


class CohortTrialTrainable(tune.Trainable):
    """A trial of Tune whose epochs a ``CohortWorker`` trains. It holds no resources, and can be reused."""

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare the first trial. Called once per process."""
        self._spec: TrialSpec = config[SPEC].spec
        self._company: Company = config[COMPANY]
        self._visit: int = config[VISIT]
        self._worker: Any = ray.get_actor(config[WORKER])
        self._is_known = False
        # Ray would send the configuration back with every result.
        self.config = {}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Prepare the next trial."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for an epoch of the trial. Return the ``StepResult`` as one value."""
        try:
            _wait_until_started(self._worker)
            call = self._worker.step.remote(self._spec, self._company, self._visit)
            self._is_known = True
            result = _result_of(call, self._worker, self._spec.key, self._visit)
        except _CallLostError as error:
            result = StepResult(failure=f"{WORKER_DIED}: {error}", in_company=not ended_alone(self._spec))
        except RayError as error:
            result = StepResult(failure=describe_worker_failure(str(error)), in_company=not ended_alone(self._spec))
        return {RESULT: result}

    def cleanup(self) -> None:
        """Let the worker stop working on the trial."""
        if self._is_known:  # Tune may end an actor before its first step, because another one takes its place
            with contextlib.suppress(RayError):
                self._worker.leave.remote(self._spec.key, self._visit)


class _CallLostError(Exception):
    """A worker has not received a call, or has answered nothing for long."""


def _result_of(call: Any, worker: Any, key: str, visit: int) -> StepResult:
    # Asks from time to time whether the call has arrived: calls to an actor that has restarted can be lost
    # (ray-project/ray#14727).
    answered_at = time.monotonic()
    num_unknown = 0
    while not ray.wait([call], timeout=_ASK_AFTER_S)[0]:
        with contextlib.suppress(GetTimeoutError):
            is_here = ray.get(worker.is_here.remote(key, visit), timeout=_ASK_AFTER_S)
            answered_at = time.monotonic()
            num_unknown = 0 if is_here else num_unknown + 1
        if num_unknown > 1:  # the first answer may have been given while the result was on its way
            raise _CallLostError("it has not received the call for an epoch")
        if time.monotonic() - answered_at > _SILENT_S:
            raise _silent(worker)
    answer: Any = ray.get(call)
    result: StepResult = answer
    return result


def _silent(worker: Any) -> _CallLostError:
    # It may be alive, and hold the folders of its trials.
    with contextlib.suppress(RayError):
        ray.kill(worker, no_restart=False)
    return _CallLostError(f"it has not answered for {_SILENT_S / 60:.0f} minutes")


def _answer_now(call: Any) -> str:
    try:
        return str(ray.get(call, timeout=0))
    except GetTimeoutError:
        return "does not answer"
    except RayError:
        return "is starting again"


def _wait_until_started(worker: Any) -> None:
    """Wait for a worker that Ray restarts. A call before would fail at once, as if the trial had ended the worker."""
    started = time.monotonic()
    while True:
        try:
            ray.get(worker.is_ready.remote(), timeout=_ASK_AFTER_S)
        except GetTimeoutError:
            if time.monotonic() - started > _SILENT_S:
                raise _silent(worker) from None
        except ActorUnavailableError:
            if time.monotonic() - started > _RESTART_TIMEOUT_S:
                raise
            time.sleep(_RESTART_POLL_S)
        else:
            return
