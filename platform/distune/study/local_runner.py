"""Runs a study in this process, one trial at a time: for debugging, for tests, for one small machine."""

from __future__ import annotations

from collections.abc import Callable

from distune.records import TrialSpec
from distune.study.engine import StudyEngine
from distune.study.listener import Decision
from distune.study.work import Attempt


def run_locally(engine: StudyEngine, *, simulate: bool, should_stop: Callable[[], bool]) -> None:
    """Work on the trials of a study until there is none left, the study has failed, or it is asked to stop.

    Args:
        engine: gives out trials and decides about them.
        simulate: make up learning curves instead of training.
        should_stop: asked between epochs. The trial at hand stays in flight then.
    """
    while not should_stop() and (spec := engine.next_trial()) is not None:
        _run_trial(engine, spec, simulate=simulate, should_stop=should_stop)


def _run_trial(engine: StudyEngine, spec: TrialSpec, *, simulate: bool, should_stop: Callable[[], bool]) -> None:
    attempt = Attempt(spec, simulate=simulate)
    try:
        while not should_stop():
            result = attempt.step()
            for report in result.reports:
                if engine.report(spec.key, report) is Decision.STOP:
                    return
            if result.failure is not None:
                engine.fail(spec.key, result.failure)
                return
    finally:
        attempt.close()
