"""Optuna's samplers and distributions for a search space."""

from __future__ import annotations

import functools
from statistics import fmean
from typing import Any, get_args

import optuna
import pytest

from distune.config.conditions import is_active
from distune.config.search import CmaEsSettings, GpSettings, NsgaSettings, RandomSettings, SamplerSettings, TpeSettings
from distune.config.space import Choice, FloatRange, IntRange, Parameter, last_on_grid
from distune.errors import ResourceError
from distune.study.search.samplers import SAMPLERS, build_sampler, check_sampler, distribution_of
from distune.study.search.trial_proposer import sample_params

PARAMETERS: dict[str, Parameter] = {
    "float": FloatRange(kind="float", low=0.0, high=1.0),
    "log": FloatRange(kind="float", low=1e-4, high=10.0, log=True),
    "step": FloatRange(kind="float", low=0.0, high=1.0, step=0.3),
    "int": IntRange(kind="int", low=2, high=32, log=True),
    "every_third": IntRange(kind="int", low=1, high=9, step=3),
    "choice": Choice(kind="choice", values=["linear", 3, 0.5, None, True]),
}


CONDITIONAL: dict[str, Parameter] = {
    "choice": Choice(kind="choice", values=["linear", "cosine", "constant"]),
    "float": FloatRange(kind="float", low=0.0, high=1.0),
    "log": FloatRange(kind="float", low=1e-4, high=10.0, log=True, when={"choice": ["linear", "cosine"]}),
    "int": IntRange(kind="int", low=2, high=32, when={"choice": "constant"}),
}
NUMBERS = {path: parameter for path, parameter in PARAMETERS.items() if path != "choice"}
SETTINGS: list[tuple[SamplerSettings, dict[str, Parameter]]] = [
    (TpeSettings(kind="tpe", startup_trials=3), PARAMETERS),
    (TpeSettings(kind="tpe", startup_trials=3), CONDITIONAL),
    (RandomSettings(kind="random"), PARAMETERS),
    (RandomSettings(kind="random"), CONDITIONAL),
    (GpSettings(kind="gp", startup_trials=4), PARAMETERS),
    (CmaEsSettings(kind="cmaes", population_size=5), NUMBERS),
    (NsgaSettings(kind="nsga2", population_size=3), PARAMETERS),
]
NAMES = [f"{settings.kind}-{len(parameters)}" for settings, parameters in SETTINGS]
each_sampler = pytest.mark.parametrize("which", range(len(SETTINGS)), ids=NAMES)


