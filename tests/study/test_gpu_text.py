"""The line of the plan about GPUs."""

from __future__ import annotations

import pytest

from distune.config.search import GpusPerTrial, ResourceSettings, gpus_of_trial
from distune.study.planning.gpu_text import describe_gpus, plan_gpus


@pytest.mark.parametrize(
    ("setting", "found", "expected"),
    [
        ("auto", 0, "no GPU found: trials run on the CPU"),
        ("auto", 1, "GPUs: 1 trial per GPU, 1 found"),
        ("auto", 2, "GPUs: 1 trial per GPU, 2 found"),
        (0.0, 0, "no GPU found: trials run on the CPU"),
        (0.25, 2, "GPUs: 4 trials per GPU, 2 found"),
        (1.0, 2, "GPUs: 1 trial per GPU, 2 found"),
        (2.0, 2, "GPUs: 2 per trial, 2 found"),
        (2.0, 1, "warning: GPUs: 2 per trial, but 1 found: distune launch refuses this here"),
        (0.5, 0, "warning: GPUs: 0.5 per trial, but 0 found: distune launch refuses this here"),
    ],
)
def test_what_is_found_and_what_is_used(
    monkeypatch: pytest.MonkeyPatch, setting: GpusPerTrial, found: int, expected: str
) -> None:
    monkeypatch.setattr("distune.study.planning.gpu_text.available_gpus", lambda: found)
    assert plan_gpus(ResourceSettings(gpus_per_trial=setting)) == expected


def test_a_gpu_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.planning.gpu_text.available_gpus", lambda: 2)
    line = plan_gpus(ResourceSettings(gpus_per_trial=0.0))
    assert line.startswith("GPUs: 2 found, but not used: resources.gpus_per_trial = 0")


def test_simulated_trials_and_clusters_do_not_count_the_gpus_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.planning.gpu_text.available_gpus", lambda: pytest.fail("counted"))
    assert "simulated" in plan_gpus(ResourceSettings(), simulate=True)
    assert "if the cluster at head:6379 has GPUs" in plan_gpus(ResourceSettings(address="head:6379"))
    assert "2 per trial, of the cluster" in plan_gpus(ResourceSettings(address="auto", gpus_per_trial=2.0))
    cluster = ResourceSettings(address="auto")
    assert describe_gpus(cluster, found=8, per_trial=gpus_of_trial("auto", found=4)) == "GPUs: 1 trial per GPU, 8 found"
