"""Optuna's view of a space, and the experiment's own values in it."""

from __future__ import annotations

from typing import get_args

import optuna
import pytest

from distune.config.search import RandomSettings, SamplerSettings, TpeSettings
from distune.config.space import Choice, FloatRange, IntRange, Parameter
from distune.study.defaults import default_values
from distune.study.samplers import SAMPLERS, build_sampler, last_on_grid, suggest
from study.bench import MakeLoaded

PARAMETERS: dict[str, Parameter] = {
    "float": FloatRange(kind="float", low=0.0, high=1.0),
    "log": FloatRange(kind="float", low=1e-4, high=10.0, log=True),
    "step": FloatRange(kind="float", low=0.0, high=1.0, step=0.3),
    "int": IntRange(kind="int", low=2, high=32, log=True),
    "every_third": IntRange(kind="int", low=1, high=9, step=3),
    "choice": Choice(kind="choice", values=["linear", 3, 0.5, None, True]),
}


@pytest.mark.parametrize("settings", [TpeSettings(kind="tpe", startup_trials=3), RandomSettings(kind="random")])
def test_every_proposal_is_in_the_space(settings: SamplerSettings) -> None:
    study = optuna.create_study(direction="maximize")
    for index in range(12):
        study.sampler = build_sampler(settings, index)
        trial = study.ask()
        values = {path: suggest(trial, path, parameter) for path, parameter in PARAMETERS.items()}
        for path, parameter in PARAMETERS.items():
            assert parameter.contains(values[path]), (path, values[path])
        study.tell(trial, float(values["float"] or 0.0))


def test_every_kind_of_sampler_has_a_builder() -> None:
    union = get_args(SamplerSettings)[0]
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in get_args(union)}
    assert kinds == set(SAMPLERS)


def test_a_trial_is_proposed_the_same_in_whatever_session() -> None:
    def proposals(num_sessions: int) -> list[dict[str, object]]:
        study = optuna.create_study(direction="maximize")
        for index in range(10):
            if num_sessions > 1 and index == 6:
                study = optuna.load_study(study_name=study.study_name, storage=study._storage)
            study.sampler = build_sampler(TpeSettings(kind="tpe", startup_trials=3), index)
            trial = study.ask()
            values = {path: suggest(trial, path, parameter) for path, parameter in PARAMETERS.items()}
            study.tell(trial, float(values["float"] or 0.0))
        return [trial.params for trial in study.trials]

    assert proposals(1) == proposals(2)
    assert len({str(params) for params in proposals(1)}) == 10


def test_the_grid_ends_on_a_whole_step() -> None:
    assert last_on_grid(FloatRange(kind="float", low=0.0, high=1.0, step=0.3)) == 0.9
    assert last_on_grid(IntRange(kind="int", low=1, high=9, step=3)) == 7
    assert last_on_grid(FloatRange(kind="float", low=0.1, high=0.7)) == 0.7


def test_own_values_are_moved_into_the_space_or_left_out(make_loaded: MakeLoaded) -> None:
    space = {
        "name": "narrow",
        "parameters": {
            "distillation.global_knowledge.weight": {"kind": "float", "low": 0.5, "high": 2.0},
            "distillation.soft_labels.temperature": {"kind": "float", "low": 1.0, "high": 9.0, "step": 0.75},
            "distillation.prototypes.per_class": {"kind": "int", "low": 2, "high": 32},
            "distillation.decay": {"kind": "choice", "values": ["cosine", "constant"]},
            "distillation.stop_epoch": {"kind": "int", "low": 3, "high": 9},
        },
    }
    loaded = make_loaded(space=space)
    values, messages = default_values(loaded.experiment, loaded.varied)
    assert values == {
        "distillation.global_knowledge.weight": 2.0,
        "distillation.soft_labels.temperature": 1.75,
        "distillation.prototypes.per_class": 10,
    }
    assert all(loaded.varied[path].contains(value) for path, value in values.items())
    assert [message.split()[0] for message in messages] == [
        "distillation.global_knowledge.weight",
        "distillation.soft_labels.temperature",
        "distillation.decay",
        "distillation.stop_epoch",
    ]


def test_own_values_inside_the_space_stay_as_they_are(make_loaded: MakeLoaded) -> None:
    loaded = make_loaded()
    values, messages = default_values(loaded.experiment, loaded.varied)
    assert messages == []
    assert values == {
        "distillation.global_knowledge.weight": 5.0,
        "distillation.soft_labels.temperature": 2.0,
        "distillation.prototypes.per_class": 10,
        "distillation.decay": "linear",
    }
