"""Resources of the machine and of trials, and the number of concurrent trials."""

from __future__ import annotations

import io
import math
import os

import pytest

from distune.config.search import GpusPerTrial, ResourceSettings, gpus_of_trial
from distune.errors import ResourceError
from distune.records import TrialSpec
from distune.study.resources import (
    Resources,
    available_cpus,
    check_resources,
    exclusive_resources,
    num_concurrent,
    this_machine,
    trial_resources,
    with_reserved_gpus,
)


def test_the_cpus_that_a_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(3)), raising=False)
    assert available_cpus() == 3, "its affinity"


@pytest.mark.parametrize(("text", "cpus"), [("200000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 64)])
def test_the_cpu_limit_of_a_container(monkeypatch: pytest.MonkeyPatch, text: str, cpus: int) -> None:
    limit_file = "/sys/fs/cgroup/cpu.max"
    real_open, real_exists = open, os.path.exists
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: path == limit_file or real_exists(path))
    monkeypatch.setattr(
        "builtins.open", lambda path, *more: io.StringIO(text) if path == limit_file else real_open(path, *more)
    )
    assert available_cpus() == cpus


def test_a_trial_must_fit_on_this_machine() -> None:
    too_many = ResourceSettings(cpus_per_trial=available_cpus() + 1.0)
    with pytest.raises(ResourceError, match=r"resources.cpus_per_trial = \d+: this machine has \d+") as caught:
        check_resources(too_many, simulate=False)
    assert caught.value.exit_status == 2
    check_resources(too_many, simulate=True)
    check_resources(too_many.model_copy(update={"address": "cluster:6379"}), simulate=False)
    check_resources(ResourceSettings(cpus_per_trial=float(available_cpus())), simulate=False)


@pytest.mark.parametrize(
    ("setting", "found", "refusal"),
    [
        ("auto", 0, None),
        ("auto", 2, None),
        (0.0, 2, None),
        (0.5, 1, None),
        (0.5, 0, r"gpus_per_trial = 0\.5: torch finds 0 GPUs here"),
        (2.0, 1, "gpus_per_trial = 2: torch finds 1 GPU here"),
    ],
)
def test_more_gpus_than_there_are_is_an_error_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch, setting: GpusPerTrial, found: int, refusal: str | None
) -> None:
    monkeypatch.setattr("distune.study.resources.available_gpus", lambda: found)
    settings = ResourceSettings(gpus_per_trial=setting)
    if refusal is None:
        check_resources(settings, simulate=False)
        return
    with pytest.raises(ResourceError, match=refusal):
        check_resources(settings, simulate=False)
    check_resources(settings, simulate=True)


@pytest.mark.parametrize(
    ("setting", "found", "expected"),
    [("auto", 0, 0.0), ("auto", 1, 1.0), ("auto", 8, 1.0), (0.0, 8, 0.0), (0.25, 8, 0.25), (2.0, 0, 2.0)],
)
def test_auto_is_a_whole_gpu_where_there_is_one(setting: GpusPerTrial, found: int, expected: float) -> None:
    assert ResourceSettings().gpus_per_trial == "auto"
    assert gpus_of_trial(setting, found=found) == expected


def test_auto_counts_the_gpus_of_the_cluster_and_not_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.resources.available_gpus", lambda: 4)
    settings = ResourceSettings(address="auto")
    assert trial_resources(settings, [Resources(4), Resources(8)], simulate=False) == Resources(1.0, 0.0)
    trial = trial_resources(settings, [Resources(4), Resources(8, 2)], simulate=False)
    assert trial == Resources(1.0, 1.0)
    assert num_concurrent(settings, trial, [Resources(4), Resources(8, 2)]) == 2, "none on the machine without a GPU"


def test_gpus_are_not_counted_where_no_trial_may_use_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distune.study.resources.available_gpus", lambda: pytest.fail("torch was loaded"))
    assert this_machine(ResourceSettings(gpus_per_trial=0.0)).gpus == 0
    assert this_machine(ResourceSettings(), simulate=True).gpus == 0


def test_a_worker_gets_the_number_that_was_reserved_for_it() -> None:
    spec = TrialSpec(
        study="s",
        number=0,
        control=False,
        seed=0,
        num_epochs=1,
        params={},
        experiment={"name": "s", "resources": ResourceSettings().model_dump()},
        folder="",
        teacher_weights=None,
    )
    sent = with_reserved_gpus(spec, Resources(1.0, 0.0)).experiment
    assert sent["resources"] == {**ResourceSettings().model_dump(), "gpus_per_trial": 0.0}
    assert spec.experiment["resources"]["gpus_per_trial"] == "auto"


def test_a_study_is_not_started_through_ray_client() -> None:
    for simulate in (True, False):
        with pytest.raises(ResourceError, match="start distune on a machine of the cluster"):
            check_resources(ResourceSettings(address="ray://head:10001"), simulate=simulate)


def test_a_cluster_that_is_going_to_grow_may_begin_empty() -> None:
    growing = ResourceSettings(address="auto", gpus_per_trial=1.0, max_concurrent=8)
    trial = trial_resources(growing, [], simulate=False)
    assert num_concurrent(growing, trial, [Resources(2)]) == 8
    with pytest.raises(ResourceError, match=r"resources\.max_concurrent"):
        num_concurrent(growing.model_copy(update={"max_concurrent": None}), trial, [Resources(2)])


def test_simulated_trials_take_what_there_is() -> None:
    settings = ResourceSettings(cpus_per_trial=512.0, gpus_per_trial=4.0)
    assert trial_resources(settings, [], simulate=True) == Resources(float(available_cpus()))
    assert trial_resources(settings, [], simulate=False) == Resources(512.0, 4.0)


@pytest.mark.parametrize(
    ("settings", "cpus", "gpus", "expected"),
    [
        ({"cpus_per_trial": 2.0}, 8, 0, 4),
        ({"cpus_per_trial": 0.1}, 1, 0, 10),
        ({"cpus_per_trial": 1.0, "gpus_per_trial": 0.25}, 64, 2, 8),
        ({"cpus_per_trial": 1.0, "max_concurrent": 3}, 64, 0, 3),
        ({"cpus_per_trial": 1.0, "max_concurrent": 3}, 2, 0, 2),
    ],
)
def test_how_many_trials_run_at_a_time(settings: dict[str, float], cpus: float, gpus: float, expected: int) -> None:
    resources = ResourceSettings.model_validate(settings)
    trial = trial_resources(resources, [], simulate=False)
    assert num_concurrent(resources, trial, [Resources(cpus, gpus)]) == expected


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (Resources(0.5), Resources(8.0)),
        (Resources(16.0), Resources(16.0)),
        (Resources(2.0, 0.25), Resources(2.0, 1.0)),
        (Resources(2.0, 2.0), Resources(2.0, 2.0)),
    ],
)
def test_what_a_trial_reserves_to_have_its_device_for_itself(trial: Resources, expected: Resources) -> None:
    assert exclusive_resources(trial, [Resources(2.0), Resources(8.0, 1.0)]) == expected
    assert exclusive_resources(trial, []) == Resources(trial.cpus, float(math.ceil(trial.gpus)))


