"""Runs a study in this process: for debugging, for tests, for one small machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.runners.cohort_attempt import CohortAttempt
from distune.study.runners.trial_attempt import TrialAttempt, deliver
from distune.study.runners.watchdog import Watchdog, watch_in_thread


def run_locally(
    engine: StudyEngine, *, cohort_size: int, simulate: bool, should_stop: Callable[[], bool], callback: StudyCallback
) -> None:
    """Run the trials of a study until all have ended, the session cannot continue, or ``should_stop`` returns True.

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
            decision = deliver(attempt.step(), spec.key, engine, callback)


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
            for key, result in attempt.step().items():
                if deliver(result, key, engine, callback) is Decision.STOP:
                    attempt.remove(key)
