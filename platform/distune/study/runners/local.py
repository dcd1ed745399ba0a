"""Runs a study in this process, one trial at a time: for debugging, for tests, for one small machine."""

from __future__ import annotations

from collections.abc import Callable

from distune.records import TrialSpec
from distune.study.callback import Decision, StudyCallback
from distune.study.engine import StudyEngine
from distune.study.runners.trial_attempt import Attempt
from distune.study.runners.watchdog import Watchdog, watching


def run_locally(
    engine: StudyEngine, *, simulate: bool, should_stop: Callable[[], bool], callback: StudyCallback
) -> None:
    """Work on the trials of a study until there is none left, the session cannot go on, or it is asked to stop.

    Args:
        engine: gives out trials and decides about them. One that must be alone on its device is so anyway.
        simulate: make up learning curves instead of training.
        should_stop: asked between epochs. The trial at hand stays in flight then.
        callback: hears when nothing has happened for long.
    """
    watchdog = Watchdog()
    with watching(watchdog, lambda: engine.in_flight, callback.message):
        while not should_stop() and (spec := engine.next_trial()) is not None:
            _run_trial(engine, spec, watchdog, simulate=simulate, should_stop=should_stop, callback=callback)


def _run_trial(
    engine: StudyEngine,
    spec: TrialSpec,
    watchdog: Watchdog,
    *,
    simulate: bool,
    should_stop: Callable[[], bool],
    callback: StudyCallback,
) -> None:
    attempt = Attempt(spec, simulate=simulate)
    try:
        while not should_stop():
            watchdog.heard()
            result = attempt.step()
            for note in result.notes:
                callback.message(f"trial {spec.key}: {note}")
            for report in result.reports:
                if engine.report(spec.key, report) is Decision.STOP:
                    return
            if result.failure is not None:
                engine.fail(spec.key, result.failure)
                return
    finally:
        attempt.close()
