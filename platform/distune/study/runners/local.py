"""Runs a study in this process: for debugging, for tests, for one small machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.runners.cohort_attempt import CohortAttempt, share_corruption
from distune.study.runners.trial_attempt import TrialAttempt, deliver
from distune.study.runners.watchdog import Watchdog, watch_in_thread
from distune.study.storage.optuna_storage import PROCESS_CORRUPTED


def run_locally(
    engine: StudyEngine, *, cohort_size: int, simulate: bool, should_stop: Callable[[], bool], callback: StudyCallback
) -> None:
    """Run the trials of a study until all have ended, the session cannot continue, or ``should_stop`` returns True.

    An error that corrupts this process ends the session, since no trial can be trained here any more.

    Args:
        engine: gives out the trials.
        cohort_size: number of trials that are trained side by side.
        simulate: simulate learning curves instead of training.
        should_stop: called between epochs. The trials in flight stay so then.
        callback: receives the messages of workers and of the watchdog.
    """
    watchdog = Watchdog()
    with watch_in_thread(watchdog, lambda: engine.in_flight, callback.on_message):
        if cohort_size > 1:
            _run_side_by_side(
                engine, cohort_size, watchdog, simulate=simulate, should_stop=should_stop, callback=callback
            )
            return
        while not should_stop() and (spec := engine.next_trial()) is not None:
            _run_alone(engine, spec, watchdog, simulate=simulate, should_stop=should_stop, callback=callback)


def _run_alone(
    engine: StudyEngine,
    spec: TrialSpec,
    watchdog: Watchdog,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    attempt = TrialAttempt(spec, simulate=simulate)
    decision = Decision.CONTINUE
    with contextlib.closing(attempt):
        while decision is Decision.CONTINUE and not should_stop():
            watchdog.reset()
            result = attempt.step()
            decision = deliver(result, spec.key, engine, callback)
            if result.is_process_corrupted:
                _end_session(engine, f"trial {spec.key}: {result.failure}")


def _run_side_by_side(
    engine: StudyEngine,
    cohort_size: int,
    watchdog: Watchdog,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    with contextlib.closing(CohortAttempt(simulate=simulate)) as attempt:
        while not should_stop() and not engine.has_failed:
            most = cohort_size if attempt.most is None else min(cohort_size, attempt.most)
            while len(attempt.keys) < most and (spec := engine.next_trial()) is not None:
                attempt.add(spec, engine.company_of(spec.key))
            if not attempt.keys:
                return
            watchdog.reset()
            members, active = attempt.keys, attempt.active
            results, corruption = share_corruption(attempt.step(), active=active, members=members)
            for key, result in results.items():
                if deliver(result, key, engine, callback) is Decision.STOP:
                    attempt.remove(key)
            if corruption is not None:
                _end_session(engine, corruption)


def _end_session(engine: StudyEngine, corruption: str) -> None:
    """End the session after an error that has corrupted this process: all later trials would fail as well."""
    engine.blocking_error = engine.blocking_error or f"{corruption}; {PROCESS_CORRUPTED}"
