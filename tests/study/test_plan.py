"""The plan that is printed before a launch."""

from __future__ import annotations

import numpy as np
import pytest

from distune.study.planning.study_plan import expected_reaching, expected_search_epochs, plan_study
from distune.study.schedulers.asha import Asha
from study.harness import MakeLoaded


def test_plan_of_the_small_experiment(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"controls": 2}).experiment)
    assert (plan.num_trials, plan.num_controls, plan.num_epochs, plan.rungs) == (12, 2, 9, (1, 3))
    assert plan.max_epochs == 14 * 9
    assert plan.expected_epochs is not None
    assert 2 * 9 + 12 < plan.expected_epochs < plan.max_epochs
    assert plan_study(make_loaded().experiment, num_trials=40).max_epochs == 41 * 9


def test_without_a_scheduler_all_epochs_are_expected(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "none"}}).experiment)
    assert plan.rungs == ()
    assert plan.expected_epochs == plan.max_epochs
    assert plan.expected_finished == plan.max_finished == 13


def test_savings_of_median_stopping_are_not_estimated(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "median"}}).experiment)
    assert (plan.expected_epochs, plan.expected_finished) == (None, None)
    assert plan.max_epochs == 13 * 9


def test_a_small_space_limits_the_plan(make_loaded: MakeLoaded) -> None:
    decay = {"distillation.decay": {"kind": "choice", "values": ["linear", "cosine", "constant"]}}
    loaded = make_loaded(space={"name": "decay", "parameters": decay}, search={"scheduler": {"kind": "none"}})
    plan = plan_study(loaded.experiment, loaded.searched)
    assert (plan.num_configurations, plan.num_trials, plan.max_epochs) == (3, 3, 4 * 9)
    assert plan_study(make_loaded().experiment, make_loaded().searched).num_configurations is None


def test_expected_finished_trials_pass_the_last_rung() -> None:
    assert expected_reaching(12, (), 3.0) == [12.0]
    reaching = expected_reaching(12, (1, 3), 3.0)
    literal = sum(max(1, rank // 3) / rank for rank in range(1, 13))
    assert reaching[:2] == [12.0, pytest.approx(literal)]
    assert reaching[2] < reaching[1]


@pytest.mark.parametrize("num_trials", [1, 8, 30])
def test_the_formula_agrees_with_studies_with_scores_in_random_order(num_trials: int) -> None:
    random = np.random.default_rng(num_trials)
    repeats = 400
    epochs = 0
    for _ in range(repeats):
        asha = Asha((1, 3), reduction_factor=3.0)
        for index in range(num_trials):
            reached = next((rung for rung in (1, 3) if not asha.should_continue(str(index), rung, random.normal())), 9)
            epochs += reached
    assert epochs / repeats == pytest.approx(expected_search_epochs(num_trials, 9, (1, 3), 3.0), rel=0.06)