@pytest.mark.parametrize(
    ("trial", "machines", "expected"),
    [
        ((4.0, 0.0), [(6.0, 0.0), (6.0, 0.0)], 2),
        ((4.0, 1.0), [(64.0, 0.0), (8.0, 4.0), (4.0, 1.0)], 3),
        ((1.0, 0.5), [(0.0, 0.0), (1.0, 1.0), (8.0, 1.0)], 3),
    ],
)
def test_a_trial_is_on_one_machine(
    trial: tuple[float, float], machines: list[tuple[float, float]], expected: int
) -> None:
    each, all_machines = Resources(*trial), [Resources(*machine) for machine in machines]
    assert num_concurrent(ResourceSettings(address="auto"), each, all_machines) == expected


@pytest.mark.parametrize("machines", [[(4.0, 0.0), (4.0, 0.0)], [(64.0, 0.0), (2.0, 4.0)], []])
def test_a_trial_that_fits_on_no_machine_of_a_cluster_is_refused(machines: list[tuple[float, float]]) -> None:
    """Though all of them together have enough."""
    trial = Resources(8.0, 1.0 if len(set(machines)) > 1 else 0.0)
    with pytest.raises(ResourceError, match=r"no machine has both \(.+\); lower resources"):
        num_concurrent(ResourceSettings(address="auto"), trial, [Resources(*machine) for machine in machines])


def test_not_one_trial_fits() -> None:
    with pytest.raises(ResourceError, match="1 GPUs"):
        num_concurrent(ResourceSettings(), Resources(1.0, 1.0), [Resources(8)])
