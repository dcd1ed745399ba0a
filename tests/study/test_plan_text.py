"""The plan as text: groups of trials that share batches, and the space of the teacher's maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distune.config.home import Home
from distune.config.load import load_experiment
from distune.data.build import build_splits
from distune.study.planning import plan_text
from distune.study.planning.plan_text import describe_plan, describe_sizes
from support.experiments import small_values


def described(**values: Any) -> str:
    loaded = load_experiment(small_values({"resources": {"cohort": 3, "gpus_per_trial": 0}, **values}))
    return "\n".join(describe_plan(loaded, is_local=True))


def test_the_plan_names_the_groups_that_share() -> None:
    text = described()
    assert "1 worker trains 3 trials side by side" in text
    assert "all trials are of one group: no parameter of the space changes what they share" in text
    assert "2 controls with other seeds have their own batches" in described(search={"controls": 3})


def test_the_plan_names_the_parameters_that_split_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"training.batch_size": [(4,), (8,)], "student.family": [("fasterrcnn", "retinanet"), ("maskrcnn",)]}
    monkeypatch.setattr(plan_text, "splitting_parameters", lambda *_: found)
    assert (
        "plan: trials of other groups do not share: training.batch_size = 4 | 8, "
        "student.family = fasterrcnn, retinanet | maskrcnn"
    ) in described()


@pytest.mark.parametrize(("memory_gb", "is_enough"), [(1.0, True), (0.0001, False)])
def test_the_plan_says_how_much_a_cache_needs(tmp_path: Path, memory_gb: float, is_enough: bool) -> None:
    changes = {
        "data": {"augmentation": {"copies": 2}},
        "resources": {"gpus_per_trial": 0, "teacher_cache": {"memory_gb": memory_gb}},
    }
    loaded = load_experiment(small_values(changes))
    lines = describe_sizes(loaded, build_splits(loaded.experiment.data), Home(tmp_path), is_local=True)
    (line,) = [each for each in lines if "teacher's maps: about" in each]
    assert "for 2 copies of the training images" in line
    assert line.startswith("warning") is not is_enough


def test_the_plan_says_that_this_machine_has_too_few_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_text, "available_cpus", lambda: 2)
    text = described(resources={"cpus_per_trial": 8, "gpus_per_trial": 0})
    assert "warning: CPUs: 8 per trial, but 2 found: distune launch refuses this here" in text
    assert "warning: CPUs" not in described(resources={"cpus_per_trial": 2, "gpus_per_trial": 0})


@pytest.mark.parametrize(
    ("max_concurrent", "expected"),
    [
        (1, "plan: at most 1 trial at a time (resources.max_concurrent), each trained alone"),
        (
            16,
            "plan: at most 16 trials at a time (resources.max_concurrent), on 16 workers if the cluster has room for "
            "them; on fewer, each trains up to 8 side by side",
        ),
        (None, "plan: each worker of the cluster trains up to 8 trials side by side"),
    ],
)
def test_the_plan_of_a_cluster_says_how_many_trials_run_at_a_time(max_concurrent: int | None, expected: str) -> None:
    resources = {"address": "auto", "max_concurrent": max_concurrent, "gpus_per_trial": 1}
    loaded = load_experiment(small_values({"resources": resources, "search": {"num_trials": 40}}))
    lines = describe_plan(loaded)
    assert any(line.startswith(expected) for line in lines), lines
    assert lines[1].startswith("plan: each worker gets" if max_concurrent != 1 else "plan: each trial gets")
