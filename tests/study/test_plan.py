"""The plan that is printed before a launch."""

from __future__ import annotations

import numpy as np
import pytest

from distune.study.asha import Asha
from distune.study.plan import expected_search_epochs, plan_study
from study.bench import MakeLoaded


def test_plan_of_the_small_experiment(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"controls": 2}).experiment)
    assert (plan.num_trials, plan.num_controls, plan.num_epochs, plan.rungs) == (12, 2, 9, (1, 3))
    assert plan.most_epochs == 14 * 9
    assert 2 * 9 + 12 < plan.expected_epochs < plan.most_epochs
    assert plan_study(make_loaded().experiment, num_trials=40).most_epochs == 41 * 9


def test_without_a_scheduler_all_epochs_are_expected(make_loaded: MakeLoaded) -> None:
    plan = plan_study(make_loaded(search={"scheduler": {"kind": "none"}}).experiment)
    assert plan.rungs == ()
    assert plan.expected_epochs == plan.most_epochs


@pytest.mark.parametrize("num_trials", [1, 8, 30])
def test_the_formula_agrees_with_studies_whose_scores_come_in_no_order(num_trials: int) -> None:
    random = np.random.default_rng(num_trials)
    repeats = 400
    epochs = 0
    for _ in range(repeats):
        asha = Asha((1, 3), reduction_factor=3.0)
        for index in range(num_trials):
            reached = next((rung for rung in (1, 3) if not asha.goes_on(str(index), rung, random.normal())), 9)
            epochs += reached
    assert epochs / repeats == pytest.approx(expected_search_epochs(num_trials, 9, (1, 3), 3.0), rel=0.06)