def studies(settings: SamplerSettings, parameters: dict[str, Parameter], *, num_sessions: int) -> list[dict[str, Any]]:
    """Return the proposals of a study of 12 trials, in several sessions."""
    if settings.kind == "cmaes":
        pytest.importorskip("cmaes")
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, direction="maximize")
    proposals = []
    for index in range(12):
        if index % (12 // num_sessions) == 0:
            study = optuna.load_study(study_name=study.study_name, storage=storage)
        has_conditions = any(parameter.when for parameter in parameters.values())
        study.sampler = build_sampler(settings, index, has_conditions=has_conditions)
        trial = study.ask()
        values = sample_params(study, study.trials[-1], parameters, {})
        for path, value in values.items():
            distribution = distribution_of(parameters[path])
            internal = distribution.to_internal_repr(value)
            storage.set_trial_param(trial._trial_id, path, internal, distribution)
        proposals.append(values)
        study.tell(trial, float(values["float"] or 0.0))
    return proposals


@functools.cache
def undisturbed(which: int) -> list[dict[str, Any]]:
    return studies(*SETTINGS[which], num_sessions=1)


@each_sampler
def test_every_proposal_is_in_the_space(which: int) -> None:
    parameters = SETTINGS[which][1]
    for values in undisturbed(which):
        assert set(values) == {path for path, parameter in parameters.items() if is_active(parameter, values)}
        for path, value in values.items():
            assert parameters[path].contains(value), (path, value)


@each_sampler
def test_proposals_do_not_depend_on_the_sessions(which: int) -> None:
    assert undisturbed(which) == studies(*SETTINGS[which], num_sessions=4)


@each_sampler
def test_a_model_based_sampler_approaches_good_values(which: int) -> None:
    """The score is the value of one parameter."""
    if SETTINGS[which][0].kind not in ("random", "nsga2"):
        values = [each["float"] for each in undisturbed(which)]
        assert fmean(values[8:]) > fmean(values[:4])


@pytest.mark.parametrize("which", [5, 6], ids=["cmaes", "nsga2"])
def test_samplers_learn_from_trials_with_requested_values(which: int) -> None:
    settings, parameters = SETTINGS[which]
    study = optuna.create_study(direction="maximize")
    for index, given in enumerate(undisturbed(which)[:4]):
        study.sampler = build_sampler(settings, index)
        trial = study.ask()
        assert sample_params(study, study.trials[-1], parameters, given) == given
        for path, value in given.items():
            distribution = distribution_of(parameters[path])
            study._storage.set_trial_param(trial._trial_id, path, distribution.to_internal_repr(value), distribution)
        study.tell(trial, float(index))
    generations = [name for trial in study.trials for name in trial.system_attrs if name.endswith(":generation")]
    assert len(generations) == (3 if settings.kind == "cmaes" else 4), "CMA-ES needs one trial to know the space by"


def test_another_seed_gives_another_study() -> None:
    settings = TpeSettings(kind="tpe", startup_trials=3, seed=1)
    assert undisturbed(0) != studies(settings, PARAMETERS, num_sessions=1)
    assert len({str(values) for values in undisturbed(0)}) == 12


def test_proposals_are_those_of_an_optuna_trial() -> None:
    """distune asks the sampler itself, so that repeats can be rejected before they are recorded."""
    study, literal = (optuna.create_study(direction="maximize") for _ in range(2))
    for index in range(8):
        for each in (study, literal):
            each.sampler = build_sampler(TpeSettings(kind="tpe", startup_trials=3), index)
        trial, reference = study.ask(), literal.ask()
        values = sample_params(study, study.trials[-1], PARAMETERS, {})
        distributions = {path: distribution_of(parameter) for path, parameter in PARAMETERS.items()}
        expected = {path: reference._suggest(path, each) for path, each in distributions.items()}
        assert values == expected
        for path, distribution in distributions.items():
            internal = distribution.to_internal_repr(values[path])
            study._storage.set_trial_param(trial._trial_id, path, internal, distribution)
        for optuna_study, asked in ((study, trial), (literal, reference)):
            optuna_study.tell(asked, float(index % 3))


def test_every_kind_of_sampler_has_a_builder() -> None:
    union = get_args(SamplerSettings)[0]
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in get_args(union)}
    assert kinds == set(SAMPLERS)


def test_a_sampler_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ResourceError, match=r"search\.sampler\.kind = cmaes needs the package cmaes.*pip install cmaes"
    ):
        check_sampler(CmaEsSettings(kind="cmaes"))
    check_sampler(GpSettings(kind="gp"))


def test_the_grid_ends_on_a_whole_step() -> None:
    assert last_on_grid(FloatRange(kind="float", low=0.0, high=1.0, step=0.3)) == 0.9
    assert last_on_grid(IntRange(kind="int", low=1, high=9, step=3)) == 7
    assert last_on_grid(FloatRange(kind="float", low=0.1, high=0.7)) == 0.7


@pytest.mark.parametrize(("low", "high", "step"), [(0.1, 0.3, 0.2), (0.2, 0.3, 0.1)])
def test_a_single_step_is_a_range_whatever_its_rounding(low: float, high: float, step: float) -> None:
    parameter = FloatRange(kind="float", low=low, high=high, step=step)
    assert parameter.grid == parameter.extremes == (low, high)
