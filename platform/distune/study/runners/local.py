"""Runs a study in this process, one trial at a time: for debugging, for tests, for one small machine."""

from __future__ import annotations

from collections.abc import Callable

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.runners.trial_attempt import TrialAttempt, deliver
from distune.study.runners.watchdog import Watchdog, watch_in_thread


def run_locally(
    engine: StudyEngine, *, simulate: bool, should_stop: Callable[[], bool], callback: StudyCallback
) -> None:
    """Run the trials of a study until all have ended, the session cannot continue, or ``should_stop`` returns True.

    Args:
        engine: gives out the trials. Each one has its device to itself here.
        simulate: simulate learning curves instead of training.
        should_stop: called between epochs. The current trial stays in flight then.
        callback: receives the messages of workers and of the watchdog.
    """
    watchdog = Watchdog()

    def run(spec: TrialSpec) -> None:
        attempt = TrialAttempt(spec, simulate=simulate)
        decision = Decision.CONTINUE
        try:
            while decision is Decision.CONTINUE and not should_stop():
                watchdog.reset()
                decision = deliver(attempt.step(), spec.key, engine, callback)
        finally:
            attempt.close()

    with watch_in_thread(watchdog, lambda: engine.in_flight, callback.on_message):
        while not should_stop() and (spec := engine.next_trial()) is not None:
            run(spec)
