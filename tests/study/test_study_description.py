"""The view and the description of a study, and the names in Optuna's storage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from distune.config.home import Home
from distune.study.create import create_study
from distune.study.search.stored_trial import StoredTrial
from distune.study.session import run_session
from distune.study.status import read_study
from distune.study.storage.copy_study import copy_search_study
from distune.study.storage.storage_url import open_storage
from distune.study.study_description import describe_results, study_view
from study.harness import METRIC, MakeHarness, MakeLoaded, Witness


def test_the_view_has_the_searched_parameters_under_short_names(make_loaded: MakeLoaded) -> None:
    loaded = make_loaded()
    view = study_view(loaded)
    assert view.metric == "AP"
    assert list(view.params) == list(loaded.searched)
    assert set(view.names) == set(loaded.space.parameters)
    assert len(set(view.names.values())) == len(view.names)


def test_a_parameter_that_is_fixed_now_stays_in_the_view_while_trials_differ_in_it(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.run()
    trials = list(harness.known().values())
    path = next(iter(harness.loaded.searched))
    fixed = harness.loaded.experiment.search.model_copy(update={"fixed": {path: trials[-1].params[path]}})
    experiment = harness.loaded.experiment.model_copy(update={"search": fixed})
    loaded = dataclasses.replace(harness.loaded, experiment=experiment)
    assert path not in study_view(loaded).params
    assert path in study_view(loaded, trials).params
    one: list[StoredTrial] = trials[-1:]
    assert path not in study_view(loaded, one).params
    assert study_view(loaded).names == study_view(loaded, trials).names, "columns of earlier runs keep their names"


def test_a_session_logs_its_view_first_and_its_description_at_the_end(tmp_path: Path, make_loaded: MakeLoaded) -> None:
    home, loaded, witness = Home(tmp_path), make_loaded(), Witness()
    folder = create_study(loaded, home, name="one", simulate=True, runner="local", replace=False)
    assert describe_results(read_study(home, "one"), loaded).headline.endswith("no trial has finished")
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    assert witness.views == [study_view(loaded)]
    ((headline, note),) = witness.descriptions
    best = witness.study_tags["best_trial"]
    assert headline.startswith(f"simulated, nothing was trained: best trial {best}: search/AP ")
    assert headline.endswith("; not confirmed: one seed, one control")
    assert f"\n| {best} | " in note
    assert "\n| control-1 | " in note
    assert "distune best one\ndistune confirm one\n" in note


def test_optuna_names_the_objective_and_the_result_also_in_a_store_of_an_earlier_version(
    tmp_path: Path, make_loaded: MakeLoaded
) -> None:
    home, witness = Home(tmp_path), Witness()
    folder = create_study(make_loaded(), home, name="one", simulate=True, runner="local", replace=False)
    with open_storage(folder, None) as storage:
        assert optuna.load_study(storage=storage, study_name="one").metric_names is None, "as earlier versions left it"
    run_session(folder, tracker=witness, callback=witness, teacher_weights=None)
    with open_storage(folder, None) as storage:
        study = optuna.load_study(storage=storage, study_name="one")
        assert study.metric_names == [METRIC]
        assert study.user_attrs == {
            "best_trial": witness.study_tags["best_trial"],
            "best_gain": pytest.approx(witness.figures["gain/AP"]),
        }
    assert copy_search_study(folder, None).metric_names == [METRIC]
