"""The status of a study with warnings, and of one of its trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distune.study.runners import simulation
from support.command_line import Distune
from support.experiments import small_values

KIND = "share_asked/global_knowledge"
SHARES = {KIND: 0.3, "share/global_knowledge": 0.01, "gradient_cosine/global_knowledge": -0.25, "gradient/clipped": 0.4}
TEXT = "global_knowledge had 0.01 of the task's gradient in epoch 2 instead of 0.3"


def test_the_status_shows_warnings_and_the_epochs_of_a_trial(
    distune: Distune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = simulation.simulated_metrics
    monkeypatch.setattr(
        simulation, "simulated_metrics", lambda spec, epoch: simulated(spec, epoch) | ({} if spec.control else SHARES)
    )
    path = tmp_path / "mine.json"
    values = small_values({"tracking": {"enabled": False}, "search": {"scheduler": {"kind": "none"}}})
    path.write_text(json.dumps(values))
    launched = distune("launch", str(path), "--simulate", "--runner", "local", "--name", "one")
    assert launched.status == 0, launched.err
    shown = distune("status", "one").out
    assert shown.count(TEXT) == 1
    assert "likewise trial" in shown
    trials = json.loads(distune("status", "one", "--json").out)["trials"]
    assert [list(trial["warnings"]) for trial in trials] == [[], [KIND], [KIND]]
    table = distune("status", "one", "--trial", "0").out
    assert "0.01 of 0.3; -0.25" in table
    assert "40%" in table
    assert TEXT in table
    assert "global_knowledge" not in distune("status", "one", "--trial", "control-1").out
    epochs = json.loads(distune("status", "one", "--trial", "0", "--json").out)["all_epochs"]
    assert [each["epoch"] for each in epochs] == [1, 2, 3]
    assert epochs[0]["metrics"][KIND] == 0.3
    missing = distune("status", "one", "--trial", "9")
    assert missing.status == 2
    assert "there is no trial 9; known are control-1, 0, 1" in missing.err
