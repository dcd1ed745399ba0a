"""The time limit of an epoch: hanging epochs are ended, and the study continues."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distune.records import TrialState
from distune.study.runners.epoch_timeout import EpochTimeoutError, describe_timeout, has_timed_out, raise_after
from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from distune.study.runners.watchdog import Watchdog, watch_in_thread
from study.harness import MakeHarness

HANGS = """
import sys, threading
from pathlib import Path
from distune.study.runners.epoch_timeout import kill_after

with kill_after(60.0, Path(sys.argv[1])):
    pass
with kill_after(0.1, Path(sys.argv[1])):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""


def test_a_hanging_worker_is_ended(tmp_path: Path) -> None:
    report = tmp_path / "0" / "error.txt"
    assert not has_timed_out(report)
    done = subprocess.run([sys.executable, "-c", HANGS, str(report)], timeout=60)
    assert done.returncode == 1
    assert has_timed_out(report)
    assert "most recent call first" in report.read_text()


def test_the_driver_is_interrupted(tmp_path: Path) -> None:
    began = time.monotonic()
    match = r"resources.epoch_timeout_s = 0\.05"
    with pytest.raises(EpochTimeoutError, match=match), raise_after(0.05, tmp_path):
        time.sleep(60)
    assert time.monotonic() - began < 30


def test_the_timeout_passes_through_code_that_catches_all_errors(tmp_path: Path) -> None:
    with pytest.raises(EpochTimeoutError), raise_after(0.05, tmp_path), contextlib.suppress(Exception):
        time.sleep(60)


def test_no_timeout_comes_after_the_block_and_the_timer_of_the_caller_is_kept(tmp_path: Path) -> None:
    rung_at: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung_at.append(time.monotonic()))
    set_at = time.monotonic()
    left = signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with raise_after(0.5, tmp_path):
            pass
        assert rung_at == []
        time.sleep(1.2)
        assert len(rung_at) == 1
        assert rung_at[0] - set_at >= 0.99, "the timer of the caller, not that of the block"
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)
    with raise_after(None, tmp_path):
        pass


def test_a_trial_that_hangs_fails_and_the_study_continues(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {"1": {"epoch": 1, "kind": "hang"}}}))
    harness = make_harness(resources={"epoch_timeout_s": 0.5}, search={"num_trials": 3})
    harness.run()
    known = harness.known()
    assert known[1].state is TrialState.FAIL
    assert known[1].reason == describe_timeout(0.5)
    assert "time.sleep" in (harness.folder("1").path / "error.txt").read_text()
    assert len(harness.states()) == 3
    assert harness.states().count(TrialState.FAIL) == 1


def test_the_watchdog_warns_while_the_driver_itself_hangs() -> None:
    said: list[str] = []
    with watch_in_thread(Watchdog(first_warning_s=0.02), lambda: ["7"], said.append, poll_s=0.01):
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "trials 7 are running" in said[0]
    assert "epoch_timeout_s" in said[0]
