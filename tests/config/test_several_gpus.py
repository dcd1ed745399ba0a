"""Settings of trials on several GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from distune.config.search import ResourceSettings
from distune.config.several_gpus import processes_of_trial
from support.experiments import small_experiment


@pytest.mark.parametrize(("gpus", "number"), [("auto", 1), (0.0, 1), (0.5, 1), (1.0, 1), (2.0, 2), (8.0, 8)])
def test_a_trial_has_a_process_for_each_of_its_gpus(gpus: Any, number: int) -> None:
    assert processes_of_trial(ResourceSettings(gpus_per_trial=gpus).gpus_per_trial) == number


@pytest.mark.parametrize("gpus", [1.5, 2.25])
def test_more_than_one_gpu_is_a_whole_number(gpus: float) -> None:
    with pytest.raises(ValidationError, match="must be a fraction of one GPU, or a whole number"):
        ResourceSettings(gpus_per_trial=gpus)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"training": {"batch_size": 5}},
            "training.batch_size = 5\tmust be a multiple of resources.gpus_per_trial = 2, because each GPU gets as "
            "many images of every batch; such as 4",
        ),
        ({"resources": {"cohort": 4}}, "resources.cohort = 4\tmust be auto or 1 with resources.gpus_per_trial = 2"),
    ],
)
def test_problems_are_located(changes: dict[str, Any], problem: str) -> None:
    values = {**changes, "resources": {"gpus_per_trial": 2, **changes.get("resources", {})}}
    with pytest.raises(ValidationError) as refused:
        small_experiment(values)
    assert problem in str(refused.value)


@pytest.mark.parametrize("cohort", ["auto", 1])
def test_batches_that_divide_and_trials_alone_are_accepted(cohort: Any) -> None:
    assert small_experiment({"resources": {"gpus_per_trial": 2, "cohort": cohort}}).resources.gpus_per_trial == 2
