"""A study that has failed, on the command line."""

from __future__ import annotations

import json

import pytest

from distune.study.runners.simulation import ENVIRONMENT_VARIABLE
from support.command_line import Distune

LAUNCH = ("launch", "quickstart", "--simulate", "--runner", "local", "--name", "one", "--set", "search.num_trials=3")


def fail(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, json.dumps({"faults": {key: {"epoch": 1, "kind": "error"}}}))


def test_all_trials_fail(distune: Distune, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "*")
    launched = distune(*LAUNCH, "--set", "tracking.enabled=false")
    assert launched.status == 1
    (line,) = [line for line in launched.err.splitlines() if line.startswith("error:")]
    assert "study one failed: no trial has finished; the commonest reason, in 3 of 3 trials: bug: RuntimeError" in line

    status = distune("status", "one")
    assert (status.status, "failed" in status.out) == (0, True)
    assert "reason: no trial has finished; the commonest reason, in 3 of 3 trials" in " ".join(status.out.split())
    assert json.loads(distune("status", "one", "--json").out)["state"] == "failed"
    (listed,) = json.loads(distune("status", "--json").out)
    assert (listed["state"], listed["reason"][:21]) == ("failed", "no trial has finished")

    for arguments in (("best", "one"), ("best", "one", "--json"), ("confirm", "one")):
        answer = distune(*arguments)
        assert answer.status != 0
        assert "no trial has finished; the commonest reason" in answer.err
        assert answer.out == ""
    resumed = distune("resume", "one")
    assert resumed.status == 1
    assert "distune resume one --trials 13" in resumed.err


def test_the_control_fails(distune: Distune, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "control-1")
    launched = distune(*LAUNCH, "--set", "tracking.enabled=false")
    assert launched.status == 0
    expected = "warning: the gain is unknown: no control has finished; the commonest reason, in 1 of 1 control: bug"
    assert expected in " ".join(launched.out.split())
    assert expected in " ".join(distune("status", "one").out.split())
